/**
 * How long the controller may rest between two looks at what a stream has brought.
 *
 * A chip that has no latency timer ends a read with whatever it has, a thousand times a second. Reads that have ended wait
 * in the controller's queue, so that some of them can be taken together, as long as others are still there for the device to
 * fill. Full packets are not waited for: a device that sends as fast as it can may wait for an answer. Where short ones come
 * in quick succession it is tried whether a rest brings several, and if it does the next one is twice as
 * long. Where it does not (each answer waits for the next question), it is tried more and more rarely.
 *
 * A line that has been busy for a second carries no answers: full packets are waited for, too, and longer. It is busy where as
 * much comes as its rate allows. A device without a UART brings more.
 */
const MAX_REST_MS = 16;
export const MAX_BUSY_REST_MS = 40;
/** What comes in so much time is held against the rate; so often in a row it must be right. */
const WINDOW_MS = 250;
const BUSY_WINDOWS = 4;
const MIN_BUSY = 3 / 4;
const MAX_BUSY = 5 / 4;
/** Reads that end farther apart are not waited for. */
const MAX_GAP_MS = MAX_REST_MS / 2;
const MAX_BUSY_GAP_MS = MAX_BUSY_REST_MS / 2;
/** So many gaps are waited for when it is tried. */
const TRIAL_GAPS = 3;
/** The part of the reads that a rest may use up; the others are left to the device. A busy line has no bursts. */
const MOST_USED = 1 / 2;
const MOST_USED_BUSY = 5 / 8;
/** Turns after which it is tried again, at most. */
const MAX_SKIPPED = 64;

export class Pace {
  #reads: number;
  readonly #packetBytes: number;
  #latencyMs = Number.POSITIVE_INFINITY;
  /** What one byte takes on the wire. */
  #byteMs = 0;
  #windowMs = 0;
  #windowBytes = 0;
  #busyWindows = 0;
  #restMs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  /** Turns until it is tried again, and after the next time that it was in vain. */
  #skip = 0;
  #nextSkip = 1;

  /** @param reads  In flight at a time. */
  constructor(reads: number, packetBytes: number) {
    this.#reads = reads;
    this.#packetBytes = packetBytes;
  }

  /** Nothing may be late by more than so much; a millisecond is not worth it. */
  limit(latencyMs: number): void {
    this.#latencyMs = latencyMs <= 1 ? 0 : latencyMs;
  }

  /** @param byteMs  What one byte takes on the wire from now on. @param reads  In flight at a time. */
  setRate(byteMs: number, reads: number): void {
    this.#byteMs = byteMs;
    this.#reads = reads;
  }

  /** @param ended  Reads that were taken together, one at least. @returns how long to rest before the next are. */
  next(ended: number, bytes: number, nowMs: number): number {
    const sinceMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    this.#look(sinceMs, bytes);
    const isBusy = this.#busyWindows >= BUSY_WINDOWS;
    const areWaitedFor = isBusy || bytes * 2 <= ended * this.#packetBytes;
    if (!areWaitedFor || sinceMs > this.#restMs + (isBusy ? MAX_BUSY_GAP_MS : MAX_GAP_MS)) this.#restMs = 0;
    else if (this.#restMs === 0) this.#restMs = this.#mayTry(ended) ? Math.max(1, TRIAL_GAPS * sinceMs) : 0;
    else if (ended === 1) this.#giveUp();
    else this.#goOn(ended, isBusy);
    this.#restMs = Math.min(Math.floor(this.#restMs), isBusy ? MAX_BUSY_REST_MS : MAX_REST_MS, this.#latencyMs);
    return this.#restMs;
  }

  /** Whether the line is busy: over a window, and that it has not fallen silent since the last turn. */
  #look(sinceMs: number, bytes: number): void {
    if (sinceMs - bytes * this.#byteMs > MAX_REST_MS) this.#busyWindows = 0;
    this.#windowMs += Math.min(sinceMs, WINDOW_MS);
    this.#windowBytes += bytes;
    if (this.#windowMs < WINDOW_MS) return;
    const share = (this.#windowBytes * this.#byteMs) / this.#windowMs;
    this.#busyWindows = share >= MIN_BUSY && share <= MAX_BUSY ? this.#busyWindows + 1 : 0;
    this.#windowMs = 0;
    this.#windowBytes = 0;
  }

  #mayTry(ended: number): boolean {
    if (ended * 4 > this.#reads) return false;
    if (this.#skip === 0) return true;
    this.#skip--;
    return false;
  }

  #giveUp(): void {
    this.#restMs = 0;
    this.#skip = this.#nextSkip;
    this.#nextSkip = Math.min(2 * this.#nextSkip, MAX_SKIPPED);
  }

  #goOn(ended: number, isBusy: boolean): void {
    this.#nextSkip = 1;
    this.#restMs *= Math.min(2, ((isBusy ? MOST_USED_BUSY : MOST_USED) * this.#reads) / ended);
  }
}
