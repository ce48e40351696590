/** The version of this installation. */
import { readFileSync } from "node:fs";
import * as v from "valibot";

const Package = v.pipe(v.string(), v.parseJson(), v.object({ version: v.string() }));

/** As `package.json` has it. @throws Error when the installation is not whole. */
export function packageVersion(): string {
  return v.parse(Package, readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
}
