/**
 * Writes in the order of their calls, one transfer at a time, but that the first of the next write is queued behind the last of the one
 * before: what is sent has no pause between two writes, and nobody must be awake for that. It is taken back first when the one before does
 * not end well: what the device has taken is known to the byte when a write ends early.
 */
import { DeviceError, WriteError } from "../../../rump/devsw.js";
import { ProtocolError, TransferError } from "../errors.js";
import type { Attachment, OutPipe, StepResult } from "../usbdi.js";
import { deviceError, STEP_CODES } from "./errors.js";
import { MAX_BUSY_REST_MS } from "./pace.js";

/** Bytes of a transfer: long enough that the pause between two is not seen at 12 Mbaud. */
const CHUNK_BYTES = 16 * 1024;
/** Halts of the endpoint that one write gets over. */
const MAX_WRITE_STALLS = 3;

export interface WriterOptions {
  readonly at: Pick<Attachment<unknown>, "runChain" | "clock">;
  readonly pipe: OutPipe;
  /** Resolves when sending is not held; rejects when the signal aborts. Undefined: it is not held. */
  readonly hold: (signal: AbortSignal) => Promise<void> | undefined;
  /** Told what the device took. */
  readonly taken: (bytes: number) => void;
}

export interface UnderWay {
  readonly startMs: number;
  readonly bytes: number;
}

interface Transfer extends UnderWay {
  readonly abort: AbortController;
  readonly result: Promise<StepResult>;
}

interface Write {
  readonly data: Uint8Array;
  readonly signals: readonly AbortSignal[];
  /** From when the device first has something of it. */
  link: LinkedSignal | undefined;
  sentBytes: number;
  /** Queued before its turn has come. */
  ahead: Transfer | undefined;
}

export class Writer {
  readonly #options: WriterOptions;
  #chunkBytes = CHUNK_BYTES;
  /** Aborted by `cancel`; a fresh one follows. */
  #abort = new AbortController();
  #last: Promise<unknown> = Promise.resolve();
  /** Those whose turn has not come, in their order. */
  #waiting: Write[] = [];
  #pending = 0;
  #goesAhead = true;
  /** The last transfer of a write is under way, and nothing behind it. */
  #mayGoAhead = false;
  #transferMs = 0;
  /** When the last one ended. */
  #endMs = Number.NEGATIVE_INFINITY;
  #willGoAhead = false;
  /** Two at most. */
  #inFlight: Transfer[] = [];
  /** Goes out before the next chunk. */
  #urgent: number | undefined;
  /** Why nothing is sent any more. */
  #ended: DeviceError | undefined;

  constructor(options: WriterOptions) {
    this.#options = options;
  }

  get idle(): boolean {
    return this.#pending === 0;
  }

  /** The transfers of data that the device has now, as one. That one before them has ended may have been seen after a whole rest. */
  get underWay(): UnderWay | undefined {
    const [first] = this.#inFlight;
    if (first === undefined) return undefined;
    const bytes = this.#inFlight.reduce((sum, transfer) => sum + transfer.bytes, 0);
    return { startMs: Math.max(first.startMs, this.#endMs - MAX_BUSY_REST_MS), bytes };
  }

  /** How long the device took for the last transfer of data. */
  get transferMs(): number {
    return this.#transferMs;
  }

  /** Small transfers, one at a time, can be held soon after the other side says so. */
  useSmallChunks(small: boolean): void {
    this.#chunkBytes = small ? this.#options.pipe.maxPacketBytes : CHUNK_BYTES;
    this.#goesAhead = !small;
  }

  /** @throws WriteError */
  write(data: Uint8Array, signal?: AbortSignal): Promise<void> {
    const cancelled = this.#abort.signal;
    const signals = signal === undefined ? [cancelled] : [cancelled, signal];
    const write: Write = { data, signals, link: undefined, sentBytes: 0, ahead: undefined };
    this.#pending++;
    this.#waiting.push(write);
    const ended = this.#enqueue(async () => {
      this.#waiting.shift();
      try {
        await this.#send(write, linkOf(write));
      } finally {
        write.link?.unlink();
        this.#pending--;
      }
    });
    this.#goAheadSoon();
    return ended;
  }

  /** Sends one byte ahead of the writes that wait. What it meets is told by the next write. */
  sendUrgent(byte: number): void {
    this.#urgent = byte;
    if (this.#pending > 0) return;
    const { signal } = this.#abort;
    void this.#enqueue(() => this.#flushUrgent(signal)).catch(() => undefined);
  }

  /** Resolves when every write before has ended, one way or the other. */
  async settled(): Promise<void> {
    await this.#last;
  }

  /** Ends what waits and what is on its way as ECANCELED. */
  cancel(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
  }

  /** As `cancel`, and for this reason. */
  end(reason: DeviceError): void {
    this.#ended = reason;
    this.#abort.abort();
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #send(write: Write, { signal }: LinkedSignal): Promise<void> {
    const { data } = write;
    let stalls = 0;
    const fail = (met: DeviceError): never => {
      const error = this.#ended ?? met;
      const sent = write.sentBytes;
      throw new WriteError(error.code, `${error.message}; ${sent} of ${data.length} bytes sent`, sent, {
        cause: error,
      });
    };
    try {
      while (write.sentBytes < data.length) {
        const { status, actualBytes } = await this.#result(write, await this.#next(write, signal), signal);
        write.sentBytes += Math.min(actualBytes, data.length - write.sentBytes);
        if (status === "stalled" && ++stalls <= MAX_WRITE_STALLS) await this.#options.pipe.clearHalt();
        else if (status !== "ok") fail(new DeviceError(STEP_CODES[status], `write: transfer ${status}`));
        else if (actualBytes === 0) fail(new DeviceError("EIO", "write: the bus took nothing and said so"));
      }
    } catch (error) {
      if (error instanceof WriteError) throw error;
      if (signal.aborted) fail(new DeviceError("ECANCELED", "write: given up"));
      if (error instanceof TransferError || error instanceof ProtocolError) fail(deviceError(error));
      // A bug: what follows must not be sent without this one.
      this.end(new DeviceError("EIO", "write: the one before ended by an error of the driver"));
      throw error;
    }
  }

  /** The transfer that went ahead, or a new one. */
  async #next(write: Write, signal: AbortSignal): Promise<Transfer> {
    const { ahead } = write;
    write.ahead = undefined;
    if (ahead !== undefined) return ahead;
    await this.#options.hold(signal);
    await this.#flushUrgent(signal);
    return this.#start(write, signal);
  }

