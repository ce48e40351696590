/** What links are opened with, in the process of a test. */
import type { LinkContext, LinkLog } from "../../src/pud/links/link.js";
import { LocalRights } from "../../src/pud/links/rights/local-rights.js";

export function linkContext(runtimeDir: string, log: LinkLog = { write: () => undefined }): LinkContext {
  return { runtimeDir, log, rights: new LocalRights() };
}
