/**
 * The host half of pud: owns the device nodes that a rump process announces, and every request until it is answered.
 *
 * A host outlives its rump processes. `connect` gives it the channel to one; when that is lost, the policy says what
 * happens. Under "fail" every request rejects at once and the nodes go. Under "hold" the nodes stay and their requests
 * wait; whoever started the process starts another and calls `connect` again, and nodes that come back as they were are
 * asked again. "hold" is right only while the device itself kept its state: after it lost power, writes that were
 * answered but not flushed may be gone, so call `abandon` then.
 */
import type { DeviceErrorCode, Disk, DiskInfo } from "../rump/devsw.js";
import type { ByteStream, Clock, LogEntry } from "../rumpuser/rumpuser.js";
import { LinkError } from "./errors.js";
import { MAX_NODE_BYTES, MAX_NODE_REQUESTS, MAX_NODES } from "./frames.js";
import { type ChannelLimits, type ChannelOwner, HostChannel } from "./host-channel.js";
import { HostDisk } from "./host-disk.js";
import { NodeQueue, type QueueLimits } from "./host-queue.js";
import type { DeviceAnnouncement, NodeAnnouncement } from "./payloads.js";

export interface PudLimits extends QueueLimits, ChannelLimits {
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
  heartbeatMs: 15_000,
};

/** A device node, the same object from `onNode` to `onNodeGone`. */
export interface HostNode {
  /** "sd". */
  readonly className: string;
  /** As the rump process counts, per class from 0. What the node is called on the host is the host's business. */
  readonly unit: number;
  /** What a link serves. Ends with the node: everything rejects with ENODEV (ESTALE after another medium came). */
  readonly device: Disk;
}

/** Called as it happens, never from within `createPudHost`. Strings are safe to print. */
export interface PudHostHandlers {
  /** A driver has attached. */
  onDevice(device: DeviceAnnouncement): void;
  onNode(node: HostNode): void;
  /** The node's requests are answered already. */
  onNodeGone(node: HostNode, reason: string): void;
  /** "hold": a node is served again, by the process connected last. */
  onNodeBack?(node: HostNode): void;
  onLog(entry: LogEntry): void;
  /** Exploring is done: nothing more will attach for now. */
  onReady(): void;
  /** The rump process reports a failure, such as an attach that did not work. */
  onError(code: string, message: string): void;
  /** The channel has ended or was ended because of what came over it; the rump process should be ended too. */
  onLost(error: LinkError): void;
}

export interface PudHostOptions {
  readonly clock: Clock;
  readonly handlers: PudHostHandlers;
  readonly limits?: Partial<PudLimits>;
  readonly lossPolicy: "fail" | "hold";
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
   * Takes the channel to a (new) rump process; the stream is the host's from now on.
   * @throws Error while another channel is in use, or after `abandon` or `shutdown`.
   */
  connect(stream: ByteStream): void;
  /** Gives up: ends the channel, answers everything with ENODEV, and all nodes go. `onLost` is not called. */
  abandon(reason: string): void;
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
  readonly queue: NodeQueue;
}

class Host implements PudHost, ChannelOwner {
  readonly #clock: Clock;
  readonly #handlers: PudHostHandlers;
  readonly #limits: PudLimits;
  readonly #lossPolicy: "fail" | "hold";
  #entries: Entry[] = [];
  #channel: HostChannel | undefined;
  /** Why nothing can be connected any more. */
  #ended: string | undefined;
  /** Settles the shutdown that is under way. */
  #shutdown: ((result: ShutdownResult) => void) | undefined;
  #shutdownResult: Promise<ShutdownResult> | undefined;