  #start({ data, sentBytes }: Write, signal: AbortSignal): Transfer {
    const { clock } = this.#options.at;
    const part = data.subarray(sentBytes, sentBytes + this.#chunkBytes);
    const abort = new AbortController();
    if (signal.aborted) abort.abort();
    const startMs = clock.nowMs();
    const result = this.#transfer(part, abort.signal).finally(() => {
      this.#inFlight = this.#inFlight.filter((other) => other !== transfer);
      this.#transferMs = clock.nowMs() - Math.max(startMs, this.#endMs);
      this.#endMs = clock.nowMs();
    });
    result.catch(() => undefined); // one that went ahead is waited for in its turn
    const transfer: Transfer = { startMs, bytes: part.length, abort, result };
    this.#inFlight.push(transfer);
    return transfer;
  }

  /** Waits for the end of a transfer, with that of the next write behind it. */
  async #result(write: Write, transfer: Transfer, signal: AbortSignal): Promise<StepResult> {
    const cancel = (): void => {
      this.#mayGoAhead = false;
      this.#waiting[0]?.ahead?.abort.abort();
      transfer.abort.abort();
    };
    if (signal.aborted) cancel();
    else signal.addEventListener("abort", cancel, { once: true });
    this.#mayGoAhead = !signal.aborted && write.sentBytes + transfer.bytes >= write.data.length;
    this.#goAheadSoon();
    try {
      const result = await transfer.result;
      if (result.status !== "ok" || result.actualBytes < transfer.bytes) await this.#takeBack();
      return result;
    } finally {
      this.#mayGoAhead = false;
      signal.removeEventListener("abort", cancel);
    }
  }

  /** In a turn of its own: by then it is known whether the transfer before could be begun, or has ended already. */
  #goAheadSoon(): void {
    if (!this.#mayGoAhead || this.#waiting.length === 0 || this.#willGoAhead) return;
    this.#willGoAhead = true;
    this.#options.at.clock.startTimer(0, () => {
      this.#willGoAhead = false;
      this.#goAhead();
    });
  }

  #goAhead(): void {
    const [next] = this.#waiting;
    if (!this.#mayGoAhead || !this.#goesAhead || next === undefined) return;
    const { signal } = linkOf(next);
    if (next.data.length === 0 || signal.aborted) return;
    this.#mayGoAhead = false;
    const ahead = this.#start(next, signal);
    next.ahead = ahead;
    const cancel = (): void => (next.ahead === ahead ? ahead.abort.abort() : undefined);
    signal.addEventListener("abort", cancel, { once: true });
  }

  /** What went ahead of its turn waits for it again; what the device took of it counts. */
  async #takeBack(): Promise<void> {
    this.#mayGoAhead = false;
    const [next] = this.#waiting;
    if (next?.ahead === undefined) return;
    next.ahead.abort.abort();
    const { actualBytes } = await next.ahead.result;
    next.sentBytes += Math.min(actualBytes, next.data.length);
    next.ahead = undefined;
  }

  async #flushUrgent(signal: AbortSignal): Promise<void> {
    const byte = this.#urgent;
    this.#urgent = undefined;
    if (byte !== undefined) await this.#transfer(Uint8Array.of(byte), signal);
  }

  async #transfer(data: Uint8Array, signal: AbortSignal): Promise<StepResult> {
    // 0: flow control may hold the device for as long as it wants.
    const [result] = await this.#options.at.runChain([{ pipe: this.#options.pipe, data }], { signal, timeoutMs: 0 });
    const { status, actualBytes } = result ?? { status: "notStarted", actualBytes: 0 };
    if (actualBytes > 0) this.#options.taken(actualBytes);
    return { status, actualBytes };
  }
}

function linkOf(write: Write): LinkedSignal {
  write.link ??= new LinkedSignal(write.signals);
  return write.link;
}

/** Aborted with the first of several; unlike AbortSignal.any it is let go of at once. */
class LinkedSignal {
  readonly #abort = new AbortController();
  readonly #sources: readonly AbortSignal[];
  readonly #onAbort = (): void => this.#abort.abort();

  constructor(sources: readonly AbortSignal[]) {
    this.#sources = sources;
    for (const source of sources) {
      if (source.aborted) this.#abort.abort();
      else source.addEventListener("abort", this.#onAbort, { once: true });
    }
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  unlink(): void {
    for (const source of this.#sources) source.removeEventListener("abort", this.#onAbort);
  }
}
