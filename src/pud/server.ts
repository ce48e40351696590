/**
 * The rump half of pud: a driver's device is published here and served to the host half (host.ts).
 *
 * NetBSD's pud(4) had a kernel interface and no library to write servers against; this is the library. A server is one
 * object on one stream: publish devices, say `ready`, and requests arrive at the devices' own methods.
 *
 * ```ts
 * const server = createPudServer(stream, { clock, log });
 * server.onShutdown(() => detachEverything());
 * const node = server.publish("sd", disk);   // "sd0"
 * server.ready();
 * …
 * node.remove("unplugged");                  // answers what is in progress with ENODEV
 * ```
 */
import { BufferPool } from "../buffers.js";
import { PendingMap } from "../pending.js";
import { type Device, DeviceError, type Disk, type Tty } from "../rump/devsw.js";
import type { ByteStream, Clock, LogEntry, LogSink } from "../rumpuser/rumpuser.js";
import { type ChannelConsumer, FrameChannel, NO_BYTES } from "./channel.js";
import { LinkError } from "./errors.js";
import { type FrameHeader, KINDS, MAX_NODES, MAX_REASON_BYTES, STATUS_OK } from "./frames.js";
import type { Demotion, DeviceAnnouncement } from "./payloads.js";
import { encodeDemotion, encodeDevice, encodeError, encodeHello, encodeLog, encodeNode } from "./served-payloads.js";
import { RateBound } from "./rate-bound.js";
import { ServedDisk } from "./served-disk.js";
import { DISK_REQUESTS, type ServedDevice, ServedRequest, statusOf, TTY_REQUESTS } from "./served-request.js";
import { slotOf } from "./shared-memory.js";
import { ServedTty } from "./served-tty.js";
import { encodeText } from "./text.js";
import { encodeTtyFailure } from "./tty-payloads.js";

/** At this many requests, or bytes they stand for, in progress the server stops reading until half are answered. */
const MAX_REQUESTS = 512;
const MAX_REQUEST_BYTES = 64 * 1024 * 1024;
/** Memory kept for the data of the next writes. */
const MAX_IDLE_BYTES = 4 * 1024 * 1024;

/** Log lines and errors: half of what the host puts up with, so that a talkative driver is cut and not killed. */
const LOG_BURST = 500;
const LOG_PER_SECOND = 100;
/** Statuses of serial lines, of all lines together: what is left of that for the rest is plenty. */
const STATUS_BURST = 250;
const STATUSES_PER_SECOND = 50;

export interface PudServerOptions {
  readonly clock: Clock;
  /** For what the server itself has to say; not sent to the host by the server. */
  readonly log: LogSink;
  /** What the host has given this process to share, mapped (shared-memory.ts). */
  readonly memory?: ArrayBuffer | undefined;
  /** The host half has gone or spoke nonsense: nothing can be served any more. Not called after SHUTDOWN. */
  readonly onLost?: (error: LinkError) => void;
  /**
   * A driver threw what no device throws: it has a bug, and nobody knows in what state it is. With this the request is not
   * answered: the process is to end, and the host asks the next one. Without it the request is answered EIO.
   */
  readonly onBug?: (error: unknown) => void;
}

/** A published node; `remove` takes it away again. */
export interface ServedNode {
  /** Class name and unit, "sd0". */
  readonly name: string;
  /** Answers everything in progress with ENODEV and tells the host. Later calls do nothing. */
  remove(reason: string): void;
}

export interface PudServer {
  /**
   * Offers a device to the host under `className` and the lowest free unit. The device's `info` must not change.
   * @throws DeviceError EOPNOTSUPP (a kind that pud does not serve), EINVAL (the class name or the geometry is
   *   impossible), ENOSPC (64 nodes are published), ENODEV (the channel has ended).
   */
  publish(className: string, device: Device): ServedNode;
  /** Tells that a driver has attached. @throws DeviceError EINVAL: not a driver's name. */
  announceDevice(device: DeviceAnnouncement): void;
  /** Tells in which mode the device shall be driven by later processes. @throws DeviceError EINVAL: not a word. */
  announceDemotion(demotion: Demotion): void;
  /** Exploring is done: nothing more will attach for now. */
  ready(): void;
  /** Sends a line to the host's log. Beyond 100 a second lines are dropped and counted. */
  log(entry: LogEntry): void;
  /** Tells of something that failed for good, such as an attach. Bounded like `log`. */
  error(code: string, message: string): void;
  /**
   * What to do when the host says SHUTDOWN, after every request is answered and every disk is flushed: detach. The host
   * is told when it settles; a rejection is reported as the shutdown's failure.
   */
  onShutdown(handler: () => Promise<void>): void;
  /** Ends the channel without ceremony. */
  close(): void;
}

