/**
 * Whether a rump process that has to answer still runs. What comes of it is a sign of life; after a beat without one it is asked
 * for one with PING, and one that is silent over three beats in a row hangs: it is found within four.
 *
 * Runs while something is to be answered: an idle process costs no wake-ups, and if it hangs, that is found at the next request.
 */
import type { Clock, Timer } from "../rumpuser/rumpuser.js";

/** Calls `told` once. Milliseconds; 0 at the first call, and where it cannot be known. */
export type AskProcessorWait = (told: (waitedMs: number) => void) => void;

export interface HeartbeatLimits {
  /** How long a beat is. 0 = nothing is watched. */
  readonly heartbeatMs: number;
  /**
   * Told, now or later, how long the process has waited for a processor since the last call: on a busy machine that is no
   * hang. Asked only while it is silent, and not counted beyond ten seconds of one silence. Left out: not known.
   */
  readonly askProcessorWait?: AskProcessorWait;
}

/** The process at the other end. */
export interface Watched {
  /** Something is asked, or flows: it may not be silent. */
  hasToAnswer(): boolean;
  /** How long a node of it may take to give a sign of life. With one the beats are slower, too. */
  patienceMs(): number;
  /** How long it may be silent for what it does now, where that is more than three beats. */
  silenceMs(): number;
  /** Asks for a sign of life, unless that is asked already. */
  ping(): void;
  /** It hangs. Nothing is watched any more. */
  hangs(silence: string): void;
}

const MAX_SILENT_BEATS = 3;
/** A process with a node that is more patient is given longer beats: so many while it waits. */
const BEATS_OF_PATIENCE = 4;
/** A process that got no processor for so long is of no use to anybody, whatever the reason. */
const MAX_WAIT_MS = 10_000;

export class Heartbeat {
  readonly #clock: Clock;
  readonly #limits: HeartbeatLimits;
  readonly #watched: Watched;
  #timer: Timer | undefined;
  #ended = false;
  /** A beat is over, and it is asked how much of it counts. */
  #judging = false;
  /** Something has come since the last beat; and how many beats in a row had nothing. */
  #heard = false;
  #silentBeats = 0;
  /** Of that silence: while both processes could run, and while the other one waited for a processor. */
  #silentMs = 0;
  #waitedMs = 0;
  #beatMs = 0;
  #beatDueMs = 0;

  constructor(clock: Clock, limits: HeartbeatLimits, watched: Watched) {
    this.#clock = clock;
    this.#limits = limits;
    this.#watched = watched;
  }

  /** There is something to answer. */
  watch(): void {
    if (this.#timer !== undefined || this.#judging || this.#ended || this.#limits.heartbeatMs === 0) return;
    this.#heard = false;
    this.#beatMs = Math.max(this.#limits.heartbeatMs, this.#watched.patienceMs() / BEATS_OF_PATIENCE);
    this.#beatDueMs = this.#clock.nowMs() + this.#beatMs;
    this.#timer = this.#clock.startTimer(this.#beatMs, () => this.#beat());
  }

  /** A sign of life. */
  heard(): void {
    this.#heard = true;
  }

  end(): void {
    this.#ended = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #beat(): void {
    this.#timer = undefined;
    if (!this.#watched.hasToAnswer()) {
      this.#forget();
      return;
    }
    // A beat that comes late says that this process did not run either, so it has not heard what there was to hear.
    const isLate = this.#clock.nowMs() - this.#beatDueMs > this.#beatMs / 2;
    const ask = this.#limits.askProcessorWait;
    this.#judging = true;
    if (this.#heard || ask === undefined) this.#judge(isLate, 0);
    else ask((waitedMs) => this.#judge(isLate, waitedMs));
  }

  /** It is known how much of the beat the process could not run. Until then no other one is begun. */
  #judge(isLate: boolean, waitedMs: number): void {
    this.#judging = false;
    if (this.#ended) return;
    if (this.#heard) this.#forget();
    else this.#count(isLate, waitedMs);
    const { heartbeatMs } = this.#limits;
    const mayBeSilentMs = Math.max(
      MAX_SILENT_BEATS * heartbeatMs,
      this.#watched.patienceMs(),
      this.#watched.silenceMs(),
    );
    if (this.#silentMs >= mayBeSilentMs) {
      this.end();
      this.#watched.hangs(this.#silence());
      return;
    }
    if (!this.#heard) this.#watched.ping();
    this.watch();
  }

  #forget(): void {
    this.#silentBeats = 0;
    this.#silentMs = 0;
    this.#waitedMs = 0;
  }

  /** One more beat in which nothing came. */
  #count(isLate: boolean, sinceLastMs: number): void {
    const beatMs = this.#beatMs;
    this.#silentBeats++;
    if (isLate) return;
    // What the first call of a silence tells is of the time before it.
    const waitedMs = this.#silentBeats === 1 ? 0 : Math.min(sinceLastMs, beatMs, MAX_WAIT_MS - this.#waitedMs);
    this.#waitedMs += waitedMs;
    this.#silentMs += beatMs - waitedMs;
  }

  #silence(): string {
    const waited = this.#waitedMs > 0 ? ` (${Math.round(this.#waitedMs)} ms without a processor left out)` : "";
    return `no frame in ${Math.round(this.#silentMs)} ms${waited}`;
  }
}
