/** What links need of the machine, asked of the host process. */
import type { LinkRights } from "../pud/links/link-rights.js";
import type { Messenger } from "./messenger.js";
import { LINK_CALLS } from "./protocol.js";

export function askedLinkRights(messenger: Messenger): LinkRights {
  const ask = <Name extends keyof LinkRights>(name: Name): LinkRights[Name] =>
    (async (...args: readonly unknown[]) =>
      await messenger.call(`link ${name}`, args, (answer) =>
        withDescriptors(answer, LINK_CALLS[name]),
      )) as LinkRights[Name];
  return {
    listen: ask("listen"),
    unlisten: ask("unlisten"),
    openTerminal: ask("openTerminal"),
    nameTerminal: ask("nameTerminal"),
    refuseOthers: ask("refuseOthers"),
    tidyTerminal: ask("tidyTerminal"),
    closeTerminal: ask("closeTerminal"),
    attachKernelNbd: ask("attachKernelNbd"),
    detachKernelNbd: ask("detachKernelNbd"),
    openCuse: ask("openCuse"),
  };
}

/** Puts the descriptors that came with an answer where they belong. */
function withDescriptors(answer: unknown, fields: readonly string[]): unknown {
  if (fields.length === 0) return answer;
  const { descriptors, ...rest } = answer as Readonly<Record<string, unknown>> & {
    readonly descriptors: readonly number[];
  };
  return { ...rest, ...Object.fromEntries(fields.map((field, index) => [field, descriptors[index]])) };
}
