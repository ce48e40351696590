/**
 * The host half of pud: owns the device nodes that a rump process announces, and every request until it is answered. It runs in the
 * pud process, or where sessions are not apart in the host process; "the host" in this folder is this half, wherever it runs.
 *
 * A host outlives its rump processes. `connect` gives it the channel to one; when that is lost, the policy says what
 * happens. Under "fail" every request rejects at once and the nodes go. Under "hold" the nodes stay and their requests
 * wait; whoever started the process starts another and calls `connect` again, and nodes that come back as they were are
 * asked again.
 *
 * A device that may have lost power in between (it was unplugged) may have lost writes that were answered and not flushed,
 * or be another one. With `replug` the host keeps what it takes to tell, and to write them again (readmission.ts); without
 * it, call `abandon` then.
 */
import type { DeviceErrorCode } from "../rump/devsw.js";
import type { ByteStream, Clock, Timer } from "../rumpuser/rumpuser.js";
import { LinkError } from "./errors.js";
import { MAX_NODE_BYTES, MAX_NODE_REQUESTS, MAX_NODES } from "./frames.js";
import type { AskProcessorWait } from "./heartbeat.js";
import { type ChannelLimits, type ChannelOwner, type ChannelReports, HostChannel } from "./host-channel.js";
import { DiskNode } from "./host-disk-node.js";
import {
  DEPARTURE_MS,
  type HostDevice,
  type NodeContext,
  type LoadTtyLine,
  type NodeHalf,
  type NodeLimits,
} from "./host-node.js";
import { TtyNode } from "./host-tty-node.js";
import type { DeviceAnnouncement, NodeAnnouncement } from "./payloads.js";
import { identityChange } from "./readmission.js";
import type { SharedSlots } from "./shared-memory.js";

export interface PudLimits extends NodeLimits, ChannelLimits {
  /** Nodes of one rump process. Not above MAX_NODES. */
  readonly maxNodes: number;
}

export const DEFAULT_LIMITS: PudLimits = {
  maxNodes: MAX_NODES,
  maxNodeRequests: MAX_NODE_REQUESTS,
  maxNodeBytes: MAX_NODE_BYTES,
  maxQueuedRequests: 65_536,
  maxLosses: 3,
  announcementBurst: 1000,
  announcementsPerSecond: 200,
  maxUnanswered: MAX_NODES * MAX_NODE_REQUESTS,
  heartbeatMs: 10_000,
};

/** A device node, the same object from `onNode` to `onNodeGone`. */
export interface HostNode {
  /** "sd". */
  readonly className: string;
  /** As the rump process counts, per class from 0. What the node is called on the host is the host's business. */
  readonly unit: number;
  /** What a link serves. Ends with the node: everything rejects with ENODEV (ESTALE after another medium came). */
  readonly device: HostDevice;
}

/** Called as it happens, never from within `createPudHost`. Strings are safe to print. */
export interface PudHostHandlers extends ChannelReports {
  /** A driver has attached. */
  onDevice(device: DeviceAnnouncement): void;
  onNode(node: HostNode): void;
  /** The node's requests are answered already. */
  onNodeGone(node: HostNode, reason: string): void;
  /** "hold": a node is served again, by the process connected last. */
  onNodeBack?(node: HostNode): void;
  /** Exploring is done: nothing more will attach for now. */
  onReady(): void;
  /** The channel has ended or was ended because of what came over it; the rump process should be ended too. */
  onLost(error: LinkError): void;
}

export interface PudHostOptions {
  readonly clock: Clock;
  readonly handlers: PudHostHandlers;
  readonly limits?: Partial<PudLimits>;
  readonly lossPolicy: "fail" | "hold";
  /** With "hold": nodes also outlive an unplug. */
  readonly replug?: {
    /** For each node: acknowledged writes that are not flushed are kept up to so many bytes; then a flush is forced. */
    readonly journalBytes: number;
  };
  /** Left out: loads it with the first line that is opened. On a virtual clock nothing may take real time: have it loaded. */
  readonly loadTtyLine?: LoadTtyLine;
}

