/**
 * How long the bytes of a stream are gathered before they are sent on.
 *
 * After a pause they go at once. Where they come in quick succession it is tried whether waiting brings more, and if it does,
 * for twice as long the next time, so that the end of an answer is late by about as much as the answer took, at most. Where
 * it does not (each packet waits for the answer to the one before), it is tried more and more rarely.
 */
const MAX_GATHER_MS = 16;
const MIN_GATHER_MS = 2;
/** Packets farther apart are not waited for. */
const MAX_GAP_MS = MAX_GATHER_MS / 2;
/** So many gaps are waited for when it is tried. */
const TRIAL_GAPS = 3;
/** What comes within one turn of the event loop would have come together anyway. */
const TURN_MS = 0.5;
/** What is due after this part of the time that is gathered for is sent at once: a timer would cost more. */
const NEARLY = 1 / 4;
/** Sendings after which it is tried again, at most. */
const MAX_SKIPPED = 64;

export class Gathering {
  #gatherMs = 0;
  #maxMs = MAX_GATHER_MS;
  #sentMs = Number.NEGATIVE_INFINITY;
  /** When the first and the last of what waits have come. */
  #firstMs: number | undefined;
  #lastMs = 0;
  /** Sendings until gathering is tried again, and after the next time that it was in vain. */
  #skip = 0;
  #nextSkip = 1;

  /** Nothing may be late by more than so much. */
  limit(latencyMs: number): void {
    this.#maxMs = Math.min(latencyMs, MAX_GATHER_MS);
    this.#gatherMs = Math.min(this.#gatherMs, this.#maxMs);
  }

  /** Bytes have come. @returns when they are to be sent, in milliseconds from now; undefined: with those that wait. */
  arrived(nowMs: number): number | undefined {
    this.#lastMs = nowMs;
    if (this.#firstMs !== undefined) return undefined;
    this.#firstMs = nowMs;
    const sinceMs = nowMs - this.#sentMs;
    if (this.#gatherMs === 0 && this.#mayTry(sinceMs))
      this.#gatherMs = Math.min(Math.max(MIN_GATHER_MS, TRIAL_GAPS * sinceMs), this.#maxMs);
    const waitMs = this.#gatherMs - sinceMs;
    return waitMs > this.#gatherMs * NEARLY ? waitMs : 0;
  }

  /** What waited was sent. */
  sent(nowMs: number): void {
    const gathered = this.#lastMs - (this.#firstMs ?? this.#lastMs) > TURN_MS;
    this.#sentMs = nowMs;
    this.#firstMs = undefined;
    if (this.#gatherMs === 0) return;
    if (gathered) {
      this.#gatherMs = Math.min(2 * this.#gatherMs, this.#maxMs);
      this.#nextSkip = 1;
    } else {
      this.#gatherMs = 0;
      this.#skip = this.#nextSkip;
      this.#nextSkip = Math.min(2 * this.#nextSkip, MAX_SKIPPED);
    }
  }

  #mayTry(sinceMs: number): boolean {
    if (sinceMs > MAX_GAP_MS || this.#maxMs < MIN_GATHER_MS) return false;
    if (this.#skip === 0) return true;
    this.#skip--;
    return false;
  }
}
