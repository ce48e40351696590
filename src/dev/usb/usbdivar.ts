/**
 * What a host controller implements: the waist between the stack and the bus.
 *
 * Three controllers: ugenhc (libusb), usbip (a USB/IP server), vhc (device models in this process). They take transfers
 * addressed to a device, or a short chain of them, and offer root-hub ports; everything else is the stack's. Timeouts
 * are the stack's too: it cancels.
 */
import type { PortReads, Speed, StepConditions, TransferStatus, TransferType } from "../../rumpuser/rumpuser.js";

export type { Speed, StepCondition, StepConditions, TransferStatus, TransferType } from "../../rumpuser/rumpuser.js";

export interface HcTransfer {
  /** Bus address; 0 = the device that was just reset (USB 2.0 §9.1.1.4). */
  readonly address: number;
  /** With the direction bit (81h = IN 1); 0 for the default pipe. */
  readonly endpointAddress: number;
  readonly type: TransferType;
  /** Control only: the 8 setup bytes (USB 2.0 §9.3). */
  readonly setup?: Uint8Array;
  /** OUT: the bytes to send. IN: the memory to fill. Lent until the completion. */
  readonly data: Uint8Array;
  /** Isochronous: bytes of each packet, in order. */
  readonly isoPacketBytes?: readonly number[];
  /** OUT: end an exact multiple of the packet size with a zero-length packet. */
  readonly sendZlp?: boolean;
  /** Bulk streams (USB 3.2 §4.4.6.4): 1 and up, of those that were allocated. Left out: the endpoint has none. */
  readonly streamId?: number;
}

export interface HcCompletion {
  readonly status: TransferStatus;
  /** Bytes of `data` that moved, also when the status is not "ok". */
  readonly actualBytes: number;
  readonly isoPackets?: readonly { readonly status: TransferStatus; readonly actualBytes: number }[];
}

/** A transfer with the conditions under which it runs. */
export interface ChainStep extends StepConditions {
  readonly transfer: HcTransfer;
}

/** The completion of each step in order; undefined for one that was never started. */
export type ChainResult = readonly (HcCompletion | undefined)[];

/** Reads on an IN endpoint that follow one another. Told as they end, those that ended together at once. */
export interface HcReads extends PortReads {
  /** As in HcTransfer. */
  readonly address: number;
}

/** How a read ended. `data` is in the slot, and lent for the call or until more is started in it. */
export interface HcReadEnd {
  readonly status: TransferStatus;
  readonly data: Uint8Array;
}

/** An open queue of reads. */
export interface HcReadQueue {
  /**
   * Queues so many reads more of so many bytes each, in free slots: all at first, and then those of which it was told how they ended.
   * @throws RangeError for more than are free, and for more bytes than a slot has.
   */
  start(count: number, bytes: number): void;
  /** While it is on, what repeats the answer before is told like any other (`repeatBytes`). Off to begin with. */
  tellRepeats(on: boolean): void;
  /** Asks for the cancellation of what is in flight; the ends still come. */
  cancel(): void;
  /** Nothing is in flight, and nothing will be. */
  close(): void;
}

export interface RootPortStatus {
  readonly connected: boolean;
  readonly enabled: boolean;
  readonly speed: Speed;
  /** Set since `acknowledge` was called last. */
  readonly connectChanged: boolean;
  readonly resetChanged: boolean;
}

/** The ports of the root hub. `roothub.ts` makes a hub (USB 2.0 ch. 11) out of them. Ports count from 1. */
export interface RootPorts {
  readonly count: number;
  status(port: number): RootPortStatus;
  /** Resets what is plugged in; resolves when it may be addressed. Sets resetChanged. Never rejects. */
  reset(port: number): Promise<void>;
  disable(port: number): void;
  acknowledge(port: number, change: "connect" | "reset"): void;
  /** One listener: called whenever a change bit is set. */
  onChange(changed: () => void): void;
}

export interface HostController {
  /** "ugenhc0". */
  readonly name: string;
  readonly ports: RootPorts;
  /**
   * Starts a transfer. `done` is called exactly once and never synchronously, also for a transfer that cannot start.
   * Transfers on one endpoint complete in the order of their submission, those with streams within their stream.
   * @returns asks for cancellation; the completion still comes.
   */
  submit(transfer: HcTransfer, done: (completion: HcCompletion) => void): () => void;
  /**
   * Runs at most 8 steps to their end and reports once. A step that does not end as `after` says keeps the one that waits
   * for it from starting; one in flight `with` it is cancelled; others run on. `done` is called once and never
   * synchronously, when nothing is in flight any more.
   * @returns asks for cancellation of whatever is in flight, the last first: what was queued behind a transfer must not
   * take its place.
   * @throws RangeError for a chain that cannot be (chain.ts, `checkChain`).
   */
  submitChain(steps: readonly ChainStep[], done: (result: ChainResult) => void): () => void;
  /**
   * Opens a queue of reads. `told` is called with those that ended together, in the order in which they were queued, never from
   * `start` or `cancel`, and also with those that could not be queued. A controller without it gets one made of `submit` (reads.ts).
   */
  openReads?(reads: HcReads, told: (ends: readonly HcReadEnd[]) => void): HcReadQueue;
  /**
   * What has ended may be told so many milliseconds later, together with what else has ended by then; 0 ends that. A
   * controller without it tells everything at once.
   */
  rest?(ms: number): void;
  /** Takes an interface from the host OS before its endpoints are used. Rejects with TransferError USB_IO. */
  claimInterface(address: number, interfaceNumber: number): Promise<void>;
  releaseInterface(address: number, interfaceNumber: number): Promise<void>;
  /**
   * Bulk streams 1..n on each of the endpoints, whose interface is claimed and whose alternate setting is selected. They are
   * gone with the setting, the configuration and every reset.
   * @returns how many there are, at most `count`; 0: this bus has none, or these endpoints have none.
   * @throws TransferError USB_DISCONNECTED
   */
  allocStreams(address: number, endpointAddresses: readonly number[], count: number): Promise<number>;
  /** Gives them back; what is gone already is no error. */
  freeStreams(address: number, endpointAddresses: readonly number[]): Promise<void>;
  /** Ends everything in flight as "disconnected" and lets go of the device. */
  close(): Promise<void>;
}
