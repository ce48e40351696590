/**
 * What a host controller implements: the waist between the stack and the bus.
 *
 * Three controllers: ugenhc (libusb), usbip (a USB/IP server), vhc (device models in this process). They take transfers
 * addressed to a device, or a short chain of them, and offer root-hub ports; everything else is the stack's. Timeouts
 * are the stack's too: it cancels.
 */
import type { Speed, TransferStatus, TransferType } from "../../rumpuser/rumpuser.js";

export type { Speed, TransferStatus, TransferType } from "../../rumpuser/rumpuser.js";

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
}

export interface HcCompletion {
  readonly status: TransferStatus;
  /** Bytes of `data` that moved, also when the status is not "ok". */
  readonly actualBytes: number;
  readonly isoPackets?: readonly { readonly status: TransferStatus; readonly actualBytes: number }[];
}

/** A transfer with the condition under which it starts. */
export interface ChainStep {
  readonly transfer: HcTransfer;
  /**
   * Index of an earlier step that must have ended "ok" with at least `minBytes` before this one is submitted;
   * without it the step is submitted at once.
   */
  readonly after?: { readonly step: number; readonly minBytes: number };
}

/** The completion of each step in order; undefined for one that was never started. */
export type ChainResult = readonly (HcCompletion | undefined)[];

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
   * Transfers on one endpoint complete in the order of their submission.
   * @returns asks for cancellation; the completion still comes.
   */
  submit(transfer: HcTransfer, done: (completion: HcCompletion) => void): () => void;
  /**
   * Runs the steps to their end and reports once. A step that does not end "ok" keeps the steps that wait for it from
   * starting; steps already in flight run on. `done` is called when nothing is in flight any more.
   * @returns asks for cancellation of whatever is in flight.
   */
  submitChain(steps: readonly ChainStep[], done: (result: ChainResult) => void): () => void;
  /** Takes an interface from the host OS before its endpoints are used. Rejects with TransferError USB_IO. */
  claimInterface(address: number, interfaceNumber: number): Promise<void>;
  releaseInterface(address: number, interfaceNumber: number): Promise<void>;
  /** Ends everything in flight as "disconnected" and lets go of the device. */
  close(): Promise<void>;
}
