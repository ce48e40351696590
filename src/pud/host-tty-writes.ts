/**
 * The writes of an open line: sent in short chunks, in the order of the calls, and known to the byte.
 *
 * A chunk is answered when the device has taken it, so what a driver process that dies may have sent and not told is what is
 * in flight: two chunks. A chunk is as long as the device takes in some hundredths of a second, found out as it goes: a slow
 * line gets short ones, a fast one is not slowed down.
 */
import { DeviceError, type DeviceErrorCode, WriteError } from "../rump/devsw.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import { LinkError } from "./errors.js";
import { KINDS } from "./frames.js";
import { HostRequest } from "./host-request.js";
import { decodeTtyFailure } from "./tty-payloads.js";

const MIN_CHUNK_BYTES = 64;
/** One transfer of the driver: what it takes of a chunk before it dies may arrive twice. */
const MAX_CHUNK_BYTES = 16 * 1024;
/**
 * A chunk that took less is followed by one twice as long, one that took more by one half as long. Up to so many bytes are worth fewer
 * wake-ups of a slow line.
 */
const SHORT_MS = 40;
const LONG_MS = 100;
const SMALL_BYTES = 4 * 1024;
const SMALL_SHORT_MS = 200;
const SMALL_LONG_MS = 500;
/** A process that dies so long after a chunk was sent did not die of it: flow control may hold one for hours. */
const BLAME_MS = 500;
/** Chunks in flight when they are short because the writes are. */
const MAX_CHUNKS = 64;

export interface WritesContext {
  readonly clock: Clock;
  readonly maxQueuedWrites: number;
  /** A write of which so many processes may have died in a row, with no byte of it taken, is given up. */
  readonly maxLosses: number;
  /** A chunk may go now. */
  readonly maySend: () => boolean;
  readonly send: (chunk: Chunk) => void;
  readonly cancel: (chunk: Chunk) => void;
  /** The device has gone, says the driver. @returns true when it may come back: what is left of the write waits. */
  readonly departed: (error: DeviceError) => boolean;
  /** The device took something. */
  readonly onTaken: () => void;
}

/** A part of a write on its way. */
export class Chunk extends HostRequest {
  readonly write: QueuedWrite;
  readonly bytes: number;
  readonly sentAtMs: number;
  readonly #writes: LineWrites;

  constructor(write: QueuedWrite, payload: Uint8Array, sentAtMs: number, writes: LineWrites) {
    super({ kind: KINDS.ttyWrite, offset: write.sentBytes, payload });
    this.write = write;
    this.bytes = payload.length;
    this.sentAtMs = sentAtMs;
    this.#writes = writes;
  }

  override get cancellable(): boolean {
    return true;
  }

  replyMemory(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  answered(failure: DeviceErrorCode | undefined, payload: Uint8Array): void {
    const error = failure === undefined ? undefined : decodeTtyFailure(failure, payload, this.bytes);
    this.#writes.answered(this, error);
  }
}

interface QueuedWrite {
  readonly data: Uint8Array;
  /** Bytes that are in chunks which were sent, and that the device has. */
  sentBytes: number;
  takenBytes: number;
  chunks: number;
  losses: number;
  /** A chunk was not taken whole: those behind it do not count. */
  isBroken: boolean;
  /** Nothing more of it is sent, and this is what it ends with. */
  stopped: DeviceError | undefined;
  readonly end: (error: DeviceError | undefined) => void;
}

export class LineWrites {
  readonly #context: WritesContext;
  #queue: QueuedWrite[] = [];
  #inFlight: Chunk[] = [];
  #inFlightBytes = 0;
  #chunkBytes = MIN_CHUNK_BYTES;
  #lastAnswerMs = 0;
  #idle: (() => void)[] = [];

  constructor(context: WritesContext) {
    this.#context = context;
  }

