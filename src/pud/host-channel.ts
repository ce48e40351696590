/**
 * The host's end of one channel to one rump process: it believes nothing.
 *
 * Every frame is held against what was asked and announced on this channel before anything is done with it; the first
 * one that cannot be right ends the channel with a LinkError that says which rule it broke.
 */
import type { DeviceErrorCode } from "../rump/devsw.js";
import type { ByteStream, Clock, LogEntry } from "../rumpuser/rumpuser.js";
import { PendingMap } from "../pending.js";
import { type ChannelConsumer, FrameChannel, NO_BYTES } from "./channel.js";
import { LinkError } from "./errors.js";
import {
  deviceErrorCodeOf,
  FLAG_CANCELLABLE,
  type FrameHeader,
  KIND_BY_NUMBER,
  type Kind,
  KINDS,
  MAX_REASON_BYTES,
  STATUS_OK,
} from "./frames.js";
import { Heartbeat, type HeartbeatLimits } from "./heartbeat.js";
import type { NodeHalf } from "./host-node.js";
import type { HostRequest } from "./host-request.js";
import {
  type Demotion,
  type DeviceAnnouncement,
  decodeDemotion,
  decodeDevice,
  decodeError,
  decodeHello,
  decodeLog,
  decodeNode,
  type NodeAnnouncement,
} from "./payloads.js";
import { RateBound } from "./rate-bound.js";
import type { SharedSlots } from "./shared-memory.js";
import { decodeText } from "./text.js";

export interface ChannelLimits extends HeartbeatLimits {
  /** Announcements at once, and a second in the long run. More is a flood and ends the channel. */
  readonly announcementBurst: number;
  readonly announcementsPerSecond: number;
  /** Unanswered ids at most, also of nodes that have gone: a rump process may not pile them up. */
  readonly maxUnanswered: number;
  /** How long a process that attaches may be silent, where that is more than three beats: code runs for the first time. */
  readonly attachSilenceMs?: number;
}

/** What a rump process says, and nobody has to do anything with. Strings are safe to print. */
export interface ChannelReports {
  /** The device went wrong. The word is the process's own. */
  onDemotion?(demotion: Demotion): void;
  onLog(entry: LogEntry): void;
  /** The rump process reports a failure, such as an attach that did not work. */
  onError(code: string, message: string): void;
}

/** What the channel tells its owner. The owner may throw a LinkError from `node`: the announcement cannot be right. */
export interface ChannelOwner {
  readonly reports: ChannelReports;
  device(device: DeviceAnnouncement): void;
  /** @returns the half that serves the node from now on, bound to this channel and number. */
  node(node: NodeAnnouncement, channel: HostChannel, number: number): NodeHalf;
  nodeGone(half: NodeHalf, reason: string): void;
  ready(): void;
  shutdownDone(failure: DeviceErrorCode | undefined, message: string): void;
  lost(error: LinkError): void;
}

/** A kind of frame: is it an announcement, which is counted, and what is done with it. */
interface Rule {
  readonly announcement: boolean;
  /** Looks at the header before there is memory for the payload. @throws LinkError */
  readonly admit?: (header: FrameHeader) => void;
  take(header: FrameHeader, payload: Uint8Array): void;
}

export class HostChannel implements ChannelConsumer {
  readonly #channel: FrameChannel;
  readonly #limits: ChannelLimits;
  readonly #owner: ChannelOwner;
  readonly #memory: SharedSlots | undefined;
  #hasMemory = false;
  readonly #announcements: RateBound;
  readonly #rules: ReadonlyMap<number, Rule>;
  readonly #nodes = new Map<number, NodeHalf>();
  readonly #heartbeat: Heartbeat;
  readonly #inFlight = new PendingMap<HostRequest>();
  #lastRequestId = 0;
  #greeted = false;
  #attaching = true;
  #shutdownAsked = false;
  /** Something came unasked: a process that ends in the middle of that is noticed too. */
  #isFlowing = false;
  #pingId: number | undefined;

