/** Real time, for tests that need real sockets. */
import type { Clock } from "../../src/rumpuser/rumpuser.js";

export const testClock: Clock = {
  nowMs: () => performance.now(),
  startTimer(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