interface PublishedNode {
  readonly className: string;
  readonly unit: number;
  readonly served: ServedDevice;
}

/** Kinds that are answered with REPLY, and how a reply that says no is laid out. */
const REFUSALS: ReadonlyMap<number, (error: unknown, message: string) => Uint8Array> = new Map([
  ...DISK_REQUESTS.map(({ number }) => [number, encodeReason] as const),
  ...TTY_REQUESTS.map(({ number }) => [number, encodeTtyFailure] as const),
]);

function encodeReason(_error: unknown, message: string): Uint8Array {
  return encodeText(message, MAX_REASON_BYTES);
}

/** Begins to serve on this stream. The stream is the server's from now on. */
export function createPudServer(stream: ByteStream, options: PudServerOptions): PudServer {
  const server = new Server(stream, options);
  server.start();
  return server;
}

class Server implements PudServer, ChannelConsumer {
  readonly #options: PudServerOptions;
  readonly #stream: ByteStream;
  readonly #channel: FrameChannel;
  readonly #logBound: RateBound;
  readonly #statusBound: RateBound;
  readonly #nodes = new Map<number, PublishedNode>();
  readonly #buffers = new BufferPool(MAX_IDLE_BYTES);
  /** Requests without a reply, by id. */
  readonly #requests = new PendingMap<ServedRequest>();
  /** Requests that a driver works on, also those that a removal has answered already. */
  #inProgress = 0;
  #inProgressBytes = 0;
  #paused = false;
  #lastNode = 0;
  #droppedLines = 0;
  #shutdownHandler: () => Promise<void> = async () => {};
  #shuttingDown = false;
  /** Resolves the shutdown's wait for `#inProgress` to become 0. */
  #idle: (() => void) | undefined;

  constructor(stream: ByteStream, options: PudServerOptions) {
    this.#options = options;
    this.#stream = stream;
    this.#channel = new FrameChannel(stream, "host", this);
    this.#logBound = new RateBound(options.clock, LOG_BURST, LOG_PER_SECOND);
    this.#statusBound = new RateBound(options.clock, STATUS_BURST, STATUSES_PER_SECOND);
  }

  start(): void {
    this.#channel.start();
    this.#channel.send({ kind: KINDS.hello, payload: encodeHello(this.#options.memory?.byteLength) });
  }

