import type { Clock } from "../rumpuser.js";

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
