/**
 * Keeps reads queued on an IN endpoint and hands over what they bring, in order.
 *
 * An endpoint that is asked and has nothing costs nothing: the device answers NAK. One that answers with nothing, again
 * and again without a pause (zero-length packets, status without data), is asked more and more rarely.
 */
import type { Clock, Timer } from "../../../rumpuser/rumpuser.js";
import { TransferError } from "../errors.js";
import type { InCompletion, InPipe } from "../usbdi.js";
import { Pace } from "./pace.js";

/** Errors one after another, of the bus or the endpoint, before the device counts as broken. */
export const MAX_READ_ERRORS = 8;
/** A device that ends idle reads after a pause of its own (FTDI's latency timer: 1 ms and up) is not in the way. */
const STORM_INTERVAL_MS = 0.5;
/** Empty reads in a row, without a pause between them, that are put up with. */
const STORM_BURST = 8;
const MAX_BACK_OFF_MS = 64;

export interface Reads {
  /** In flight at a time. */
  readonly count: number;
  /** Of one; a multiple of the packet size. */
  readonly bytes: number;
}

export interface PipeReaderOptions {
  readonly clock: Clock;
  readonly reads: Reads;
  /** False holds new reads back until `wake`; those in flight still bring what they bring. */
  readonly mayRead: () => boolean;
  /** A read that ended well, perhaps empty. @returns whether it said anything. */
  readonly consume: (data: Uint8Array) => boolean;
  /** Lets the controller rest so long; 0 ends that. Left out: it never does. */
  readonly rest?: (ms: number) => void;
  /** Called for each read that failed on the bus and is tried again. */
  readonly retried: (error: TransferError) => void;
}

type Outcome = ({ readonly completion: InCompletion } | { readonly error: unknown }) & {
  readonly startedMs: number;
  readonly endedMs: number;
};

export class PipeReader {
  readonly #pipe: InPipe;
  readonly #options: PipeReaderOptions;
  readonly #abort = new AbortController();
  readonly #inFlight: Promise<Outcome>[] = [];
  readonly #pace: Pace;
  #reads: Reads;
  /** Reads in this turn of the event loop that said something, and what looks at them when it is over. */
  #eventful = 0;
  #bytes = 0;
  #turn: Timer | undefined;
  #wake: (() => void) | undefined;
  #errors = 0;
  #stalled = false;
  #lastEndMs = Number.NEGATIVE_INFINITY;
  #emptyInStorm = 0;
  /** No read is started before those in flight have ended and so long has passed. */
  #pauseMs = 0;

  constructor(pipe: InPipe, options: PipeReaderOptions) {
    this.#pipe = pipe;
    this.#options = options;
    this.#reads = options.reads;
    this.#pace = new Pace(this.#reads.count, pipe.maxPacketBytes);
  }

