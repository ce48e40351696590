/** The real hypercalls: Node's clock, randomness and module loader. The log goes where the entry point says. */
import { getRandomValues } from "node:crypto";
import { type Clock, type LogSink, type Rumpuser, RUMPUSER_VERSION } from "../rumpuser.js";

export function createRumpuser(log: LogSink): Rumpuser {
  return {
    version: RUMPUSER_VERSION,
    clock: realClock,
    random: { fill: (bytes) => void getRandomValues(bytes) },
    log,
    loadComponent: (specifier) => import(specifier) as Promise<unknown>,
  };
}

/** Node's timers and its monotonic clock. */
export const realClock: Clock = {
  nowMs: () => performance.now(),
  startTimer(delayMs, fire) {
    // setTimeout(0) waits a millisecond; what is due now should come with the next turn of the loop.
    if (delayMs <= 0) {
      const immediate = setImmediate(fire);
      return { cancel: () => clearImmediate(immediate) };
    }
    const timer = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
