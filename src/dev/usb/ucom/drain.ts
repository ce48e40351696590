/** When the last written byte has left the chip: asked where it can be asked, reckoned where not. */
import type { LineSettings } from "../../../rump/devsw.js";
import type { Clock } from "../../../rumpuser/rumpuser.js";
import { bitsPerCharacter } from "./settings.js";

/** While somebody waits, a chip that can be asked is asked not more often and not more rarely than this. */
const MIN_POLL_MS = 2;
const MAX_POLL_MS = 100;

/** Milliseconds that so many characters take on the wire. */
export function wireMs(bytes: number, settings: LineSettings): number {
  return (bytes * bitsPerCharacter(settings) * 1000) / settings.baud;
}

/** How long to wait before the chip is asked again. */
export function pollMs(queuedBytes: number, settings: LineSettings): number {
  return Math.min(Math.max(wireMs(queuedBytes, settings), MIN_POLL_MS), MAX_POLL_MS);
}

/** Characters that are reckoned more: one is shifted out when the buffer is empty, and one for a clock that is not exact. */
const MARGIN = 2;

/** A chip of so many bytes that sends without a pause: it can hold no more than its buffer. */
export class TransmitEstimate {
  readonly #clock: Clock;
  readonly #bufferBytes: number;
  #emptyAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, bufferBytes: number) {
    this.#clock = clock;
    this.#bufferBytes = bufferBytes;
  }

  taken(bytes: number, settings: LineSettings): void {
    const nowMs = this.#clock.nowMs();
    const emptyAtMs = Math.max(nowMs + wireMs(MARGIN, settings), this.#emptyAtMs) + wireMs(bytes, settings);
    this.#emptyAtMs = Math.min(emptyAtMs, nowMs + wireMs(this.#bufferBytes + MARGIN, settings));
  }

  /** 0 = empty by now. */
  remainingMs(): number {
    return Math.max(0, this.#emptyAtMs - this.#clock.nowMs());
  }

  clear(): void {
    this.#emptyAtMs = Number.NEGATIVE_INFINITY;
  }
}

/** Resolves `ms` later. @throws the reason of the first signal that aborts. */
export function delay(clock: Clock, ms: number, signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (event: Event): void => {
      unlink();
      timer.cancel();
      reject((event.currentTarget as AbortSignal).reason as Error);
    };
    const unlink = (): void => {
      for (const signal of signals) signal.removeEventListener("abort", abort);
    };
    const aborted = signals.find((signal) => signal.aborted);
    if (aborted !== undefined) return reject(aborted.reason as Error);
    const timer = clock.startTimer(ms, () => {
      unlink();
      resolve();
    });
    for (const signal of signals) signal.addEventListener("abort", abort, { once: true });
  });
}