  /**
   * Reads until `stop`. Resolves when no read is in flight any more.
   * @throws TransferError: the device has gone, or failed too often.
   */
  async run(): Promise<void> {
    const { signal } = this.#abort;
    try {
      while (!signal.aborted) {
        if (this.#inFlight.length <= this.#reads.count / 2) this.#fill();
        const [next] = this.#inFlight;
        if (next !== undefined) {
          const outcome = await next;
          void this.#inFlight.shift();
          this.#take(outcome);
        } else if (this.#pauseMs > 0) await this.#pause();
        else if (this.#stalled) await this.#clearHalt();
        else await this.#sleep();
      }
    } finally {
      this.#abort.abort();
      this.#turn?.cancel();
      this.#options.rest?.(0);
      await Promise.all(this.#inFlight.splice(0));
    }
  }

  /** Goes on when `mayRead` has become true. */
  wake(): void {
    this.#wake?.();
  }

  /** Nothing may be late by more than so much. */
  limitLatency(ms: number): void {
    this.#pace.limit(ms);
  }

  /** @param byteMs  What one byte takes on the wire from now on. @param reads  Those that are started from now on. */
  setRate(byteMs: number, reads: Reads): void {
    this.#reads = reads;
    this.#pace.setRate(byteMs, reads.count);
  }

  /** Cancels what is in flight; what it brought until then is lost. */
  stop(): void {
    this.#abort.abort();
    this.#wake?.();
  }

  /** After the turn, what has ended is made up for in one go. */
  #endTurn(): void {
    const [eventful, bytes] = [this.#eventful, this.#bytes];
    this.#turn = undefined;
    this.#eventful = 0;
    this.#bytes = 0;
    this.#fill();
    this.#options.rest?.(this.#pace.next(eventful, bytes, this.#options.clock.nowMs()));
  }

  #fill(): void {
    if (this.#stalled || this.#pauseMs > 0) return;
    const { clock, mayRead } = this.#options;
    const { bytes } = this.#reads;
    // One at a time is enough to see the end of a storm.
    const count = this.#emptyInStorm > STORM_BURST ? 1 : this.#reads.count;
    const { signal } = this.#abort;
    while (this.#inFlight.length < count && mayRead()) {
      const startedMs = clock.nowMs();
      const read = this.#pipe.transfer(bytes, { timeoutMs: 0, signal });
      this.#inFlight.push(
        read.then(
          (completion) => ({ completion, startedMs, endedMs: clock.nowMs() }),
          (error: unknown) => ({ error, startedMs, endedMs: clock.nowMs() }),
        ),
      );
    }
  }

  #take(outcome: Outcome): void {
    if (this.#abort.signal.aborted) return;
    if ("error" in outcome) return this.#retry(outcome.error);
    const { status, data } = outcome.completion;
    if (status === "stalled") {
      this.#stalled = true;
      return;
    }
    this.#errors = 0;
    // How long the device let this read wait once it was the first in the queue.
    const waitedMs = outcome.endedMs - Math.max(outcome.startedMs, this.#lastEndMs);
    this.#lastEndMs = outcome.endedMs;
    const saysSomething = this.#options.consume(data);
    // Reads that say nothing, as FTDI's chips end one every 16 ms, are made up for when half of them are used up.
    if (saysSomething) {
      this.#turn ??= this.#options.clock.startTimer(0, () => this.#endTurn());
      this.#eventful++;
      this.#bytes += data.length;
    }
    const storms = !saysSomething && waitedMs < STORM_INTERVAL_MS;
    this.#emptyInStorm = storms ? this.#emptyInStorm + 1 : 0;
    this.#pauseMs = backOffMs(this.#emptyInStorm - STORM_BURST);
  }

  /** @throws the error when it is one too many, or no use trying again. */
  #retry(error: unknown): void {
    const passing =
      error instanceof TransferError &&
      (error.code === "USB_IO" || error.code === "USB_OVERFLOW" || error.code === "USB_TIMED_OUT");
    // Those that were in flight together are one failure: when a device goes they all end so, some time before it is gone.
    if (this.#pauseMs === 0) this.#errors++;
    if (!passing || this.#errors > MAX_READ_ERRORS) throw error;
    this.#options.retried(error);
    this.#pauseMs = backOffMs(this.#errors);
  }

  /** When every read has ended: those behind the halt end as stalled too (USB 2.0 §8.4.5). */
  async #clearHalt(): Promise<void> {
    if (++this.#errors > MAX_READ_ERRORS)
      throw new TransferError("USB_STALLED", `IN ${this.#pipe.endpointAddress.toString(16)}h halts again and again`);
    await this.#pipe.clearHalt({ signal: this.#abort.signal });
    this.#stalled = false;
    this.#pauseMs = backOffMs(this.#errors - 1);
  }

  async #pause(): Promise<void> {
    const ms = this.#pauseMs;
    this.#pauseMs = 0;
    await this.#sleep(ms);
  }

  /** Until `wake` or `stop`, or so long. */
  #sleep(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const wake = (): void => {
        // Bytes that may be taken do not end a pause that the device has earned.
        if (ms !== undefined && !this.#abort.signal.aborted) return;
        done();
      };
      const done = (): void => {
        timer?.cancel();
        this.#wake = undefined;
        resolve();
      };
      if (ms !== undefined) timer = this.#options.clock.startTimer(ms, done);
      this.#wake = wake;
    });
  }
}

/** Doubles with each step from the first on. */
function backOffMs(step: number): number {
  return step <= 0 ? 0 : Math.min(2 ** Math.min(step, 10), MAX_BACK_OFF_MS);
}
