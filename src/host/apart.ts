import type { Sessions, SessionsOptions } from "./sessions.js";
export async function openApart(_options: SessionsOptions): Promise<Sessions> {
  throw new Error("soon");
}
