/**
 * Whether one direction of a line is busy: over a second, as much has moved as its rate allows. A device without a UART moves more.
 *
 * Each time that it pauses after all, it must be busy for twice as long before it counts again. Sixteen seconds make up for all pauses.
 */
const NEEDED_MS = 1_000;
const MAX_NEEDED_MS = 16_000;
const MIN_SHARE = 3 / 4;
const MAX_SHARE = 5 / 4;

export class BusyDirection {
  readonly #windowMs: number;
  /** What one byte takes on the wire. */
  #byteMs = 0;
  #maxPauseMs = 0;
  /** Since the last time that what moved was held against the rate. */
  #sinceMs = 0;
  #bytes = 0;
  #busyMs = 0;
  #neededMs = NEEDED_MS;

  /** What moves in `windowMs` is held against the rate. */
  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  get isBusy(): boolean {
    return this.#busyMs >= this.#neededMs;
  }

  /** What moves may be seen late by `maxPauseMs`, or a quarter of the time. */
  setRate(byteMs: number, maxPauseMs: number): void {
    this.#byteMs = byteMs;
    this.#maxPauseMs = maxPauseMs;
  }

  /** So many bytes in so much time, since the last call. */
  moved(bytes: number, ms: number): void {
    if (ms - bytes * this.#byteMs > Math.max(this.#maxPauseMs, ms * (1 - MIN_SHARE))) this.pauses();
    this.#sinceMs += ms;
    this.#bytes += bytes;
    if (this.#sinceMs < this.#windowMs) return;
    const share = (this.#bytes * this.#byteMs) / this.#sinceMs;
    if (share < MIN_SHARE || share > MAX_SHARE) this.pauses();
    else this.#busyMs += this.#sinceMs;
    this.#sinceMs = 0;
    this.#bytes = 0;
    if (this.#busyMs >= MAX_NEEDED_MS) this.#neededMs = NEEDED_MS;
  }

  pauses(): void {
    if (this.isBusy) this.#neededMs = Math.min(2 * this.#neededMs, MAX_NEEDED_MS);
    this.#busyMs = 0;
  }
}
