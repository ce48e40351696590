/** What links of the pud process ask of this one, for the messenger. */
import { closeSync } from "node:fs";
import { WithDescriptors } from "../pud-process/messenger.js";
import { LINK_CALLS } from "../pud-process/protocol.js";
import type { LinkRights, ListeningSocket, OpenTerminal } from "../pud/links/link-rights.js";

/** @param rights  Guarded: they believe nothing of what is asked, and grant what the user asked for. */
export function linkCalls(rights: LinkRights): Record<string, (told: unknown) => Promise<unknown>> {
  const names = Object.keys(LINK_CALLS) as (keyof LinkRights)[];
  return Object.fromEntries(
    names.map((name) => {
      const run = rights[name].bind(rights) as (...args: readonly unknown[]) => Promise<unknown>;
      const call = async (told: unknown): Promise<unknown> => {
        const made = await run(...(Array.isArray(told) ? told : []));
        return withoutDescriptors(made, LINK_CALLS[name], () => TAKE_BACK[name]?.(rights, made as MadeForLink));
      };
      return [`link ${name}`, call];
    }),
  );
}

type MadeForLink = ListeningSocket & OpenTerminal;

/** What nobody can take back who did not get its descriptors. */
const TAKE_BACK: Partial<Readonly<Record<string, (rights: LinkRights, made: MadeForLink) => Promise<void>>>> = {
  listen: async (rights, { listener }) => await rights.unlisten(listener),
  openTerminal: async (rights, { terminal }) => await rights.closeTerminal(terminal),
};

/** The descriptors go beside the answer, and are closed here when they have gone. */
function withoutDescriptors(
  result: unknown,
  fields: readonly string[],
  takeBack: () => Promise<void> | undefined,
): unknown {
  if (typeof result !== "object" || result === null || fields.length === 0) return result;
  const entries = Object.entries(result);
  const descriptors = fields.map((field) => Number((result as Readonly<Record<string, unknown>>)[field]));
  return new WithDescriptors(
    Object.fromEntries(entries.filter(([field]) => !fields.includes(field))),
    descriptors,
    (isSent) => {
      for (const fd of descriptors) closeSync(fd);
      if (!isSent) takeBack()?.catch(() => {}); // told when everything is taken back
    },
  );
}
