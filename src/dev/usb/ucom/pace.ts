/**
 * How long the controller may rest between two looks at what a stream has brought.
 *
 * A chip that has no latency timer ends a read with whatever it has, a thousand times a second. Reads that have ended wait
 * in the controller's queue, so that some of them can be taken together, as long as others are still there for the device to
 * fill. Full packets are not waited for: a device that sends as fast as it can may wait for an answer. Where short ones come
 * in quick succession it is tried whether a rest brings several, and if it does the next one is twice as
 * long. Where it does not (each answer waits for the next question), it is tried more and more rarely.
 *
 * A line that has been busy for a second, in one direction at least, carries no answers that somebody waits for: full packets are
 * waited for, too, and longer.
 */
import { BusyDirection } from "./busy.js";

const MAX_REST_MS = 16;
export const MAX_BUSY_REST_MS = 125;
/** Of what is sent, transfers end some times a second, and that may be seen a rest later. */
const IN_WINDOW_MS = 250;
const OUT_WINDOW_MS = 1_000;
const MAX_OUT_PAUSE_MS = 1.5 * MAX_BUSY_REST_MS;
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
  readonly #isSending: () => boolean;
  #latencyMs = Number.POSITIVE_INFINITY;
  readonly #in = new BusyDirection(IN_WINDOW_MS);
  readonly #out = new BusyDirection(OUT_WINDOW_MS);
  #sentMs = Number.NEGATIVE_INFINITY;
  #restMs = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  /** Turns until it is tried again, and after the next time that it was in vain. */
  #skip = 0;
  #nextSkip = 1;

  /** @param reads  In flight at a time. @param isSending  Something waits to be sent, or is on its way. */
  constructor(reads: number, packetBytes: number, isSending: () => boolean = () => false) {
    this.#reads = reads;
    this.#packetBytes = packetBytes;
    this.#isSending = isSending;
  }

  /** In one direction at least, and what comes may be waited for. */
  get isBusy(): boolean {
    return this.#latencyMs > 0 && (this.#in.isBusy || this.#out.isBusy);
  }

  /** Nothing may be late by more than so much; a millisecond is not worth it. */
  limit(latencyMs: number): void {
    this.#latencyMs = latencyMs <= 1 ? 0 : latencyMs;
  }

  /** @param byteMs  What one byte takes on the wire from now on. @param reads  Of so many bytes each, in flight at a time. */
  setRate(byteMs: number, reads: { readonly count: number; readonly bytes: number }): void {
    // A read that is not over yet has some of it.
    this.#in.setRate(byteMs, MAX_REST_MS + reads.bytes * byteMs);
    this.#out.setRate(byteMs, MAX_OUT_PAUSE_MS);
    this.#reads = reads.count;
  }

  /** The device has taken so many bytes. */
  sent(bytes: number, nowMs: number): void {
    this.#out.moved(bytes, nowMs - this.#sentMs);
    this.#sentMs = nowMs;
  }

  /** @param ended  Reads that were taken together, one at least. @returns how long to rest before the next are. */
  next(ended: number, bytes: number, nowMs: number): number {
    const sinceMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    this.#in.moved(bytes, sinceMs);
    if (!this.#isSending()) this.#out.pauses();
    const isBusy = this.isBusy;
    const areWaitedFor = isBusy || bytes * 2 <= ended * this.#packetBytes;
    if (!areWaitedFor || sinceMs > this.#restMs + (isBusy ? MAX_BUSY_GAP_MS : MAX_GAP_MS)) this.#restMs = 0;
    else if (this.#restMs === 0) this.#restMs = this.#mayTry(ended) ? Math.max(1, TRIAL_GAPS * sinceMs) : 0;
    else if (ended === 1 && !isBusy) this.#giveUp();
    else this.#goOn(ended, isBusy);
    this.#restMs = Math.min(Math.floor(this.#restMs), isBusy ? MAX_BUSY_REST_MS : MAX_REST_MS, this.#latencyMs);
    return this.#restMs;
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
