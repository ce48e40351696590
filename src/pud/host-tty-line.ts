/**
 * A serial line that somebody on the host has open, across the driver processes that serve it one after another.
 *
 * A new process gets the line opened again in the state in which the opener has it (host-tty-port.ts) before anything else is
 * asked of it; the opener sees a pause. What differs then is told as a change.
 */
import {
  DeviceError,
  type OutputLines,
  type TtyInfo,
  type TtyOpen,
  type TtyPort,
  type TtyReceiver,
} from "../rump/devsw.js";
import type { Timer } from "../rumpuser/rumpuser.js";
import { LinkError } from "./errors.js";
import { FLAG_STATUS, type FrameHeader, KINDS } from "./frames.js";
import type { HostChannel } from "./host-channel.js";
import { DEPARTURE_MS, type NodeContext } from "./host-node.js";
import { Grants, StatusMemory } from "./host-tty-memory.js";
import { HostPort } from "./host-tty-port.js";
import type { TtyRequestFields } from "./host-tty-request.js";
import { cancelled, killer, LineRequests, type Remote } from "./host-tty-requests.js";
import { LineWrites } from "./host-tty-writes.js";
import {
  checkEncodable,
  decodeSettings,
  decodeStatus,
  encodeTtyOpen,
  ttySettingsRecord,
  ttyStatusRecord,
} from "./tty-payloads.js";

const LOW: OutputLines = { dtr: false, rts: false };
/** What waits to be written when everything ends in order may take so long. */
const LINGER_MS = 2_000;

export interface LineContext extends NodeContext {
  readonly info: TtyInfo;
  /** Nothing of it is left, here and in the process: the line may be opened anew. */
  readonly onGone: () => void;
}

export class HostLine {
  readonly #context: LineContext;
  readonly #receiver: TtyReceiver;
  readonly #requests: LineRequests;
  readonly #writes: LineWrites;
  readonly #grants = new Grants();
  readonly #status = new StatusMemory();
  readonly #port: HostPort;
  #remote: Remote | undefined;
  /** It is in the state that the opener gave it: what is asked can be asked. */
  #isReady = false;
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
    const departed = (error: DeviceError): boolean => this.#depart(error);
    this.#requests = new LineRequests({ maxLosses: limits.maxLosses, departed, onAnswered });
    this.#writes = new LineWrites({
      clock,
      maxQueuedWrites: limits.maxQueuedRequests,
      maxLosses: limits.maxLosses,
      maySend: () => this.#isReady && !this.#port.isFlushing && this.#remote?.channel.choked === false,
      send: (chunk) => this.#remote?.channel.sendRequest(this.#remote.nodeNumber, chunk),
      cancel: (chunk) => this.#remote?.channel.sendCancel(chunk),
      departed,
      onTaken: onAnswered,
    });
    this.#port = new HostPort(how, {
      info: context.info,
      requests: this.#requests,
      writes: this.#writes,
      status: this.#status,
      checkOpen: (what) => this.#checkOpen(what),
      grant: (bytes) => {
        this.#grants.grant(bytes);
        this.#passGrants();
      },
      close: () => this.#close(),
    });
  }

  /** Resolves when a process has opened the line. @throws DeviceError as Tty.open; nothing of the line is left then. */
  opened(signal: AbortSignal | undefined): Promise<TtyPort> {
    const abort = (): void => this.fail(cancelled());
    signal?.addEventListener("abort", abort, { once: true });
    return new Promise<TtyPort>((resolve, reject) => {
      this.#opening = { resolve, reject };
    }).finally(() => signal?.removeEventListener("abort", abort));
  }

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
    const bytes = payloadBytes - ((flags & FLAG_STATUS) === 0 ? 0 : ttyStatusRecord.size);
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
    this.#receiver.received(hasStatus ? payload.subarray(ttyStatusRecord.size) : payload);
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
    const how = { settings: this.#port.wanted, outputs: this.#over === undefined ? this.#port.outputs : LOW };
    const fields = {
      kind: KINDS.ttyOpen,
      payload: encodeTtyOpen(how),
      count: this.#isOpenInDevice ? 1 : 0,
      replyBytes: ttySettingsRecord.size,
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
        this.#port.made(made);
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
    for (const fields of this.#port.toRestore()) await ask(fields, noReply);
    const before = this.#status.told;
    if (before === undefined) return;
    const now = this.#status.note(await ask({ kind: KINDS.ttyStatus, replyBytes: ttyStatusRecord.size }, decodeStatus));
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
    opening?.resolve(this.#port);
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

  async #close(): Promise<void> {
    if (this.#over === undefined) {
      this.#finish(new DeviceError("ENODEV", "the port was closed"));
      this.#writes.stopAll(new DeviceError("ECANCELED", "write: the port was closed"));
      this.#hangUp();
    }
    await this.#whenGone();
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

  #checkOpen(what: string): void {
    const reason = this.#over ?? this.#refusal;
    if (reason !== undefined) throw new DeviceError(reason.code, `${what}: ${reason.message}`);
  }
}

function noReply(): void {}