  /** Sends bytes after those of the writes before; see TtyPort.write. @throws WriteError */
  write(data: Uint8Array, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true)
      return Promise.reject(new WriteError("ECANCELED", "write: given up by the caller", 0));
    if (this.#queue.length >= this.#context.maxQueuedWrites)
      return Promise.reject(new WriteError("EBUSY", `${this.#queue.length} writes wait already`, 0));
    return new Promise((resolve, reject) => {
      const abort = (): void => this.#stop([write], new DeviceError("ECANCELED", "write: given up by the caller"));
      const write: QueuedWrite = {
        data,
        sentBytes: 0,
        takenBytes: 0,
        chunks: 0,
        losses: 0,
        isBroken: false,
        stopped: undefined,
        end: (error) => {
          signal?.removeEventListener("abort", abort);
          if (error === undefined) resolve();
          else reject(writeError(error, write));
        },
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#queue.push(write);
      this.#settle();
      this.pump();
    });
  }

  /** Sends what may be sent. */
  pump(): void {
    const { clock, maySend, send } = this.#context;
    while (this.#inFlight.length < MAX_CHUNKS && maySend()) {
      const write = this.#queue.find((one) => one.stopped === undefined && one.sentBytes < one.data.length);
      if (write === undefined) return;
      const payload = write.data.subarray(write.sentBytes, write.sentBytes + this.#chunkBytes);
      if (this.#inFlight.length > 0 && this.#inFlightBytes + payload.length > 2 * this.#chunkBytes) return;
      const chunk = new Chunk(write, payload, clock.nowMs(), this);
      write.sentBytes += chunk.bytes;
      write.chunks++;
      this.#inFlight.push(chunk);
      this.#inFlightBytes += chunk.bytes;
      send(chunk);
    }
  }

  /** Nothing that waits now is sent; what is in flight ends as the driver says. */
  stopAll(error: DeviceError): void {
    this.#stop(this.#queue, error);
  }

  /** Everything ends now. */
  end(error: DeviceError): void {
    this.#inFlight = [];
    this.#inFlightBytes = 0;
    for (const write of this.#queue.splice(0)) write.end(error);
    this.#tellIdle();
  }

  /** What was in flight is not answered any more and waits to be sent again. */
  unbind(isLoss: boolean): void {
    const { maxLosses, clock } = this.#context;
    const suspects = this.#inFlight.filter(({ sentAtMs }) => isLoss && clock.nowMs() - sentAtMs < BLAME_MS);
    for (const write of new Set(suspects.map((chunk) => chunk.write))) write.losses++;
    this.#chunkBytes = MIN_CHUNK_BYTES; // so that some of it is known to be taken soon
    this.#inFlight = [];
    this.#inFlightBytes = 0;
    for (const write of this.#queue) {
      write.chunks = 0;
      write.sentBytes = write.takenBytes;
      write.isBroken = false;
      if (write.losses >= maxLosses)
        write.stopped ??= new DeviceError(
          "EIO",
          `the driver process ended ${write.losses} times while it had this write`,
        );
    }
    this.#queue = this.#queue.filter((write) => !this.#endStopped(write));
    this.#settle();
  }

  /** Resolves when every write that is there now has ended. */
  async settled(): Promise<void> {
    const last = this.#queue.at(-1);
    while (last !== undefined && this.#queue.includes(last)) await new Promise<void>((idle) => this.#idle.push(idle));
  }

  /** @throws LinkError PUD_ORDER */
  answered(chunk: Chunk, error: DeviceError | undefined): void {
    const at = this.#inFlight.indexOf(chunk);
    if (at < 0) return; // ended meanwhile; the caller has its answer
    if (at > 0) throw new LinkError("PUD_ORDER", "REPLY to a TTY_WRITE before that to the one before it");
    this.#inFlight.shift();
    this.#inFlightBytes -= chunk.bytes;
    const { write } = chunk;
    write.chunks--;
    const taken = error === undefined ? chunk.bytes : error instanceof WriteError ? error.bytesTaken : 0;
    if (!write.isBroken && taken > 0) {
      write.takenBytes += taken;
      write.losses = 0;
      this.#context.onTaken();
    }
    if (error === undefined) this.#adapt(chunk);
    else {
      write.isBroken = true;
      this.#failed(write, error);
    }
    if (this.#endStopped(write)) this.#queue = this.#queue.filter((other) => other !== write);
    this.#settle();
    this.pump();
  }

  #failed(write: QueuedWrite, error: DeviceError): void {
    // Cancelled and not by us: the driver itself closes the port.
    const hasGone = error.code === "ENODEV" || (error.code === "ECANCELED" && write.stopped === undefined);
    if (hasGone && this.#context.departed(error)) return;
    this.#stop([write], hasGone ? new DeviceError("ENODEV", error.message) : error);
  }

  #stop(writes: readonly QueuedWrite[], error: DeviceError): void {
    for (const write of writes) write.stopped ??= error;
    // The last first: one that is behind another must not begin because that one ends.
    for (const chunk of this.#inFlight.toReversed()) if (writes.includes(chunk.write)) this.#context.cancel(chunk);
    this.#queue = this.#queue.filter((write) => !this.#endStopped(write));
    this.#settle();
  }

  /** Ends the writes that are done, in their order. */
  #settle(): void {
    for (let first = this.#queue[0]; first !== undefined && isDone(first); first = this.#queue[0]) {
      this.#queue.shift();
      first.end(undefined);
    }
    this.#tellIdle();
  }

  /** @returns true when it has ended. */
  #endStopped(write: QueuedWrite): boolean {
    if (write.stopped === undefined || write.chunks > 0) return false;
    write.end(isDone(write) ? undefined : write.stopped);
    return true;
  }

  #adapt(chunk: Chunk): void {
    const nowMs = this.#context.clock.nowMs();
    const tookMs = nowMs - Math.max(chunk.sentAtMs, this.#lastAnswerMs);
    this.#lastAnswerMs = nowMs;
    if (chunk.bytes < this.#chunkBytes) return;
    if (tookMs < (this.#chunkBytes < SMALL_BYTES ? SMALL_SHORT_MS : SHORT_MS))
      this.#chunkBytes = Math.min(MAX_CHUNK_BYTES, this.#chunkBytes * 2);
    else if (tookMs > (this.#chunkBytes > SMALL_BYTES ? LONG_MS : SMALL_LONG_MS))
      this.#chunkBytes = Math.max(MIN_CHUNK_BYTES, this.#chunkBytes / 2);
  }

  #tellIdle(): void {
    for (const idle of this.#idle.splice(0)) idle();
  }
}

function isDone({ takenBytes, data, chunks }: QueuedWrite): boolean {
  return takenBytes === data.length && chunks === 0;
}

function writeError(error: DeviceError, { data, takenBytes }: QueuedWrite): WriteError {
  const message = `${error.message}; ${takenBytes} of ${data.length} bytes sent`;
  return new WriteError(error.code, message, takenBytes, { cause: error });
}
