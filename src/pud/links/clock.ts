/** Time, as links need it. */

export interface Clock {
  /** Calls `fire` once, `delayMs` from now, unless cancelled before. */
  startTimer(delayMs: number, fire: () => void): { cancel(): void };
}
