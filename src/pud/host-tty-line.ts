/**
 * A serial line that somebody on the host has open, across the driver processes that serve it one after another.
 *
 * It keeps what makes the line what it is: settings, lines driven, break, latency, what is granted and what is not written
 * yet. A new process gets the line opened again in that state before anything else is asked of it; the opener sees a pause.
 * What differs then is told as a change, and error counts go on from where they were.
 */
import {
  DeviceError,
  type DeviceErrorCode,
  type FlushQueue,
  LINE_ERRORS,
  type LineErrorCounts,
  type LineSettings,
  type OutputLines,
  type RequestOptions,
  type TtyInfo,
  type TtyOpen,
  type TtyPort,
  type TtyReceiver,
  type TtyStatus,
} from "../rump/devsw.js";
import type { Timer } from "../rumpuser/rumpuser.js";
import { LinkError } from "./errors.js";
import {
  FLAG_STATUS,
  FLUSH_NUMBERS,
  type FrameHeader,
  KINDS,
  TTY_LATENCY_BYTES,
  TTY_SETTINGS_BYTES,
  TTY_STATUS_BYTES,
} from "./frames.js";
import type { HostChannel } from "./host-channel.js";
import { DEPARTURE_MS, type NodeContext } from "./host-node.js";
import { TtyRequest, type TtyRequestFields } from "./host-tty-request.js";
import { LineWrites } from "./host-tty-writes.js";
import {
  checkEncodable,
  decodeSettings,
  decodeStatus,
  encodeOutputs,
  encodeSettings,
  encodeTtyOpen,
  ttyLatencyRecord,
} from "./tty-payloads.js";

const LOW: OutputLines = { dtr: false, rts: false };
const NO_ERRORS: LineErrorCounts = { framing: 0, parity: 0, overrun: 0, break: 0 };
/** Unanswered requests, without the writes. */
const MAX_REQUESTS = 1024;
/** What waits to be written when everything ends in order may take so long. */
const LINGER_MS = 2_000;

/** The process that serves the line, and how far it has come with it. */
interface Remote {
  readonly channel: HostChannel;
  readonly nodeNumber: number;
  /** It has said that the line is open, and not that it is closed. */
  isOpen: boolean;
}

export interface LineContext extends NodeContext {
  readonly info: TtyInfo;
  /** Nothing of it is left, here and in the process: the line may be opened anew. */
  readonly onGone: () => void;
}

export class HostLine implements TtyPort {
  readonly #context: LineContext;
  readonly #receiver: TtyReceiver;
  readonly #writes: LineWrites;
  /** As asked for, so that asking again gives the same. */
  #wanted: LineSettings;
  #settings: LineSettings;
  #outputs: OutputLines;
  #isBreak = false;
  #latencyMs: number | undefined;
  #remote: Remote | undefined;
  /** It is in the state that the opener gave it: what is asked can be asked. */
  #isReady = false;
  /** Granted by the opener: not passed on yet, and passed on to the process but not received. */
  #grantedBytes = 0;
  #allowedBytes = 0;
  /** The last status that the opener has; and the counts of the processes before. */
  #told: TtyStatus | undefined;
  #countedBefore: LineErrorCounts = NO_ERRORS;
  /** What the opener has asked and is not answered, in its order; what of it is in flight; and what this line asks itself. */
  readonly #pending = new Set<TtyRequest>();
  readonly #inFlight = new Set<TtyRequest>();
  readonly #own = new Set<TtyRequest>();
  #flushes = 0;
  /** Resolves the call to `open`; undefined when it has. */
  #opening: { resolve(port: TtyPort): void; reject(error: DeviceError): void } | undefined;
  #openLosses = 0;
  /** The driver says that the device has gone: it may come back until then. */
  #departure: Timer | undefined;
  /** Why nothing is asked any more, and why nothing new is. */
  #over: DeviceError | undefined;
  #refusal: DeviceError | undefined;
  /** A process may have died with the line open: its lines are still driven. */
  #isLeftOpen = false;
  #isGone = false;
  #gone: (() => void)[] = [];