/** What is known of the device behind a new channel. */
export interface ConnectOptions {
  /** It kept its power and its place since the last channel. Otherwise media are checked before they are served again. */
  readonly deviceKept?: boolean;
  /** Memory that the process was given as well. The one that had it before is gone. */
  readonly memory?: SharedSlots;
  /** In place of the limits of these names, for this channel. */
  readonly heartbeatMs?: number;
  readonly attachSilenceMs?: number;
  readonly askProcessorWait?: AskProcessorWait;
}

/** How an orderly end went. */
export interface ShutdownResult {
  /** Everything was answered, flushed and detached. */
  readonly clean: boolean;
  /** Why not; "" when it was clean. */
  readonly reason: string;
}

export interface PudHost {
  /** The nodes there are, in the order in which they came. */
  readonly nodes: readonly HostNode[];
  /** A channel is in use. */
  readonly connected: boolean;
  /**
   * Takes the channel to a (new) rump process; the stream is the host's from now on. `deviceKept` is true by default.
   * @throws Error while another channel is in use, or after `abandon` or `shutdown`.
   */
  connect(stream: ByteStream, options?: ConnectOptions): void;
  /** Every node is served: none waits for a process, or for its medium to be checked. */
  readonly isServing: boolean;
  /** Requests of links that drivers have answered, and other steps that are done for good; in all. */
  readonly answeredRequests: number;
  /** Gives up: ends the channel, answers everything with `code`, and all nodes go. `onLost` is not called. */
  abandon(reason: string, code?: DeviceErrorCode): void;
  /**
   * Ends in order: no new requests, those that are there are answered, then the rump process flushes and detaches. After
   * `timeoutMs` or a loss the rest is given up. Nodes go before it resolves; it never rejects. A second call gets the
   * result of the first.
   */
  shutdown(timeoutMs: number): Promise<ShutdownResult>;
}

/** @param options.limits  What is left out is as in DEFAULT_LIMITS; protocol constants are not exceeded. */
export function createPudHost(options: PudHostOptions): PudHost {
  return new Host(options);
}

interface Entry {
  readonly node: HostNode;
  readonly half: NodeHalf;
  /** What the driver said it drives when the node was new. */
  readonly identity: DeviceAnnouncement | undefined;
  /** The device may have lost power since the node was served last, or be another. */
  isDoubtful: boolean;
  /** NODE_GONE has come on the channel in use: runs until the end of the channel says that the device has gone. */
  departure: Timer | undefined;
}

class Host implements PudHost, ChannelOwner {
  readonly reports: PudHostHandlers;
  readonly #limits: PudLimits;
  readonly #lossPolicy: "fail" | "hold";
  readonly #context: NodeContext;
  #entries: Entry[] = [];
  #channel: HostChannel | undefined;
  /** The last driver that was announced on it. */
  #identity: DeviceAnnouncement | undefined;
  #answered = 0;
  /** Why nothing can be connected any more. */
  #ended: string | undefined;
  /** Settles the shutdown that is under way. */
  #shutdown: ((result: ShutdownResult) => void) | undefined;
  #shutdownResult: Promise<ShutdownResult> | undefined;