  constructor({ clock, handlers, limits, lossPolicy }: PudHostOptions) {
    const wanted = { ...DEFAULT_LIMITS, ...limits };
    this.#clock = clock;
    this.#handlers = handlers;
    this.#lossPolicy = lossPolicy;
    this.#limits = {
      ...wanted,
      maxNodes: Math.min(wanted.maxNodes, MAX_NODES),
      maxNodeRequests: Math.min(wanted.maxNodeRequests, MAX_NODE_REQUESTS),
      maxNodeBytes: Math.min(wanted.maxNodeBytes, MAX_NODE_BYTES),
    };
  }

  get nodes(): readonly HostNode[] {
    return this.#entries.map((entry) => entry.node);
  }

  get connected(): boolean {
    return this.#channel !== undefined;
  }

  connect(stream: ByteStream): void {
    if (this.#ended !== undefined) throw new Error(`connect: this pud host has ended (${this.#ended})`);
    if (this.#channel !== undefined) throw new Error("connect: this pud host has a channel");
    this.#channel = new HostChannel(stream, this.#clock, this.#limits, this);
    this.#channel.start();
  }

  abandon(reason: string): void {
    this.#finish(reason, { clean: false, reason });
  }

  shutdown(timeoutMs: number): Promise<ShutdownResult> {
    this.#shutdownResult ??= this.#shutDown(timeoutMs);
    return this.#shutdownResult;
  }

  device(device: DeviceAnnouncement): void {
    this.#handlers.onDevice(device);
  }

  node(announcement: NodeAnnouncement): NodeQueue {
    const { className, unit, info } = announcement;
    const known = this.#entries.find(({ node }) => node.className === className && node.unit === unit);
    if (known !== undefined) {
      if (known.queue.bound) throw new LinkError("PUD_NODE", `NODE ${className}${unit} is announced twice`);
      if (sameInfo(known.node.device.info, info)) {
        this.#handlers.onNodeBack?.(known.node);
        return known.queue;
      }
      this.#remove(known, "ESTALE", `${className}${unit} came back as another medium`);
    }
    if (this.#entries.length >= this.#limits.maxNodes)
      throw new LinkError("PUD_LIMIT", `NODE ${className}${unit}: more than ${this.#limits.maxNodes} nodes`);
    const queue = new NodeQueue(this.#limits);
    const node: HostNode = { className, unit, device: new HostDisk(info, queue) };
    this.#entries.push({ node, queue });
    if (this.#ended !== undefined) queue.close("ENODEV", "the device is being shut down");
    this.#handlers.onNode(node);
    return queue;
  }

  nodeGone(queue: NodeQueue, reason: string): void {
    const entry = this.#entries.find((other) => other.queue === queue);
    if (entry !== undefined) this.#remove(entry, "ENODEV", reason);
  }

  log(entry: LogEntry): void {
    this.#handlers.onLog(entry);
  }

  error(code: string, message: string): void {
    this.#handlers.onError(code, message);
  }

  ready(): void {
    for (const entry of this.#entries.filter(({ queue }) => !queue.bound))
      this.#remove(entry, "ENODEV", "the device did not come back");
    this.#handlers.onReady();
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
    if (this.#lossPolicy === "hold") for (const { queue } of this.#entries) queue.unbind();
    else this.#removeAll(`the rump process was lost: ${error.message}`);
    this.#handlers.onLost(error);
  }

  async #shutDown(timeoutMs: number): Promise<ShutdownResult> {
    if (this.#ended !== undefined) return { clean: false, reason: this.#ended };
    const channel = this.#channel;
    for (const { queue } of this.#entries) queue.close("ENODEV", "the device is being shut down");
    if (channel === undefined) {
      this.abandon("there is no rump process to shut down");
      return { clean: false, reason: "there is no rump process to shut down" };
    }
    this.#ended = "shut down";
    const result = new Promise<ShutdownResult>((settle) => (this.#shutdown = settle));
    const timer = this.#clock.startTimer(timeoutMs, () =>
      this.#finish("shut down", { clean: false, reason: `the rump process did not finish within ${timeoutMs} ms` }),
    );
    await Promise.race([result, Promise.all(this.#entries.map(({ queue }) => queue.whenIdle()))]);
    if (this.#channel === channel) channel.sendShutdown();
    try {
      return await result;
    } finally {
      timer.cancel();
    }
  }

  #finish(reason: string, result: ShutdownResult): void {
    this.#ended ??= reason;
    this.#channel?.destroy();
    this.#channel = undefined;
    this.#removeAll(reason);
    this.#shutdown?.(result);
    this.#shutdown = undefined;
  }

  #removeAll(reason: string): void {
    for (const entry of this.#entries) this.#remove(entry, "ENODEV", reason);
  }

  #remove(entry: Entry, code: DeviceErrorCode, reason: string): void {
    this.#entries = this.#entries.filter((other) => other !== entry);
    entry.queue.end(code, reason);
    this.#handlers.onNodeGone(entry.node, reason);
  }
}

/** The same disk with the same medium, as far as its description tells. */
function sameInfo(a: DiskInfo, b: DiskInfo): boolean {
  return (Object.keys(a) as (keyof DiskInfo)[]).every((key) => a[key] === b[key]);
}
