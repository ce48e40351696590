/**
 * How long the controller may rest between two looks at what a stream has brought.
 *
 * A chip that has no latency timer ends a read with whatever it has, a thousand times a second. Reads that have ended wait
 * in the controller's queue, so that some of them can be taken together, as long as others are still there for the device to
 * fill. After a pause nothing rests; a stream lets it rest for a millisecond, and then for twice as long each time.
 */
const MAX_REST_MS = 16;
/** Longer than the rest and this is a pause. */
const PAUSE_MS = 4;

export class Pace {
  readonly #reads: number;
  #maxMs = MAX_REST_MS;
  #restMs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;

  /** @param reads  In flight at a time. */
  constructor(reads: number) {
    this.#reads = reads;
  }

  /** Nothing may be late by more than so much; a millisecond is not worth it. */
  limit(latencyMs: number): void {
    this.#maxMs = latencyMs <= 1 ? 0 : Math.min(latencyMs, MAX_REST_MS);
  }

  /** @param ended  Reads that were taken together. @returns how long to rest before the next are. */
  next(ended: number, nowMs: number): number {
    const sinceMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    if (sinceMs > this.#restMs + PAUSE_MS) this.#restMs = 0;
    else if (ended * 2 > this.#reads) this.#restMs = Math.floor(this.#restMs / 2);
    else if (ended * 4 <= this.#reads) this.#restMs = Math.max(1, this.#restMs * 2);
    this.#restMs = Math.min(this.#restMs, this.#maxMs);
    return this.#restMs;
  }
}
