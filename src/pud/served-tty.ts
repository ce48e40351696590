/** A published serial line in the server's hands: requests to the driver's methods, and what the line brings to the host. */
import { DeviceError, type FlushQueue, type Tty, type TtyPort, WriteError } from "../rump/devsw.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import { NO_BYTES, type OutgoingFrame } from "./channel.js";
import { LinkError } from "./errors.js";
import { type FrameHeader, KINDS } from "./frames.js";
import type { RateBound } from "./rate-bound.js";
import type { ServedDevice, ServedRequest } from "./served-request.js";
import { TtyOutbox } from "./served-tty-outbox.js";
import {
  decodeOutputs,
  decodeSettings,
  decodeTtyOpen,
  encodeSettings,
  encodeStatus,
  FLUSH_NUMBERS,
  ttyLatencyRecord,
} from "./tty-payloads.js";

/** The driver is granted so many bytes at most, whatever the host grants: more would only fill the channel. */
const READ_AHEAD_BYTES = 256 * 1024;

export interface ServedTtyContext {
  readonly clock: Clock;
  readonly statuses: RateBound;
  /** Sends a frame of this node. */
  readonly send: (frame: OutgoingFrame) => void;
  /** More is buffered than is sensible. */
  readonly isChoked: () => boolean;
}

/** What is asked of a line that is open, by kind; the result is the payload of the reply. */
const PORT_OPERATIONS: ReadonlyMap<number, (port: TtyPort, request: ServedRequest) => Promise<Uint8Array | void>> =
  new Map<number, (port: TtyPort, request: ServedRequest) => Promise<Uint8Array | void>>([
    [
      KINDS.ttyConfigure.number,
      async (port, { payload, options }) =>
        encodeSettings(await port.configure(asked(decodeSettings, payload), options)),
    ],
    [
      KINDS.ttyOutputs.number,
      async (port, { payload, options }) => await port.setOutputs(asked(decodeOutputs, payload), options),
    ],
    [KINDS.ttyBreak.number, async (port, { count, options }) => await port.setBreak(count !== 0, options)],
    [KINDS.ttyStatus.number, async (port, { options }) => encodeStatus(await port.status(options))],
    [
      KINDS.ttyLatency.number,
      async (port, { count, options }) => ttyLatencyRecord.encode({ latencyMs: await port.setLatency(count, options) }),
    ],
    [KINDS.ttyDrain.number, async (port, { options }) => await port.drain(options)],
    [KINDS.ttyFlush.number, async (port, { count, options }) => await port.flush(queueOf(count), options)],
  ]);

export class ServedTty implements ServedDevice {
  readonly #tty: Tty;
  readonly #context: ServedTtyContext;
  #port: TtyPort | undefined;
  /** Of the port, and of the opening before there is one. */
  #outbox: TtyOutbox | undefined;
  /** Granted by the host and not passed on. */
  #owedBytes = 0;
  /** Passed on and not received. */
  #aheadBytes = 0;
  /** Resolves when the last write has ended, with what went wrong. */
  #lastWrite: Promise<unknown> = Promise.resolve(undefined);
  /** That one failed. */
  #hasFailed = false;
  /** Those that have not been handed to the driver. */
  #waitingWrites = 0;
  /** Counts calls to flush: what waited here then is not sent. */
  #flushes = 0;
  #closing: Promise<void> = Promise.resolve();

  constructor(tty: Tty, context: ServedTtyContext) {
    this.#tty = tty;
    this.#context = context;
  }

  replyBytes(): number {
    return 0;
  }

