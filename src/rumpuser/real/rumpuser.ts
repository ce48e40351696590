/** The real hypercalls: Node's clock, randomness and module loader. The log goes where the entry point says. */
import { getRandomValues } from "node:crypto";
import { type LogSink, type Rumpuser, RUMPUSER_VERSION } from "../rumpuser.js";
import { realClock } from "./clock.js";

/** Drawn at the start: where a locked process would need more than getrandom(2) for it, it has these. */
const EARLY_RANDOM_BYTES = 1024;

export function createRumpuser(log: LogSink): Rumpuser {
  const early = getRandomValues(new Uint8Array(EARLY_RANDOM_BYTES));
  let used = 0;
  const fill = (bytes: Uint8Array): void => {
    if (used + bytes.length > early.length) return void getRandomValues(bytes);
    bytes.set(early.subarray(used, (used += bytes.length)));
  };
  return {
    version: RUMPUSER_VERSION,
    clock: realClock,
    random: { fill },
    log,
    loadComponent: (specifier) => import(specifier) as Promise<unknown>,
  };
}