  constructor({ clock, handlers, limits, lossPolicy, replug, loadTtyLine = importTtyLine }: PudHostOptions) {
    const wanted = { ...DEFAULT_LIMITS, ...limits };
    this.reports = handlers;
    this.#lossPolicy = lossPolicy;
    this.#limits = {
      ...wanted,
      maxNodes: Math.min(wanted.maxNodes, MAX_NODES),
      maxNodeRequests: Math.min(wanted.maxNodeRequests, MAX_NODE_REQUESTS),
      maxNodeBytes: Math.min(wanted.maxNodeBytes, MAX_NODE_BYTES),
    };
    const onAnswered = (): void => void this.#answered++;
    const kept = lossPolicy === "hold" ? replug : undefined;
    this.#context = { clock, limits: this.#limits, onAnswered, replug: kept, loadTtyLine };
  }

  get nodes(): readonly HostNode[] {
    return this.#entries.map((entry) => entry.node);
  }

  get connected(): boolean {
    return this.#channel !== undefined;
  }

  get answeredRequests(): number {
    return this.#answered;
  }

  get isServing(): boolean {
    return this.#entries.every(({ half, isDoubtful }) => half.bound && !isDoubtful);
  }

  connect(stream: ByteStream, { deviceKept = true, memory, ...own }: ConnectOptions = {}): void {
    if (this.#ended !== undefined) throw new Error(`connect: this pud host has ended (${this.#ended})`);
    if (this.#channel !== undefined) throw new Error("connect: this pud host has a channel");
    const limits = { ...this.#limits, ...own };
    if (!deviceKept) for (const entry of this.#entries) entry.isDoubtful = true;
    this.#identity = undefined;
    memory?.processGone();
    this.#channel = new HostChannel(stream, this.#context.clock, limits, this, memory);
    this.#channel.start();
  }

  abandon(reason: string, code: DeviceErrorCode = "ENODEV"): void {
    this.#finish(reason, { clean: false, reason }, code);
  }

  shutdown(timeoutMs: number): Promise<ShutdownResult> {
    this.#shutdownResult ??= this.#shutDown(timeoutMs);
    return this.#shutdownResult;
  }

  device(device: DeviceAnnouncement): void {
    this.#identity = device;
    this.reports.onDevice(device);
  }

  node(announcement: NodeAnnouncement, channel: HostChannel, number: number): NodeHalf {
    const { className, unit, info } = announcement;
    const known = this.#entries.find(({ node }) => node.className === className && node.unit === unit);
    if (known?.half.bound === true) throw new LinkError("PUD_NODE", `NODE ${className}${unit} is announced twice`);
    if (known !== undefined) {
      const change = this.#change(known, info);
      if (change === undefined) {
        this.#takeBack(known, announcement, channel, number);
        return known.half;
      }
      this.#remove(known, known.isDoubtful ? "EIO" : "ESTALE", `${className}${unit} came back as ${change}`);
    }
    return this.#welcome(announcement, channel, number);
  }

  nodeGone(half: NodeHalf, reason: string): void {
    const entry = this.#entries.find((other) => other.half === half);
    if (entry === undefined) return;
    if (this.#context.replug === undefined || this.#shutdown !== undefined)
      return this.#remove(entry, "ENODEV", reason);
    half.unbind(false);
    entry.departure = this.#context.clock.startTimer(DEPARTURE_MS, () => this.#remove(entry, "ENODEV", reason));
  }

  /** Why this cannot be the medium that went, as far as is known without a look at it. */
  #change({ node, identity, departure, isDoubtful }: Entry, info: HostDevice["info"]): string | undefined {
    if (departure !== undefined) return "another medium"; // gone and come on one channel: the device was there all the time
    // Read by one decoder, so in one order.
    if (JSON.stringify(node.device.info) !== JSON.stringify(info)) return "another medium";
    if (!isDoubtful) return undefined;
    if (identity === undefined || this.#identity === undefined) return "a device that did not say what it is";
    return identityChange(identity, this.#identity);
  }

  #takeBack(entry: Entry, announcement: NodeAnnouncement, channel: HostChannel, number: number): void {
    const { node, half } = entry;
    const served = (): void => {
      entry.isDoubtful = false;
      this.reports.onNodeBack?.(node);
    };
    const look = half.resume(channel, number, entry.isDoubtful);
    if (look === undefined) return served();
    void look.then((result) => {
      if (result === "lost") return;
      if (result.refusal === "") return served();
      this.#remove(entry, "EIO", result.refusal);
      channel.replaceHalf(number, this.#welcome(announcement, channel, number));
    });
  }

  #welcome(announcement: NodeAnnouncement, channel: HostChannel, number: number): NodeHalf {
    const { className, unit } = announcement;
    if (this.#entries.length >= this.#limits.maxNodes)
      throw new LinkError("PUD_LIMIT", `NODE ${className}${unit}: more than ${this.#limits.maxNodes} nodes`);
    const half =
      announcement.kind === "disk"
        ? new DiskNode(announcement.info, this.#context)
        : new TtyNode(announcement.info, this.#context);
    const node: HostNode = { className, unit, device: half.device };
    this.#entries.push({ node, half, identity: this.#identity, isDoubtful: false, departure: undefined });
    if (this.#ended !== undefined) half.close("ENODEV", "the device is being shut down");
    this.reports.onNode(node);
    half.begin(channel, number);
    return half;
  }

  ready(): void {
    const absent = this.#entries.filter(({ half }) => !half.bound);
    // One medium of several was taken out. If none is there the attach has failed: the next process may do better.
    if (absent.length > 0 && absent.length === this.#entries.length)
      throw new LinkError("PUD_ABSENT", `READY, but none of ${absent.length} nodes has come back`);
    for (const entry of absent) this.#remove(entry, "ENODEV", "the device did not come back");
    this.reports.onReady();
  }

  shutdownDone(failure: DeviceErrorCode | undefined, message: string): void {
    const reason = failure === undefined ? "" : `${failure}: ${message}`;
    this.#finish("shut down", { clean: failure === undefined, reason });
  }

  lost(error: LinkError): void {
    this.#channel = undefined;
    if (this.#shutdown !== undefined) {
      this.#finish("shut down", { clean: false, reason: `${error.code}: ${error.message}` });
      return;
    }
    if (this.#lossPolicy === "hold") for (const entry of this.#entries) this.#hold(entry);
    else this.#removeAll(`the rump process was lost: ${error.message}`);
    this.reports.onLost(error);
  }

  async #shutDown(timeoutMs: number): Promise<ShutdownResult> {
    if (this.#ended !== undefined) return { clean: false, reason: this.#ended };
    const channel = this.#channel;
    for (const { half } of this.#entries) half.close("ENODEV", "the device is being shut down");
    if (channel === undefined) {
      this.abandon("there is no rump process to shut down");
      return { clean: false, reason: "there is no rump process to shut down" };
    }
    this.#ended = "shut down";
    const result = new Promise<ShutdownResult>((settle) => (this.#shutdown = settle));
    const timer = this.#context.clock.startTimer(timeoutMs, () =>
      this.#finish("shut down", { clean: false, reason: `the rump process did not finish within ${timeoutMs} ms` }),
    );
    await Promise.race([result, Promise.all(this.#entries.map(({ half }) => half.whenIdle()))]);
    if (this.#channel === channel) channel.sendShutdown();
    try {
      return await result;
    } finally {
      timer.cancel();
    }
  }

  #hold(entry: Entry): void {
    if (entry.departure === undefined) return entry.half.unbind(true);
    // It has gone before its process: the device has.
    entry.departure.cancel();
    entry.departure = undefined;
    entry.isDoubtful = true;
  }

  #finish(reason: string, result: ShutdownResult, code: DeviceErrorCode = "ENODEV"): void {
    this.#ended ??= reason;
    this.#channel?.destroy();
    this.#channel = undefined;
    this.#removeAll(reason, code);
    this.#shutdown?.(result);
    this.#shutdown = undefined;
  }

  #removeAll(reason: string, code: DeviceErrorCode = "ENODEV"): void {
    for (const entry of this.#entries) this.#remove(entry, code, reason);
  }

  #remove(entry: Entry, code: DeviceErrorCode, reason: string): void {
    this.#entries = this.#entries.filter((other) => other !== entry);
    entry.departure?.cancel();
    entry.half.end(code, reason);
    this.reports.onNodeGone(entry.node, reason);
  }
}

async function importTtyLine(): ReturnType<LoadTtyLine> {
  return (await import("./host-tty-line.js")).HostLine;
}
