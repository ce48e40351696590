/**
 * Writes in the order of their calls, one transfer at a time: what the device has taken is known to the byte when a write
 * ends early.
 */
import { DeviceError, WriteError } from "../../../rump/devsw.js";
import { ProtocolError, TransferError } from "../errors.js";
import type { Attachment, OutPipe, StepResult } from "../usbdi.js";
import { deviceError, STEP_CODES } from "./errors.js";

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

export class Writer {
  readonly #options: WriterOptions;
  #chunkBytes = CHUNK_BYTES;
  /** Aborted by `cancel`; a fresh one follows. */
  #abort = new AbortController();
  #last: Promise<unknown> = Promise.resolve();
  #pending = 0;
  #transferMs = 0;
  #underWay: UnderWay | undefined;
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

  /** The transfer of data that the device has now. */
  get underWay(): UnderWay | undefined {
    return this.#underWay;
  }

  /** How long the device took for the last transfer of data. */
  get transferMs(): number {
    return this.#transferMs;
  }

  /** Small transfers can be held soon after the other side says so. */
  useSmallChunks(small: boolean): void {
    this.#chunkBytes = small ? this.#options.pipe.maxPacketBytes : CHUNK_BYTES;
  }

  /** @throws WriteError */
  write(data: Uint8Array, signal?: AbortSignal): Promise<void> {
    const cancelled = this.#abort.signal;
    this.#pending++;
    return this.#enqueue(async () => {
      try {
        await this.#send(data, signal === undefined ? [cancelled] : [cancelled, signal]);
      } finally {
        this.#pending--;
      }
    });
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

  async #send(data: Uint8Array, signals: readonly AbortSignal[]): Promise<void> {
    const link = new LinkedSignal(signals);
    let sent = 0;
    let stalls = 0;
    const fail = (met: DeviceError): never => {
      const error = this.#ended ?? met;
      throw new WriteError(error.code, `${error.message}; ${sent} of ${data.length} bytes sent`, sent, {
        cause: error,
      });
    };
    try {
      while (sent < data.length) {
        await this.#options.hold(link.signal);
        await this.#flushUrgent(link.signal);
        const { status, actualBytes } = await this.#timed(data.subarray(sent, sent + this.#chunkBytes), link.signal);
        sent += Math.min(actualBytes, data.length - sent);
        if (status === "stalled" && ++stalls <= MAX_WRITE_STALLS) await this.#options.pipe.clearHalt();
        else if (status !== "ok") fail(new DeviceError(STEP_CODES[status], `write: transfer ${status}`));
        else if (actualBytes === 0) fail(new DeviceError("EIO", "write: the bus took nothing and said so"));
      }
    } catch (error) {
      if (error instanceof WriteError) throw error;
      if (link.signal.aborted) fail(new DeviceError("ECANCELED", "write: given up"));
      if (error instanceof TransferError || error instanceof ProtocolError) fail(deviceError(error));
      throw error;
    } finally {
      link.unlink();
    }
  }

  async #timed(data: Uint8Array, signal: AbortSignal): Promise<StepResult> {
    const { clock } = this.#options.at;
    const startMs = clock.nowMs();
    this.#underWay = { startMs, bytes: data.length };
    try {
      return await this.#transfer(data, signal);
    } finally {
      this.#transferMs = clock.nowMs() - startMs;
      this.#underWay = undefined;
    }
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