  async serve(request: ServedRequest): Promise<Uint8Array> {
    switch (request.kind) {
      case KINDS.ttyOpen.number:
        return await this.#open(request);
      case KINDS.ttyClose.number:
        await this.settle();
        return NO_BYTES;
      case KINDS.ttyWrite.number:
        await this.#write(request);
        return NO_BYTES;
      case KINDS.ttyFlush.number:
        if (request.count !== FLUSH_NUMBERS.in) this.#flushes++;
        break;
    }
    const operation = PORT_OPERATIONS.get(request.kind);
    if (operation === undefined) throw new DeviceError("EOPNOTSUPP", `no tty request of kind ${request.kind}`);
    const reply = (await operation(this.#opened(), request)) ?? NO_BYTES;
    // A driver that can bound nothing says so, and its bytes are gathered as before. What a device may hold is not held again.
    if (request.kind === KINDS.ttyLatency.number)
      this.#outbox?.limitLatency(this.#tty.info.hasLatency ? 0 : request.count / 2);
    return reply;
  }

  replied({ kind }: ServedRequest): void {
    if (kind === KINDS.ttyOpen.number) this.#outbox?.begin();
    else this.#outbox?.goAlong();
  }

  notice({ kind, count }: FrameHeader): void {
    if (kind !== KINDS.ttyGrant.number || this.#port === undefined || !Number.isSafeInteger(count)) return;
    this.#owedBytes = Math.min(this.#owedBytes + count, Number.MAX_SAFE_INTEGER);
    this.#passGrants();
  }

  writable(): void {
    this.#passGrants();
  }

  hangUp(): void {
    const port = this.#port;
    this.#forget();
    if (port !== undefined) this.#closing = port.close();
  }

  /** The line is closed, for whoever opened it too. */
  async settle(): Promise<void> {
    this.hangUp();
    await this.#closing;
  }

  async #open({ payload, count, options }: ServedRequest): Promise<Uint8Array> {
    const how = { ...asked(decodeTtyOpen, payload), isResumed: count !== 0 };
    if (this.#outbox !== undefined) throw new DeviceError("EBUSY", "open: the line is open already");
    const outbox = new TtyOutbox({
      ...this.#context,
      aheadBytes: () => this.#aheadBytes,
      sent: (bytes) => {
        this.#aheadBytes -= bytes;
        this.#passGrants();
      },
      closed: () => {
        if (this.#outbox === outbox) this.#forget();
      },
    });
    this.#outbox = outbox;
    try {
      const port = await this.#tty.open(how, outbox, options);
      if (this.#outbox === outbox) {
        this.#port = port;
        return encodeSettings(port.settings);
      }
      await port.close();
      throw new DeviceError("ENODEV", "open: hung up meanwhile");
    } catch (error) {
      if (this.#outbox === outbox) this.#forget();
      throw error;
    }
  }

  async #write(request: ServedRequest): Promise<void> {
    const turn = this.#send(this.#opened(), request, this.#lastWrite);
    this.#lastWrite = turn.then(
      () => {
        this.#hasFailed = false;
      },
      (error: unknown) => {
        this.#hasFailed = true;
        return error;
      },
    );
    await turn;
  }

  /**
   * What goes on where another chunk ended waits for its end, so that nothing behind a write that fails is sent. A write of its own
   * is handed over at once, for the device to have it when it is through with the one before. They are answered in their order.
   */
  async #send(port: TtyPort, request: ServedRequest, before: Promise<unknown>): Promise<void> {
    const flushes = this.#flushes;
    if (request.offset > 0 || this.#waitingWrites > 0 || this.#hasFailed) {
      this.#waitingWrites++;
      const failure = await before;
      this.#waitingWrites--;
      throwAgain(failure, request);
      if (this.#opened() !== port) throw new DeviceError("ENODEV", "the line was closed meanwhile");
      if (this.#flushes !== flushes) throw new WriteError("ECANCELED", "write: flushed", 0);
    }
    try {
      await port.write(request.payload, request.options);
    } finally {
      throwBug(await before);
    }
  }

  #passGrants(): void {
    if (this.#port === undefined || this.#context.isChoked()) return;
    const bytes = Math.min(this.#owedBytes, READ_AHEAD_BYTES - this.#aheadBytes);
    if (bytes <= 0) return;
    this.#owedBytes -= bytes;
    this.#aheadBytes += bytes;
    this.#port.grant(bytes);
  }

  #opened(): TtyPort {
    if (this.#port === undefined) throw new DeviceError("ENODEV", "the line is not open");
    return this.#port;
  }

  #forget(): void {
    this.#outbox?.end();
    this.#outbox = undefined;
    this.#port = undefined;
    this.#owedBytes = 0;
    this.#aheadBytes = 0;
  }
}

/** @throws DeviceError EINVAL: what the host asks cannot be. */
function asked<T>(decode: (payload: Uint8Array) => T, payload: Uint8Array): T {
  try {
    return decode(payload);
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    throw new DeviceError("EINVAL", error.message, { cause: error });
  }
}

/**
 * The write before has failed. After a bug nobody knows what the driver does, and what goes on where another chunk ended must
 * not be sent without it.
 */
function throwAgain(failure: unknown, { offset }: ServedRequest): void {
  throwBug(failure);
  if (failure instanceof DeviceError && offset > 0)
    throw new WriteError(failure.code, failure.message, 0, { cause: failure });
}

function throwBug(failure: unknown): void {
  if (failure !== undefined && !(failure instanceof DeviceError)) throw failure;
}

/** @throws DeviceError EINVAL */
function queueOf(number: number): FlushQueue {
  const queue = (["in", "out", "both"] as const).find((one) => FLUSH_NUMBERS[one] === number);
  if (queue === undefined) throw new DeviceError("EINVAL", `flush: there is no queue ${number}`);
  return queue;
}
