/** For controllers: HostController.rest by a switch that holds completions back. */
import type { Clock, Timer } from "../../rumpuser/rumpuser.js";

export class RestTimer {
  readonly #clock: Clock;
  readonly #hold: (on: boolean) => void;
  #timer: Timer | undefined;

  /** `hold` is called with true and false in turn. */
  constructor(clock: Clock, hold: (on: boolean) => void) {
    this.#clock = clock;
    this.#hold = hold;
  }

  rest(ms: number): void {
    const wasHeld = this.#timer !== undefined;
    this.cancel();
    if (ms > 0) this.#timer = this.#clock.startTimer(ms, () => this.rest(0));
    if (ms > 0 !== wasHeld) this.#hold(ms > 0);
  }

  /** The end: nothing is to be held or let go any more. */
  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
