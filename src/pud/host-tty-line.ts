/**
 * A serial line that somebody on the host has open, across the driver processes that serve it one after another.
 *
 * It keeps what makes the line what it is: settings, lines driven, break, latency, what is granted and what is not written
 * yet. A new process gets the line opened again in that state before anything else is asked of it; the opener sees a pause.
 * What differs then is told as a change.
 */
import {
  DeviceError,
  type FlushQueue,
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
import { Grants, StatusMemory } from "./host-tty-memory.js";
import type { TtyRequestFields } from "./host-tty-request.js";
import { cancelled, killer, LineRequests, type Remote } from "./host-tty-requests.js";
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
/** What waits to be written when everything ends in order may take so long. */
const LINGER_MS = 2_000;
const MAX_LATENCY_MS = 0xffff;

export interface LineContext extends NodeContext {
  readonly info: TtyInfo;
  /** Nothing of it is left, here and in the process: the line may be opened anew. */
  readonly onGone: () => void;
}

export class HostLine implements TtyPort {
  readonly #context: LineContext;
  readonly #receiver: TtyReceiver;
  readonly #requests: LineRequests;
  readonly #writes: LineWrites;
  readonly #grants = new Grants();
  readonly #status = new StatusMemory();
  /** As asked for, so that asking again gives the same. */
  #wanted: LineSettings;
  #settings: LineSettings;
  #outputs: OutputLines;
  #isBreak = false;
  #latencyMs: number | undefined;
  #remote: Remote | undefined;
  /** It is in the state that the opener gave it: what is asked can be asked. */
  #isReady = false;
  /** Calls to `flush` that are not answered: writes wait for them. */
  #flushes = 0;
  /** Ends the call to `open`; undefined when it has ended. */
  #opening: { resolve(port: TtyPort): void; reject(error: DeviceError): void } | undefined;
  #openLosses = 0;
  /** The driver says that the device has gone: it may come back until then. */
  #departure: Timer | undefined;
  /** Why nothing is asked any more, and why nothing new is. */
  #over: DeviceError | undefined;
  #refusal: DeviceError | undefined;
  /** A process may have died with the line open: its lines are still driven. */
  #isLeftOpen = false;
  /** A process has opened it in the device, which has not lost power since. */
  #isOpenInDevice = false;
  #isGone = false;
  #gone: (() => void)[] = [];

  constructor(how: TtyOpen, receiver: TtyReceiver, context: LineContext) {
    const { clock, limits, onAnswered } = context;
    checkEncodable(context.info, how.settings);
    this.#context = context;
    this.#receiver = receiver;
    this.#wanted = how.settings;
    this.#settings = how.settings;
    this.#outputs = how.outputs;
    const departed = (error: DeviceError): boolean => this.#depart(error);
    this.#requests = new LineRequests({ maxLosses: limits.maxLosses, departed, onAnswered });
    this.#writes = new LineWrites({
      clock,
      maxQueuedWrites: limits.maxQueuedRequests,
      maxLosses: limits.maxLosses,
      maySend: () => this.#isReady && this.#flushes === 0 && this.#remote?.channel.choked === false,
      send: (chunk) => this.#remote?.channel.sendRequest(this.#remote.nodeNumber, chunk),
      cancel: (chunk) => this.#remote?.channel.sendCancel(chunk),
      departed,
      onTaken: onAnswered,
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

  /** Resolves when a process has opened the line. @throws DeviceError as Tty.open; nothing of the line is left then. */
  opened(signal: AbortSignal | undefined): Promise<TtyPort> {
    const abort = (): void => this.fail(cancelled());
    signal?.addEventListener("abort", abort, { once: true });
    return new Promise<TtyPort>((resolve, reject) => {
      this.#opening = { resolve, reject };
    }).finally(() => signal?.removeEventListener("abort", abort));
  }

  async configure(settings: LineSettings, options: RequestOptions = {}): Promise<LineSettings> {
    this.#checkOpen("configure");
    checkEncodable(this.#context.info, settings);
    const fields = { kind: KINDS.ttyConfigure, payload: encodeSettings(settings), replyBytes: TTY_SETTINGS_BYTES };
    this.#settings = await this.#requests.ask(fields, decodeSettings, options);
    this.#wanted = settings;
    return this.#settings;
  }

  async setOutputs(outputs: Partial<OutputLines>, options: RequestOptions = {}): Promise<void> {
    this.#checkOpen("set lines");
    await this.#requests.ask({ kind: KINDS.ttyOutputs, payload: encodeOutputs(outputs) }, noReply, options);
    this.#outputs = { ...this.#outputs, ...outputs };
  }

  async setBreak(on: boolean, options: RequestOptions = {}): Promise<void> {
    this.#checkOpen("break");
    if (on) await this.#writesSettled("break", options.signal);
    await this.#requests.ask({ kind: KINDS.ttyBreak, count: on ? 1 : 0 }, noReply, options);
    this.#isBreak = on;
  }

  async status(options: RequestOptions = {}): Promise<TtyStatus> {
    this.#checkOpen("status");
    const fields = { kind: KINDS.ttyStatus, replyBytes: TTY_STATUS_BYTES };
    return this.#status.note(await this.#requests.ask(fields, decodeStatus, options));
  }

  async setLatency(latencyMs: number, options: RequestOptions = {}): Promise<number> {
    this.#checkOpen("latency");
    const wanted = Math.min(Math.max(Math.round(latencyMs) || 0, 0), MAX_LATENCY_MS);
    const made = await this.#requests.ask(latencyFields(wanted), decodeLatency, options);
    this.#latencyMs = wanted;
    return made;
  }

  async write(data: Uint8Array, options: RequestOptions = {}): Promise<void> {
    this.#checkOpen("write");
    await this.#writes.write(data, options.signal);
  }

  grant(bytes: number): void {
    this.#grants.grant(bytes);
    this.#passGrants();
  }

  async drain(options: RequestOptions = {}): Promise<void> {
    this.#checkOpen("drain");
    await this.#writesSettled("drain", options.signal);
    await this.#requests.ask({ kind: KINDS.ttyDrain }, noReply, options);
  }

  async flush(queue: FlushQueue, options: RequestOptions = {}): Promise<void> {
    this.#checkOpen("flush");
    if (queue !== "in") this.#writes.stopAll(new DeviceError("ECANCELED", "write: flushed"));
    // What is written meanwhile must not be thrown away with what was there before.
    this.#flushes++;
    try {
      await this.#requests.ask({ kind: KINDS.ttyFlush, count: FLUSH_NUMBERS[queue] }, noReply, options);
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

  /** A process serves the node from now on. `isDoubtful`: the device may have lost power. */
  bind(channel: HostChannel, nodeNumber: number, isDoubtful: boolean): void {
    if (isDoubtful) this.#isOpenInDevice = false;
    this.#remote = { channel, nodeNumber, isOpen: false };
    void this.#open(this.#remote);
  }

  /** As NodeHalf.unbind. */
  unbind(isLoss: boolean): void {
    const { maxLosses } = this.#context.limits;
    const wasOpen = this.#remote?.isOpen === true;
    this.#remote = undefined;
    this.#isReady = false;
    this.#isLeftOpen = isLoss && wasOpen;
    this.#departure?.cancel();
    this.#departure = undefined;
    this.#grants.unbind();
    this.#status.unbind();
    this.#requests.unbind(isLoss);
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
    const { allowedBytes } = this.#grants;
    if (bytes < 1) throw new LinkError("PUD_LENGTH", `TTY_DATA with ${bytes} bytes of data`);
    if (bytes > allowedBytes)
      throw new LinkError("PUD_FLOOD", `TTY_DATA with ${bytes} bytes; ${allowedBytes} are granted`);
    this.#grants.used(bytes);
  }

  /** It is whole. */
  take({ kind, flags }: FrameHeader, payload: Uint8Array): void {
    const isData = kind === KINDS.ttyData.number;
    const hasStatus = !isData || (flags & FLAG_STATUS) !== 0;
    const status = hasStatus ? decodeStatus(payload) : undefined;
    if (this.#over !== undefined) return; // on its way when the line was closed
    if (status !== undefined) this.#receiver.changed(this.#status.note(status));
    if (!isData) return;
    this.#context.onAnswered();
    this.#receiver.received(hasStatus ? payload.subarray(TTY_STATUS_BYTES) : payload);
    this.#passGrants();
  }

  /** The driver has closed the line. */
  closedByDriver(error: DeviceError): void {
    if (this.#remote !== undefined) this.#remote.isOpen = false;
    this.#isOpenInDevice = false;
    if (this.#over !== undefined) return this.#goAway();
    if (error.code !== "ENODEV" || !this.#depart(error)) this.fail(error);
  }

  /** Refuses what is asked from now on; what is there goes on. */
  refuse(error: DeviceError): void {
    this.#refusal ??= error;
  }

  /** Gives what waits to be written some time, and then ends the line. Resolves when it is gone. */
  async linger(error: DeviceError): Promise<void> {
    let stop = (): void => undefined;
    const late = new Promise<void>((resolve) => {
      stop = resolve;
    });
    const timer = this.#context.clock.startTimer(LINGER_MS, () => stop());
    await Promise.race([this.#writes.settled(), late]);
    timer.cancel();
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
    this.unbind(false);
    this.fail(error);
  }

  // -------------------------------------------------------------------------------------------------------------------

  /** Opens the line in this process, and brings it into the state in which the opener has it. */
  async #open(remote: Remote): Promise<void> {
    const isAgain = this.#opening === undefined;
    const how = { settings: this.#wanted, outputs: this.#over === undefined ? this.#outputs : LOW };
    const fields = {
      kind: KINDS.ttyOpen,
      payload: encodeTtyOpen(how),
      count: this.#isOpenInDevice ? 1 : 0,
      replyBytes: TTY_SETTINGS_BYTES,
      mayCancel: true,
    };
    try {
      const made = await this.#requests.askOwn(remote, fields, (payload) => {
        const settings = decodeSettings(payload);
        remote.isOpen = true;
        this.#isOpenInDevice = true;
        return settings;
      });
      if (this.#over === undefined && this.#remote === remote) {
        this.#settings = made;
        if (isAgain) await this.#restore(remote);
      }
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      if (this.#remote === remote && this.#over === undefined) this.#notOpened(error, isAgain);
    }
    if (this.#remote !== remote) return; // lost: the next process is asked
    if (this.#over !== undefined) this.#hangUp();
    else if (this.#departure === undefined) this.#begin(remote);
  }

  async #restore(remote: Remote): Promise<void> {
    const ask = async <T>(fields: TtyRequestFields, decode: (payload: Uint8Array) => T): Promise<T> =>
      await this.#requests.askOwn(remote, fields, decode);
    if (this.#latencyMs !== undefined) await ask(latencyFields(this.#latencyMs), decodeLatency);
    if (this.#isBreak) await ask({ kind: KINDS.ttyBreak, count: 1 }, noReply);
    const before = this.#status.told;
    if (before === undefined) return;
    const now = this.#status.note(await ask({ kind: KINDS.ttyStatus, replyBytes: TTY_STATUS_BYTES }, decodeStatus));
    if (this.#over === undefined && JSON.stringify(now) !== JSON.stringify(before)) this.#receiver.changed(now);
  }

  #notOpened(error: DeviceError, isAgain: boolean): void {
    if (!isAgain) return this.fail(error);
    if (error.code === "ENODEV" && this.#depart(error)) return;
    this.fail(new DeviceError("EIO", `the line cannot be opened again: ${error.message}`, { cause: error }));
  }

  /** What waits goes now: what was asked, then what was written. */
  #begin(remote: Remote): void {
    this.#isReady = true;
    const opening = this.#opening;
    this.#opening = undefined;
    opening?.resolve(this);
    this.#passGrants();
    this.#requests.begin(remote);
    this.#writes.pump();
  }

  #passGrants(): void {
    const remote = this.#remote;
    if (!this.#isReady || remote === undefined) return;
    const bytes = this.#grants.pass();
    if (bytes > 0) remote.channel.sendNotice(remote.nodeNumber, KINDS.ttyGrant, bytes);
  }

  /** The driver says that the device has gone. @returns false when it cannot come back. */
  #depart(error: DeviceError): boolean {
    if (this.#context.replug === undefined || this.#over !== undefined) return false;
    this.#isReady = false;
    this.#requests.hold();
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
    this.#departure = undefined;
    this.#requests.end(error);
  }

  /** Closes the line in the process, as soon as there is one in which it is open. */
  #hangUp(): void {
    const remote = this.#remote;
    if (this.#isGone) return; // somebody else may have it open by now
    if (remote === undefined) {
      if (!this.#isLeftOpen) this.#goAway();
    } else if (remote.isOpen) {
      const closed = (): void => {
        remote.isOpen = false;
        if (this.#remote === remote) this.#goAway(); // else it is lost, and `unbind` has decided
      };
      void this.#requests.askOwn(remote, { kind: KINDS.ttyClose }, noReply).then(closed, closed);
    } else if (this.#requests.hasOwn) {
      this.#requests.cancelOwn(remote); // its answer to TTY_OPEN comes first
    } else this.#goAway();
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

  /** Resolves when what was written before has ended. @throws DeviceError ECANCELED, or why the line has. */
  async #writesSettled(what: string, signal: AbortSignal | undefined): Promise<void> {
    let abort = (): void => undefined;
    const aborted = new Promise<"aborted">((resolve) => {
      abort = () => resolve("aborted");
      if (signal?.aborted === true) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });
    const first = await Promise.race([this.#writes.settled(), aborted]);
    signal?.removeEventListener("abort", abort);
    if (first === "aborted") throw cancelled();
    this.#checkOpen(what);
  }

  #checkOpen(what: string): void {
    const reason = this.#over ?? this.#refusal;
    if (reason !== undefined) throw new DeviceError(reason.code, `${what}: ${reason.message}`);
  }
}

function noReply(): void {}

function latencyFields(latencyMs: number): TtyRequestFields {
  return { kind: KINDS.ttyLatency, count: latencyMs, replyBytes: TTY_LATENCY_BYTES };
}

function decodeLatency(payload: Uint8Array): number {
  return ttyLatencyRecord.decode(payload).latencyMs;
}
