/**
 * Keeps reads queued on an IN endpoint and hands over what they bring, in order.
 *
 * An endpoint that is asked and has nothing costs nothing: the device answers NAK. One that answers with nothing, again
 * and again without a pause (zero-length packets, status without data), is asked more and more rarely.
 */
import type { Clock, Timer } from "../../../rumpuser/rumpuser.js";
import { TransferError } from "../errors.js";
import type { InPipe, ReadEnd, ReadQueue } from "../usbdi.js";
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
  /** To begin with, and the most that `setRate` may ask for. */
  readonly reads: Reads;
  readonly most?: Reads;
  /** As ReadQueueOptions. */
  readonly repeatBytes?: number;
  /** False holds new reads back until `wake`; those in flight still bring what they bring. */
  readonly mayRead: () => boolean;
  /** What a read that ended well brought, perhaps nothing; lent for the call. @returns whether it said anything. */
  readonly consume: (data: Uint8Array) => boolean;
  /** Everything that ended together was consumed. */
  readonly consumed?: () => void;
  /** Lets the controller rest so long; 0 ends that. Left out: it never does. */
  readonly rest?: (ms: number) => void;
  /** Something is being sent on the same line. */
  readonly isSending?: () => boolean;
  /** Called for each read that failed on the bus and is tried again. */
  readonly retried: (error: TransferError) => void;
}

export class PipeReader {
  readonly #pipe: InPipe;
  readonly #options: PipeReaderOptions;
  #queue: ReadQueue | undefined;
  readonly #pace: Pace;
  #reads: Reads;
  #inFlight = 0;
  readonly #abort = new AbortController();
  #wake: (() => void) | undefined;
  #errors = 0;
  #stalled = false;
  /** The error that is one too many, or no use trying again. */
  #failure: TransferError | undefined;
  /** Since when the first read in the queue has been the first. */
  #firstSinceMs = 0;
  #emptyInStorm = 0;
  /** No read is started before those in flight have ended and so long has passed. */
  #pauseMs = 0;

  constructor(pipe: InPipe, options: PipeReaderOptions) {
    this.#pipe = pipe;
    this.#options = options;
    this.#reads = options.reads;
    this.#pace = new Pace(options.reads.count, pipe.maxPacketBytes, options.isSending);
  }

