/**
 * The host's half of a device node: what depends on the kind of device, behind one interface. The host (host.ts) and its
 * channels (host-channel.ts) know nothing else of a node.
 */
import type { DeviceErrorCode, Disk, Tty } from "../rump/devsw.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import type { FrameHeader } from "./frames.js";
import type { HostChannel } from "./host-channel.js";
import type { HostLine } from "./host-tty-line.js";

/** What a node of a kind that pud carries is to a link. */
export type HostDevice = Disk | Tty;

/**
 * A driver's ENODEV may be followed by the end of its process: then the device has gone, may come back, and what was asked is
 * held. If it is not within this time, ENODEV was the answer.
 */
export const DEPARTURE_MS = 1_000;

export interface NodeLimits {
  /** Requests of one node in flight at most. Not above MAX_NODE_REQUESTS. */
  readonly maxNodeRequests: number;
  /** Payload bytes, either way, that they stand for; one request may always go. Not above MAX_NODE_BYTES. */
  readonly maxNodeBytes: number;
  /**
   * Requests of one node that wait to be sent; one more is answered EBUSY. A last resort: the links bound what they ask
   * for at a time, far below this.
   */
  readonly maxQueuedRequests: number;
  /** A request that was in flight when so many channels were lost is answered EIO: it may be what kills the driver. */
  readonly maxLosses: number;
}

/** The code of serial lines that somebody has open: a host of disks alone does not need it. */
export type LoadTtyLine = () => Promise<typeof HostLine>;

/** What a half has besides what its device is. */
export interface NodeContext {
  readonly clock: Clock;
  readonly limits: NodeLimits;
  /** Counts requests that a driver has answered, one way or the other, and other work that is done for good. */
  readonly onAnswered: () => void;
  /** Nodes also outlive an unplug; for each acknowledged writes are kept up to so many bytes. */
  readonly replug: { readonly journalBytes: number } | undefined;
  readonly loadTtyLine: LoadTtyLine;
}

/**
 * How taking a device back went. "lost": the channel ended meanwhile; nothing is known. Otherwise why the node cannot be
 * served again; "" when it can, and then it is.
 */
export type Readmission = "lost" | { readonly refusal: string };

export interface NodeHalf {
  /** What links serve. Ends with the node. */
  readonly device: HostDevice;
  /** A process is not taken for hanging before it was silent so long, where another one in its place would cost something. */
  readonly patienceMs: number;
  /** A channel serves the node. */
  readonly bound: boolean;
  /** The node is new here: what is asked goes to this channel. */
  begin(channel: HostChannel, nodeNumber: number): void;
  /**
   * Another process has announced the node: what waits is asked of it.
   * @param isDoubtful  The device may have lost power meanwhile, or be another of the same description.
   * @returns undefined: it is served; else what a look at the device says, before anything that waits is asked.
   */
  resume(channel: HostChannel, nodeNumber: number, isDoubtful: boolean): Promise<Readmission> | undefined;
  /**
   * Nobody serves the node and it stays: everything unanswered waits to be asked again.
   * @param isLoss  The process died of something, perhaps of what it was asked; otherwise the device has gone.
   */
  unbind(isLoss: boolean): void;
  /** The channel takes data again. */
  pump(): void;
  /** A frame of the node's own, which answers nothing, is about to come. @throws LinkError when it cannot be. */
  admit(header: FrameHeader): void;
  /** It is whole; the payload is the half's now. @throws LinkError */
  take(header: FrameHeader, payload: Uint8Array): void;
  /** Refuses with this code what is asked from now on; what is there goes on. Only the first reason counts. */
  close(code: DeviceErrorCode, reason: string): void;
  /** The node has gone: everything is answered with this code, now and later. */
  end(code: DeviceErrorCode, reason: string): void;
  /** Resolves when everything has been answered. */
  whenIdle(): Promise<void>;
}