  /** @param memory  The process was given it; until it says so it may not have mapped it. */
  constructor(stream: ByteStream, clock: Clock, limits: ChannelLimits, owner: ChannelOwner, memory?: SharedSlots) {
    this.#limits = limits;
    this.#owner = owner;
    this.#memory = memory;
    this.#heartbeat = new Heartbeat(clock, limits, {
      hasToAnswer: () => this.#inFlight.size > 0 || this.#attaching || this.#isFlowing,
      patienceMs: () => Math.max(0, ...Array.from(this.#nodes.values(), (half) => half.patienceMs)),
      silenceMs: () => (this.#attaching ? (limits.attachSilenceMs ?? 0) : 0),
      ping: () => this.#ping(),
      hangs: (silence) => this.#channel.fail(this.#hang(silence)),
    });
    this.#announcements = new RateBound(clock, limits.announcementBurst, limits.announcementsPerSecond);
    this.#channel = new FrameChannel(stream, "rump", this);
    this.#rules = new Map<number, Rule>([
      [KINDS.reply.number, { announcement: false, take: (h, p) => this.#reply(h, p) }],
      [KINDS.pong.number, { announcement: false, take: (h) => this.#pong(h) }],
      [KINDS.ttyData.number, this.#nodeRule(false)],
      [KINDS.ttyChanged.number, this.#nodeRule(true)],
      [KINDS.ttyClosed.number, this.#nodeRule(false)],
      [KINDS.hello.number, { announcement: true, take: (_, p) => this.#hello(p) }],
      [KINDS.device.number, { announcement: true, take: (_, p) => owner.device(decodeDevice(p)) }],
      [KINDS.demotion.number, { announcement: true, take: (_, p) => owner.reports.onDemotion?.(decodeDemotion(p)) }],
      [KINDS.node.number, { announcement: true, take: (h, p) => this.#node(h, p) }],
      [KINDS.nodeGone.number, { announcement: true, take: (h, p) => this.#nodeGone(h, p) }],
      [KINDS.log.number, { announcement: true, take: (_, p) => owner.reports.onLog(decodeLog(p)) }],
      [KINDS.error.number, { announcement: true, take: (_, p) => owner.reports.onError(...decodeError(p)) }],
      [KINDS.ready.number, { announcement: true, take: () => this.#ready() }],
      [KINDS.shutdownDone.number, { announcement: true, take: (h, p) => this.#shutdownDone(h, p) }],
    ]);
  }

  /** Begins to read. */
  start(): void {
    this.#channel.start();
    this.#heartbeat.watch();
  }

  /** Requests should wait: more is buffered than is sensible. */
  get choked(): boolean {
    return this.#channel.choked;
  }

  /** Memory that the process has mapped. */
  get slots(): SharedSlots | undefined {
    return this.#hasMemory ? this.#memory : undefined;
  }

  sendRequest(nodeNumber: number, request: HostRequest): void {
    const requestId = this.#freeId();
    request.requestId = requestId;
    request.nodeNumber = nodeNumber;
    this.#inFlight.add(requestId, request);
    this.#channel.send({
      kind: request.kind,
      node: nodeNumber,
      requestId,
      flags: request.flags | (request.cancellable ? FLAG_CANCELLABLE : 0),
      offset: request.offset,
      count: request.count,
      slot: request.slot,
      payload: request.slot === 0 ? request.payload : NO_BYTES,
    });
    this.#heartbeat.watch();
  }

  /** Asks the driver to stop working on a request that is in flight; the reply still comes. */
  sendCancel(request: HostRequest): void {
    this.#channel.send({ kind: KINDS.cancel, node: request.nodeNumber, requestId: request.requestId });
  }

  /** Tells the rump process something about a node that is not answered. */
  sendNotice(nodeNumber: number, kind: Kind, count: number): void {
    this.#channel.send({ kind, node: nodeNumber, count });
  }

  /** The node is served by another half from now on; does nothing when it has gone. */
  replaceHalf(nodeNumber: number, half: NodeHalf): void {
    if (this.#nodes.has(nodeNumber)) this.#nodes.set(nodeNumber, half);
  }

  /** Asks the rump process to flush, detach and end; `shutdownDone` follows. */
  sendShutdown(): void {
    this.#shutdownAsked = true;
    this.#channel.send({ kind: KINDS.shutdown });
  }

  /** Ends the channel at once. The owner is not told. */
  destroy(): void {
    this.#heartbeat.end();
    this.#channel.destroy();
  }

  admit(header: FrameHeader): Uint8Array {
    this.#heartbeat.heard();
    if (this.#greeted === (header.kind === KINDS.hello.number))
      throw new LinkError("PUD_ORDER", this.#greeted ? "a second HELLO" : `${nameOf(header)} before HELLO`);
    this.#greeted = true;
    if (header.kind === KINDS.reply.number) return this.#admitReply(header);
    const rule = this.#rules.get(header.kind);
    rule?.admit?.(header);
    if (rule?.announcement === true && !this.#announcements.take())
      throw new LinkError(
        "PUD_FLOOD",
        `more than ${this.#limits.announcementBurst} announcements at once or ${this.#limits.announcementsPerSecond} a second; the last was ${nameOf(header)}`,
      );
    return header.payloadBytes === 0 ? NO_BYTES : new Uint8Array(header.payloadBytes);
  }

  take(header: FrameHeader, payload: Uint8Array): void {
    this.#rules.get(header.kind)?.take(header, payload);
  }

  lost(error: LinkError): void {
    this.#heartbeat.end();
    this.#owner.lost(error);
  }

  writable(): void {
    for (const half of this.#nodes.values()) half.pump();
  }

  /** A frame of one node's own. Where it is no announcement the node bounds it. */
  #nodeRule(announcement: boolean): Rule {
    return {
      announcement,
      admit: (header) => {
        this.#half(header).admit(header);
        this.#isFlowing = true;
        this.#heartbeat.watch();
      },
      take: (header, payload) => this.#half(header).take(header, payload),
    };
  }

  #half(header: FrameHeader): NodeHalf {
    const half = this.#nodes.get(header.node);
    if (half === undefined)
      throw new LinkError("PUD_NODE", `${nameOf(header)} from node ${header.node}, which is not there`);
    return half;
  }

  #admitReply({ requestId, node, status, payloadBytes }: FrameHeader): Uint8Array {
    const request = this.#inFlight.get(requestId);
    if (request === undefined)
      throw new LinkError("PUD_REPLY", `REPLY to request ${requestId}, which was not asked or is answered already`);
    if (request.nodeNumber !== node)
      throw new LinkError(
        "PUD_REPLY",
        `REPLY to request ${requestId} from node ${node}; ${request.nodeNumber} was asked`,
      );
    if (status === STATUS_OK) {
      const replyBytes = request.slot === 0 ? request.replyBytes : 0;
      if (payloadBytes !== replyBytes)
        throw new LinkError(
          "PUD_LENGTH",
          `REPLY to ${request.kind.name} ${requestId}: ${payloadBytes} bytes of payload, not ${replyBytes}`,
        );
      return payloadBytes === 0 ? NO_BYTES : request.replyMemory(payloadBytes);
    }
    if (deviceErrorCodeOf(status) === undefined)
      throw new LinkError("PUD_REPLY", `REPLY to request ${requestId}: no status ${status}`);
    if (payloadBytes > MAX_REASON_BYTES)
      throw new LinkError("PUD_LENGTH", `REPLY to request ${requestId}: a reason of ${payloadBytes} bytes`);
    return new Uint8Array(payloadBytes);
  }

  #reply({ requestId, status }: FrameHeader, payload: Uint8Array): void {
    const request = this.#inFlight.get(requestId);
    if (request === undefined)
      throw new LinkError("PUD_REPLY", `REPLY to request ${requestId}, which is not in flight`);
    this.#inFlight.delete(requestId);
    request.answered(status === STATUS_OK ? undefined : deviceErrorCodeOf(status), payload);
  }

  #hello(payload: Uint8Array): void {
    this.#hasMemory = decodeHello(payload) === this.#memory?.bytes;
  }

  #node({ node }: FrameHeader, payload: Uint8Array): void {
    if (node === 0 || this.#nodes.has(node))
      throw new LinkError("PUD_NODE", `NODE with number ${node}, which is ${node === 0 ? "none" : "in use"}`);
    this.#nodes.set(node, this.#owner.node(decodeNode(payload), this, node));
  }

  #nodeGone({ node }: FrameHeader, payload: Uint8Array): void {
    const half = this.#nodes.get(node);
    if (half === undefined) throw new LinkError("PUD_NODE", `NODE_GONE for node ${node}, which is not there`);
    this.#nodes.delete(node);
    this.#owner.nodeGone(half, decodeText(payload));
    if (this.#inFlight.size > this.#limits.maxUnanswered)
      throw new LinkError("PUD_LIMIT", `${this.#inFlight.size} requests of nodes that have gone are not answered`);
  }

  #ready(): void {
    this.#attaching = false;
    this.#owner.ready();
  }

  #shutdownDone({ status }: FrameHeader, payload: Uint8Array): void {
    if (!this.#shutdownAsked) throw new LinkError("PUD_ORDER", "SHUTDOWN_DONE, but SHUTDOWN was not sent");
    this.#owner.shutdownDone(
      status === STATUS_OK ? undefined : (deviceErrorCodeOf(status) ?? "EIO"),
      decodeText(payload),
    );
  }

  #pong({ requestId }: FrameHeader): void {
    if (this.#pingId !== requestId)
      throw new LinkError("PUD_REPLY", `PONG ${requestId}; ${this.#pingId ?? "none"} is expected`);
    this.#pingId = undefined;
    this.#isFlowing = false;
  }

  #ping(): void {
    if (this.#pingId !== undefined) return;
    this.#pingId = this.#freeId();
    this.#channel.send({ kind: KINDS.ping, requestId: this.#pingId });
  }

  #hang(silence: string): LinkError {
    const when = this.#attaching ? "while it attached" : `with ${this.#inFlight.size} requests unanswered`;
    return new LinkError("PUD_SILENT", `${silence}, not even PONG, ${when}`);
  }

  /** 1 to 2^32 - 1, then round again; an id that is in flight is not given twice. */
  #freeId(): number {
    do this.#lastRequestId = this.#lastRequestId >= 0xffff_ffff ? 1 : this.#lastRequestId + 1;
    while (this.#inFlight.has(this.#lastRequestId));
    return this.#lastRequestId;
  }
}

function nameOf(header: FrameHeader): string {
  return KIND_BY_NUMBER.get(header.kind)?.name ?? `kind ${header.kind}`;
}