  publish(className: string, device: Device): ServedNode {
    if (device.kind !== "disk" && device.kind !== "tty")
      throw new DeviceError("EOPNOTSUPP", `pud serves no ${device.kind} devices, only disks and ttys`);
    if (this.#channel.ended || this.#shuttingDown)
      throw new DeviceError("ENODEV", `${className}: the channel to the host has ended`);
    if (this.#nodes.size >= MAX_NODES)
      throw new DeviceError("ENOSPC", `${className}: ${MAX_NODES} nodes are published, which is the limit`);
    const unit = this.#freeUnit(className);
    const payload = described(() => encodeNode(className, unit, device));
    const number = this.#freeNode();
    this.#nodes.set(number, { className, unit, served: this.#serveDevice(device, number) });
    this.#channel.send({ kind: KINDS.node, node: number, payload });
    return { name: `${className}${unit}`, remove: (reason) => this.#remove(number, reason) };
  }

  announceDevice(device: DeviceAnnouncement): void {
    this.#channel.send({ kind: KINDS.device, payload: described(() => encodeDevice(device)) });
  }

  announceDemotion(demotion: Demotion): void {
    this.#channel.send({ kind: KINDS.demotion, payload: described(() => encodeDemotion(demotion)) });
  }

  ready(): void {
    this.#channel.send({ kind: KINDS.ready });
  }

  log(entry: LogEntry): void {
    if (this.#mayTalk()) this.#channel.send({ kind: KINDS.log, payload: encodeLog(entry) });
  }

  error(code: string, message: string): void {
    if (this.#mayTalk()) this.#channel.send({ kind: KINDS.error, payload: encodeError(code, message) });
  }

  onShutdown(handler: () => Promise<void>): void {
    this.#shutdownHandler = handler;
  }

  close(): void {
    for (const { served } of this.#nodes.values()) served.hangUp?.();
    this.#channel.close();
    this.#cancelAll();
  }

  admit(header: FrameHeader): Uint8Array {
    if (!REFUSALS.has(header.kind)) return NO_BYTES;
    if (this.#requests.has(header.requestId))
      throw new LinkError("PUD_ORDER", `the host asks with id ${header.requestId}, which is not answered yet`);
    return header.payloadBytes === 0 ? NO_BYTES : this.#buffers.take(header.payloadBytes);
  }

  take(header: FrameHeader, payload: Uint8Array): void {
    switch (header.kind) {
      case KINDS.cancel.number:
        // Unknown ids are right: the answer may have crossed the CANCEL.
        this.#requests.get(header.requestId)?.cancel();
        return;
      case KINDS.ping.number:
        this.#channel.send({ kind: KINDS.pong, requestId: header.requestId });
        return;
      case KINDS.shutdown.number:
        if (!this.#shuttingDown) void this.#shutDown();
        return;
      default:
        if (REFUSALS.has(header.kind)) this.#accept(new ServedRequest(header, payload, this.#slot(header)));
        else this.#nodes.get(header.node)?.served.notice?.(header);
    }
  }

  lost(error: LinkError): void {
    for (const { served } of this.#nodes.values()) served.hangUp?.();
    this.#nodes.clear();
    this.#cancelAll();
    if (this.#shuttingDown) return;
    this.#options.log.write({ level: "error", source: "pud", message: `${error.code}: ${error.message}` });
    this.#options.onLost?.(error);
  }

  writable(): void {
    this.#balance();
    for (const { served } of this.#nodes.values()) served.writable?.();
  }

  #slot({ kind, status: slot, payloadBytes }: FrameHeader): Uint8Array | undefined {
    if (slot === 0) return undefined;
    const mayHave = (kind === KINDS.read.number || kind === KINDS.write.number) && payloadBytes === 0;
    const { memory } = this.#options;
    const found = mayHave && memory !== undefined ? slotOf(memory, slot) : undefined;
    if (found === undefined)
      throw new LinkError(
        "PUD_LENGTH",
        `request of kind ${kind} with slot ${slot} and ${payloadBytes} bytes of payload`,
      );
    return found;
  }

  #serveDevice(device: Disk | Tty, node: number): ServedDevice {
    if (device.kind === "disk") return new ServedDisk(device);
    return new ServedTty(device, {
      clock: this.#options.clock,
      statuses: this.#statusBound,
      send: (frame) => this.#channel.send({ ...frame, node }),
      isChoked: () => this.#channel.choked,
    });
  }

  #accept(request: ServedRequest): void {
    this.#requests.add(request.requestId, request);
    const node = this.#shuttingDown ? undefined : this.#nodes.get(request.node);
    if (node === undefined) {
      this.#refuse(request, new DeviceError("ENODEV", `there is no node ${request.node} any more`));
      return;
    }
    void this.#serve(node, request);
  }

  /** Never rejects: whatever the driver does ends in one reply. */
  async #serve(node: PublishedNode, request: ServedRequest): Promise<void> {
    const { served } = node;
    const bytes = request.payload.length + served.replyBytes(request);
    this.#inProgress++;
    this.#inProgressBytes += bytes;
    this.#balance();
    try {
      const data = await served.serve(request);
      if (request.claim()) this.#reply(request, STATUS_OK, data, (sent) => served.sent?.(sent));
      served.replied?.(request);
    } catch (error) {
      const isBug = !(error instanceof DeviceError);
      if (isBug) this.#reportBug(node, error);
      if (isBug && this.#options.onBug !== undefined) this.#options.onBug(error);
      else this.#refuse(request, error);
    }
    this.#buffers.give(request.payload);
    this.#inProgress--;
    this.#inProgressBytes -= bytes;
    this.#balance();
    if (this.#inProgress === 0) this.#idle?.();
  }

  #refuse(request: ServedRequest, error: unknown): void {
    if (!request.claim()) return;
    const message = error instanceof DeviceError ? error.message : "the driver failed in an unexpected way";
    const payload = (REFUSALS.get(request.kind) ?? encodeReason)(error, message);
    this.#reply(request, statusOf(error), payload);
  }

  #reply(request: ServedRequest, status: number, payload: Uint8Array, sent?: (payload: Uint8Array) => void): void {
    const { node, requestId } = request;
    this.#requests.delete(requestId);
    this.#channel.send({ kind: KINDS.reply, node, requestId, status, payload, sent });
  }

  #reportBug(node: PublishedNode, error: unknown): void {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.log.write({ level: "error", source: `${node.className}${node.unit}`, message });
  }

  /** Stops reading while too much is in progress or too many replies wait to be sent, and goes on after. */
  #balance(): void {
    const over = this.#inProgress >= MAX_REQUESTS || this.#inProgressBytes >= MAX_REQUEST_BYTES;
    const under = this.#inProgress <= MAX_REQUESTS / 2 && this.#inProgressBytes <= MAX_REQUEST_BYTES / 2;
    if (!this.#paused && (over || this.#channel.choked)) {
      this.#paused = true;
      this.#stream.pause();
    } else if (this.#paused && under && !this.#channel.choked) {
      this.#paused = false;
      this.#stream.resume();
    }
  }

  #remove(number: number, reason: string): void {
    const node = this.#nodes.get(number);
    if (node === undefined) return;
    this.#nodes.delete(number);
    node.served.hangUp?.();
    for (const request of this.#requests.values()) {
      if (request.node !== number) continue;
      this.#refuse(request, new DeviceError("ENODEV", reason));
      request.cancel();
    }
    this.#channel.send({ kind: KINDS.nodeGone, node: number, payload: encodeText(reason, MAX_REASON_BYTES) });
  }

  async #shutDown(): Promise<void> {
    this.#shuttingDown = true;
    for (const { served } of this.#nodes.values()) served.hangUp?.();
    if (this.#inProgress > 0) await new Promise<void>((idle) => (this.#idle = idle));
    // Every step is tried, whatever became of the one before; the first failure is the one that is told.
    const failures: Error[] = [];
    for (const { served } of this.#nodes.values()) await attempt(() => served.settle(), failures);
    await attempt(this.#shutdownHandler, failures);
    const failure = failures[0];
    this.#channel.send({
      kind: KINDS.shutdownDone,
      status: failure === undefined ? STATUS_OK : statusOf(failure),
      payload: encodeText(failure?.message ?? "", MAX_REASON_BYTES),
    });
    this.#channel.close();
  }

  #cancelAll(): void {
    for (const request of this.#requests.values()) request.cancel();
    this.#requests.clear();
  }

  #mayTalk(): boolean {
    if (!this.#logBound.take()) {
      this.#droppedLines++;
      return false;
    }
    if (this.#droppedLines > 0) {
      const message = `${this.#droppedLines} lines were dropped: more than ${LOG_PER_SECOND} a second`;
      this.#droppedLines = 0;
      this.#channel.send({ kind: KINDS.log, payload: encodeLog({ level: "warn", source: "pud", message }) });
    }
    return true;
  }

  #freeUnit(className: string): number {
    const used = new Set([...this.#nodes.values()].filter((n) => n.className === className).map((n) => n.unit));
    let unit = 0;
    while (used.has(unit)) unit++;
    return unit;
  }

  /** Numbers go round, so that a late request for a node that has gone does not meet its successor. */
  #freeNode(): number {
    do this.#lastNode = (this.#lastNode % 0xffff) + 1;
    while (this.#nodes.has(this.#lastNode));
    return this.#lastNode;
  }
}

async function attempt(step: () => Promise<void>, failures: Error[]): Promise<void> {
  try {
    await step();
  } catch (error) {
    failures.push(error instanceof Error ? error : new Error(`thrown: ${String(error)}`));
  }
}

/** What the host would end the channel for is refused here, as an error of whoever described it. */
function described(encode: () => Uint8Array): Uint8Array {
  try {
    return encode();
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    throw new DeviceError("EINVAL", error.message, { cause: error });
  }
}