  /**
   * Reads until `stop`. Resolves when no read is in flight any more.
   * @throws TransferError: the device has gone, or failed too often.
   */
  async run(): Promise<void> {
    const { reads, most = reads, repeatBytes = 0 } = this.#options;
    const queue = this.#pipe.openReads({ ...most, repeatBytes }, (ends) => this.#ended(ends));
    this.#queue = queue;
    try {
      while (!this.#stopped && this.#failure === undefined) {
        this.#fill();
        if (this.#inFlight > 0) await this.#sleep();
        else if (this.#pauseMs > 0) await this.#pause();
        else if (this.#stalled) await this.#clearHalt();
        else await this.#sleep();
      }
    } finally {
      this.stop();
      this.#options.rest?.(0);
      queue.cancel();
      while (this.#inFlight > 0) await this.#sleep();
      queue.close();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Goes on when `mayRead` has become true. */
  wake(): void {
    if (!this.#stopped && this.#pauseMs === 0) this.#wake?.();
  }

  /** Nothing may be late by more than so much. */
  limitLatency(ms: number): void {
    this.#pace.limit(ms);
  }

  /** @param byteMs  What one byte takes on the wire from now on. @param reads  Those that are started from now on. */
  setRate(byteMs: number, reads: Reads): void {
    this.#reads = reads;
    this.#pace.setRate(byteMs, reads);
  }

  /** The device has taken so many bytes of what is sent on the same line. */
  sent(bytes: number): void {
    this.#pace.sent(bytes, this.#options.clock.nowMs());
    this.#queue?.tellRepeats(this.#pace.isBusy);
  }

  /** Cancels what is in flight; what it brought until then is lost. */
  stop(): void {
    this.#abort.abort();
    this.#wake?.();
  }

  get #stopped(): boolean {
    return this.#abort.signal.aborted;
  }

  #ended(ends: readonly ReadEnd[]): void {
    const { clock, consumed } = this.#options;
    const nowMs = clock.nowMs();
    this.#inFlight -= ends.length;
    // How long the device let each of them wait once it was the first in the queue.
    const waitedMs = (nowMs - this.#firstSinceMs) / ends.length;
    this.#firstSinceMs = nowMs;
    let [eventful, bytes] = [0, 0];
    for (const end of ends) {
      if (this.#stopped || this.#failure !== undefined || !this.#take(end, waitedMs)) continue;
      eventful++;
      bytes += end.data.length;
    }
    if (!this.#stopped && this.#failure === undefined) {
      consumed?.();
      // Reads that say nothing, as FTDI's chips end one every 16 ms, are made up for when half of them are used up.
      if (eventful > 0 || this.#inFlight <= this.#reads.count / 2) this.#fill();
      if (eventful > 0 || this.#pace.isBusy) this.#rest(ends.length, bytes, nowMs);
    }
    if (this.#inFlight === 0 || this.#failure !== undefined) this.#wake?.();
  }

  /** Of a busy line everything is told that ends, so that the controller can rest again. */
  #rest(ended: number, bytes: number, nowMs: number): void {
    this.#options.rest?.(this.#pace.next(ended, bytes, nowMs));
    this.#queue?.tellRepeats(this.#pace.isBusy);
  }

  #fill(): void {
    if (this.#stopped || this.#stalled || this.#pauseMs > 0 || !this.#options.mayRead()) return;
    // One at a time is enough to see the end of a storm.
    const count = (this.#emptyInStorm > STORM_BURST ? 1 : this.#reads.count) - this.#inFlight;
    if (count <= 0) return;
    if (this.#inFlight === 0) this.#firstSinceMs = this.#options.clock.nowMs();
    this.#inFlight += count;
    this.#queue?.start(count, this.#reads.bytes);
  }

  /** @returns whether it said something. */
  #take({ status, data }: ReadEnd, waitedMs: number): boolean {
    if (status instanceof TransferError) {
      this.#retry(status);
      return false;
    }
    if (status === "stalled") {
      this.#stalled = true;
      return false;
    }
    this.#errors = 0;
    const saysSomething = this.#options.consume(data);
    const storms = !saysSomething && waitedMs < STORM_INTERVAL_MS;
    this.#emptyInStorm = storms ? this.#emptyInStorm + 1 : 0;
    this.#pauseMs = backOffMs(this.#emptyInStorm - STORM_BURST);
    return saysSomething;
  }

  #retry(error: TransferError): void {
    const passing = error.code === "USB_IO" || error.code === "USB_OVERFLOW" || error.code === "USB_TIMED_OUT";
    // Those that were in flight together are one failure: when a device goes they all end so, some time before it is gone.
    if (this.#pauseMs === 0) this.#errors++;
    if (!passing || this.#errors > MAX_READ_ERRORS) {
      this.#failure = error;
      return;
    }
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

  /** Bytes that may be taken do not end a pause that the device has earned. */
  async #pause(): Promise<void> {
    await this.#sleep(this.#pauseMs);
    this.#pauseMs = 0;
  }

  /** Until somebody wakes it, or so long. */
  #sleep(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const done = (): void => {
        timer?.cancel();
        this.#wake = undefined;
        resolve();
      };
      if (ms !== undefined) timer = this.#options.clock.startTimer(ms, done);
      this.#wake = done;
    });
  }
}

/** Doubles with each step from the first on. */
function backOffMs(step: number): number {
  return step <= 0 ? 0 : Math.min(2 ** Math.min(step, 10), MAX_BACK_OFF_MS);
}