  constructor(how: TtyOpen, receiver: TtyReceiver, context: LineContext) {
    this.#context = context;
    this.#receiver = receiver;
    this.#wanted = how.settings;
    this.#settings = how.settings;
    this.#outputs = how.outputs;
    const { clock, limits } = context;
    this.#writes = new LineWrites({
      clock,
      maxQueuedWrites: limits.maxQueuedRequests,
      maxLosses: limits.maxLosses,
      maySend: () => this.#isReady && this.#flushes === 0 && this.#remote?.channel.choked === false,
      send: (chunk) => this.#remote?.channel.sendRequest(this.#remote.nodeNumber, chunk),
      cancel: (chunk) => this.#remote?.channel.sendCancel(chunk),
      departed: (error) => this.#depart(error),
      onTaken: context.onAnswered,
    });
  }

  get settings(): LineSettings {
    return this.#settings;
  }

  get outputs(): OutputLines {
    return this.#outputs;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // For the opener

  /** Resolves when a process has opened the line. @throws DeviceError as Tty.open; then `onGone` follows or has been called. */
  opened(signal: AbortSignal | undefined): Promise<TtyPort> {
    const abort = (): void => this.fail(new DeviceError("ECANCELED", "open: given up by the caller"));
    signal?.addEventListener("abort", abort, { once: true });
    return new Promise<TtyPort>((resolve, reject) => {
      this.#opening = { resolve, reject };
    }).finally(() => signal?.removeEventListener("abort", abort));
  }

  async configure(settings: LineSettings, options: RequestOptions = {}): Promise<LineSettings> {
    this.#checkOpen("configure");
    checkEncodable(this.#context.info, settings);
    const made = await this.#ask(
      { kind: KINDS.ttyConfigure, payload: encodeSettings(settings), replyBytes: TTY_SETTINGS_BYTES },
      decodeSettings,
      options,
    );
    this.#wanted = settings;
    this.#settings = made;
    return made;
  }

  async setOutputs(outputs: Partial<OutputLines>, options: RequestOptions = {}): Promise<void> {
    await this.#ask({ kind: KINDS.ttyOutputs, payload: encodeOutputs(outputs) }, noReply, options);
    this.#outputs = { ...this.#outputs, ...outputs };
  }

  async setBreak(on: boolean, options: RequestOptions = {}): Promise<void> {
    if (on) await this.#writesSettled("break", options.signal);
    await this.#ask({ kind: KINDS.ttyBreak, count: on ? 1 : 0 }, noReply, options);
    this.#isBreak = on;
  }

  async status(options: RequestOptions = {}): Promise<TtyStatus> {
    const status = await this.#ask({ kind: KINDS.ttyStatus, replyBytes: TTY_STATUS_BYTES }, decodeStatus, options);
    return this.#note(status);
  }

  async setLatency(latencyMs: number, options: RequestOptions = {}): Promise<number> {
    const count = Math.min(Math.max(Math.round(latencyMs) || 0, 0), 0xffff);
    const { latencyMs: made } = await this.#ask(
      { kind: KINDS.ttyLatency, count, replyBytes: TTY_LATENCY_BYTES },
      (payload) => ttyLatencyRecord.decode(payload),
      options,
    );
    this.#latencyMs = count;
    return made;
  }

  async write(data: Uint8Array, options: RequestOptions = {}): Promise<void> {
    this.#checkOpen("write");
    await this.#writes.write(data, options.signal);
  }

  grant(bytes: number): void {
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`granted are ${bytes} bytes: not a count`);
    this.#grantedBytes = Math.min(this.#grantedBytes + bytes, Number.MAX_SAFE_INTEGER);
    this.#passGrants();
  }

  async drain(options: RequestOptions = {}): Promise<void> {
    await this.#writesSettled("drain", options.signal);
    await this.#ask({ kind: KINDS.ttyDrain }, noReply, options);
  }

  async flush(queue: FlushQueue, options: RequestOptions = {}): Promise<void> {
    this.#checkOpen("flush");
    if (queue !== "in") this.#writes.stopAll(new DeviceError("ECANCELED", "write: flushed"));
    // What is written meanwhile must not be thrown away with what was there before.
    this.#flushes++;
    try {
      await this.#ask({ kind: KINDS.ttyFlush, count: FLUSH_NUMBERS[queue] }, noReply, options);
    } finally {
      this.#flushes--;
      this.#writes.pump();
    }
  }

  async close(): Promise<void> {
    if (this.#over === undefined) {
      this.#finish(new DeviceError("ENODEV", "the port was closed"));
      this.#writes.stopAll(new DeviceError("ECANCELED", "write: the port was closed"));
      this.#hangUp();
    }
    await this.#whenGone();
  }

  // -------------------------------------------------------------------------------------------------------------------
  // For the node

  /** A process serves the node from now on. */
  bind(channel: HostChannel, nodeNumber: number): void {
    this.#remote = { channel, nodeNumber, isOpen: false };
    void this.#open(this.#remote);
  }

  /** As NodeHalf.unbind. */
  unbind(isLoss: boolean): void {
    const { maxLosses } = this.#context.limits;
    const wasOpen = this.#remote?.isOpen === true;
    this.#remote = undefined;
    this.#isReady = false;
    this.#departure?.cancel();
    this.#departure = undefined;
    this.#grantedBytes = Math.min(this.#grantedBytes + this.#allowedBytes, Number.MAX_SAFE_INTEGER);
    this.#allowedBytes = 0;
    this.#countedBefore = this.#told?.errors ?? this.#countedBefore;
    this.#isLeftOpen = isLoss && wasOpen;
    this.#dropOwn();
    for (const request of this.#inFlight) {
      if (isLoss) request.losses++;
      if (request.cancelled) this.#settle(request, cancelled());
      else if (request.losses >= maxLosses) this.#settle(request, killer(request.losses, "this request"));
    }
    this.#inFlight.clear();
    this.#writes.unbind(isLoss);
    if (this.#opening !== undefined && isLoss && ++this.#openLosses >= maxLosses)
      this.fail(killer(this.#openLosses, "the line to open"));
    if (this.#over !== undefined && !this.#isLeftOpen) this.#goAway();
  }

  /** Sends what may be sent. */
  pump(): void {
    this.#writes.pump();
  }

  /** A frame of the line is about to come. @throws LinkError when it cannot be. */
  admit({ kind, flags, payloadBytes }: FrameHeader): void {
    if (this.#remote?.isOpen !== true) throw new LinkError("PUD_ORDER", "a frame of a serial line that is not open");
    if (kind !== KINDS.ttyData.number) return;
    const bytes = payloadBytes - ((flags & FLAG_STATUS) === 0 ? 0 : TTY_STATUS_BYTES);
    if (bytes < 1) throw new LinkError("PUD_LENGTH", `TTY_DATA with ${bytes} bytes of data`);
    if (bytes > this.#allowedBytes)
      throw new LinkError("PUD_FLOOD", `TTY_DATA with ${bytes} bytes; ${this.#allowedBytes} are granted`);
    this.#allowedBytes -= bytes;
  }

  /** It is whole. */
  take({ kind, flags }: FrameHeader, payload: Uint8Array): void {
    const hasStatus = kind === KINDS.ttyChanged.number || (flags & FLAG_STATUS) !== 0;
    const status = hasStatus ? decodeStatus(payload) : undefined;
    if (this.#over !== undefined) return; // on its way when the line was closed
    if (status !== undefined) this.#receiver.changed(this.#note(status));
    if (kind !== KINDS.ttyData.number) return;
    this.#context.onAnswered();
    this.#receiver.received(hasStatus ? payload.subarray(TTY_STATUS_BYTES) : payload);
    this.#passGrants();
  }

  /** The driver has closed the line. */
  closedByDriver(error: DeviceError): void {
    if (this.#remote !== undefined) this.#remote.isOpen = false;
    if (this.#over !== undefined) return this.#goAway();
    if (error.code !== "ENODEV" || !this.#depart(error)) this.fail(error);
  }

  /** Refuses what is asked from now on; what is there goes on. */
  refuse(error: DeviceError): void {
    this.#refusal ??= error;
  }

  /** Gives what waits to be written some time, and then ends the line. Resolves when it is gone. */
  async linger(error: DeviceError): Promise<void> {
    const { clock } = this.#context;
    let timer: Timer | undefined;
    const late = new Promise<void>((resolve) => {
      timer = clock.startTimer(LINGER_MS, resolve);
    });
    await Promise.race([this.#writes.settled(), late]);
    timer?.cancel();
    this.fail(error);
    await this.#whenGone();
  }

  /** Ends the line, tells the opener, and closes it in the process. */
  fail(error: DeviceError): void {
    if (this.#over !== undefined) return;
    const opening = this.#opening;
    this.#finish(error);
    this.#writes.end(error);
    this.#hangUp();
    if (opening === undefined) this.#receiver.closed(error);
    else void this.#whenGone().then(() => opening.reject(error));
  }

  /** The node has gone: there is nothing to close. */
  end(error: DeviceError): void {
    this.#remote = undefined;
    this.#dropOwn();
    this.fail(error);
    this.#goAway();
  }

  // -------------------------------------------------------------------------------------------------------------------

  /** The reply to a request of this line has come. */
  answered(request: TtyRequest, error: DeviceError | undefined, payload: Uint8Array): void {
    if (this.#own.delete(request)) {
      if (error === undefined) request.succeed(payload);
      else request.reject(error);
      return;
    }
    if (!this.#inFlight.delete(request)) return; // ended meanwhile; the caller has its answer
    if (error?.code === "ENODEV" && this.#depart(error)) return;
    this.#context.onAnswered();
    if (error !== undefined) return this.#settle(request, error);
    this.#pending.delete(request);
    request.succeed(payload);
  }

  /** Opens the line in this process, and brings it into the state in which the opener has it. */
  async #open(remote: Remote): Promise<void> {
    const isAgain = this.#opening === undefined;
    const how = { settings: this.#wanted, outputs: this.#over === undefined ? this.#outputs : LOW };
    try {
      const made = await this.#askOwn(
        { kind: KINDS.ttyOpen, payload: encodeTtyOpen(how), replyBytes: TTY_SETTINGS_BYTES, mayCancel: true },
        (payload) => {
          const settings = decodeSettings(payload);
          remote.isOpen = true;
          return settings;
        },
      );
      if (this.#over !== undefined) return this.#hangUp();
      this.#settings = made;
      if (isAgain) await this.#restore();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      if (this.#remote !== remote) return; // lost: the next process is asked
      if (this.#over !== undefined) return this.#hangUp();
      if (error.code === "ENODEV" && isAgain && this.#depart(error)) return;
      return this.fail(isAgain ? new DeviceError("EIO", `it cannot be opened again: ${error.message}`) : error);
    }
    if (this.#remote !== remote || this.#over !== undefined) return;
    this.#begin();
  }

  async #restore(): Promise<void> {
    if (this.#latencyMs !== undefined)
      await this.#askOwn({ kind: KINDS.ttyLatency, count: this.#latencyMs, replyBytes: TTY_LATENCY_BYTES }, (payload) =>
        ttyLatencyRecord.decode(payload),
      );
    if (this.#isBreak) await this.#askOwn({ kind: KINDS.ttyBreak, count: 1 }, noReply);
    const before = this.#told;
    if (before === undefined) return;
    const now = this.#note(await this.#askOwn({ kind: KINDS.ttyStatus, replyBytes: TTY_STATUS_BYTES }, decodeStatus));
    if (JSON.stringify(now) !== JSON.stringify(before)) this.#receiver.changed(now);
  }

  /** What waits goes now: what was asked, then what was written. */
  #begin(): void {
    this.#isReady = true;
    const opening = this.#opening;
    this.#opening = undefined;
    opening?.resolve(this);
    this.#passGrants();
    for (const request of this.#pending) this.#send(request);
    this.#writes.pump();
  }

  async #ask<T>(fields: TtyRequestFields, decode: (payload: Uint8Array) => T, options: RequestOptions): Promise<T> {
    const { signal } = options;
    this.#checkOpen(fields.kind.name);
    if (signal?.aborted === true) throw cancelled();
    if (this.#pending.size >= MAX_REQUESTS)
      throw new DeviceError("EBUSY", `${this.#pending.size} requests wait already`);
    const request = new TtyRequest({ ...fields, check: decode }, this);
    if (signal !== undefined) request.watch(signal, () => this.#cancel(request));
    this.#pending.add(request);
    if (this.#isReady) this.#send(request);
    return decode(await request.result);
  }

  /** Asks in the line's own name, of this process only. @throws DeviceError also when the channel is lost. */
  async #askOwn<T>(fields: TtyRequestFields, decode: (payload: Uint8Array) => T): Promise<T> {
    const remote = this.#remote;
    if (remote === undefined) throw new DeviceError("ECANCELED", "the channel was lost");
    const request = new TtyRequest({ ...fields, check: decode }, this);
    this.#own.add(request);
    remote.channel.sendRequest(remote.nodeNumber, request);
    return decode(await request.result);
  }

  #dropOwn(): void {
    for (const own of this.#own) own.fail("ECANCELED", "the channel was lost");
    this.#own.clear();
  }

  #send(request: TtyRequest): void {
    const remote = this.#remote;
    if (remote === undefined || this.#inFlight.has(request)) return;
    this.#inFlight.add(request);
    remote.channel.sendRequest(remote.nodeNumber, request);
  }

  /** Not sent: it ends here. Sent: the driver is asked to stop, and its answer is the end. */
  #cancel(request: TtyRequest): void {
    if (this.#inFlight.has(request)) this.#remote?.channel.sendCancel(request);
    else this.#settle(request, cancelled());
  }

  #settle(request: TtyRequest, error: DeviceError): void {
    this.#pending.delete(request);
    request.reject(error);
  }

  /** Passes on what was granted, when it is at least what the process still has: one frame for many small grants. */
  #passGrants(): void {
    const remote = this.#remote;
    if (!this.#isReady || remote === undefined || this.#grantedBytes === 0) return;
    if (this.#grantedBytes < this.#allowedBytes) return;
    remote.channel.sendNotice(remote.nodeNumber, KINDS.ttyGrant, this.#grantedBytes);
    this.#allowedBytes = Math.min(this.#allowedBytes + this.#grantedBytes, Number.MAX_SAFE_INTEGER);
    this.#grantedBytes = 0;
  }

  /** The status as the opener sees it: counted from when the line was opened first, and never less than before. */
  #note({ lines, errors }: TtyStatus): TtyStatus {
    const counts = Object.fromEntries(
      LINE_ERRORS.map((error) => [
        error,
        Math.max(this.#countedBefore[error] + errors[error], this.#told?.errors[error] ?? 0),
      ]),
    ) as LineErrorCounts;
    this.#told = { lines, errors: counts };
    return this.#told;
  }

  /** The driver says that the device has gone. @returns false when it cannot come back. */
  #depart(error: DeviceError): boolean {
    if (this.#context.replug === undefined || this.#over !== undefined) return false;
    this.#isReady = false;
    this.#departure ??= this.#context.clock.startTimer(DEPARTURE_MS, () =>
      this.fail(new DeviceError("ENODEV", error.message)),
    );
    return true;
  }

  /** Nothing is asked any more. */
  #finish(error: DeviceError): void {
    this.#over = new DeviceError("ENODEV", error.message);
    this.#isReady = false;
    this.#opening = undefined;
    this.#departure?.cancel();
    for (const request of this.#pending) request.reject(error);
    this.#pending.clear();
    this.#inFlight.clear();
  }

  /** Closes the line in the process, as soon as there is one in which it is open. */
  #hangUp(): void {
    const remote = this.#remote;
    if (remote?.isOpen === true) {
      void this.#askOwn({ kind: KINDS.ttyClose }, noReply).then(
        () => this.#closed(remote),
        () => this.#closed(remote),
      );
      return;
    }
    for (const own of this.#own) remote?.channel.sendCancel(own);
    const isOpening = this.#own.size > 0;
    if (remote === undefined ? !this.#isLeftOpen : !isOpening) this.#goAway();
  }

  #closed(remote: Remote): void {
    if (this.#remote !== remote) return; // lost: `unbind` has decided
    remote.isOpen = false;
    this.#goAway();
  }

  async #whenGone(): Promise<void> {
    if (!this.#isGone) await new Promise<void>((gone) => this.#gone.push(gone));
  }

  #goAway(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#writes.end(new DeviceError("ECANCELED", "write: the port was closed"));
    this.#context.onGone();
    for (const gone of this.#gone.splice(0)) gone();
  }

  async #writesSettled(what: string, signal: AbortSignal | undefined): Promise<void> {
    this.#checkOpen(what);
    let abort = (): void => undefined;
    const aborted = new Promise<"aborted">((resolve) => {
      abort = () => resolve("aborted");
      if (signal?.aborted === true) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });
    const first = await Promise.race([this.#writes.settled(), aborted]);
    signal?.removeEventListener("abort", abort);
    if (first === "aborted") throw cancelled();
  }

  #checkOpen(what: string): void {
    const reason = this.#over ?? this.#refusal;
    if (reason !== undefined) throw new DeviceError(reason.code, `${what}: ${reason.message}`);
  }
}

function noReply(): void {}

function cancelled(): DeviceError {
  return new DeviceError("ECANCELED", "given up by the caller");
}

function killer(losses: number, what: string): DeviceError {
  const code: DeviceErrorCode = "EIO";
  return new DeviceError(code, `the driver process ended ${losses} times while it had ${what}`);
}
