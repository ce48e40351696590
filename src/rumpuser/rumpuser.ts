/**
 * Hypercalls: everything a rump kernel may ask of the world outside it.
 *
 * Two implementations: `real/` (Node and the addon) and `simulated.ts` (virtual clock, seeded randomness). Nothing in
 * rump/ or dev/ reaches outside by any other way, so the same kernel runs on either.
 */

/** An implementation made for another version is refused at boot. */
export const RUMPUSER_VERSION = 1;

export interface Rumpuser {
  readonly version: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: LogSink;
  /** Loads a driver's module. After the process is locked nothing can be loaded any more. */
  loadComponent(specifier: string): Promise<unknown>;
}

export interface Clock {
  /** Monotonic milliseconds; only differences mean something. */
  nowMs(): number;
  /** Calls `fire` once, `delayMs` from now, unless cancelled before. Never calls it synchronously. */
  startTimer(delayMs: number, fire: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

export interface Random {
  /** Fills the array with random bytes. */
  fill(bytes: Uint8Array): void;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** One entry of the event log: who says it (`umass0`), how loud, and what. */
export interface LogEntry {
  readonly level: LogLevel;
  readonly source: string;
  readonly message: string;
}

export interface LogSink {
  write(entry: LogEntry): void;
}

/** A stream of bytes to one peer: the pud channel, or the connection to a USB/IP server. */
export interface ByteStream {
  /** Installs the reader. `chunk` is lent for the duration of the call: copy what you keep. */
  onData(read: (chunk: Uint8Array) => void): void;
  /** Called once, when the peer has gone or `close` was called. Nothing is delivered afterwards. */
  onClose(closed: (reason: string) => void): void;
  /** Called each time buffered output falls back under the limit after `write` said false. */
  onDrain(drained: () => void): void;
  /**
   * Sends the parts in order. The memory is lent until it is sent: do not change it afterwards.
   * @param sent  Called when the memory is not needed any more; not after the stream has broken, and not by every stream.
   * @returns false when more is buffered than is sensible; go on after `onDrain`.
   */
  write(parts: readonly Uint8Array[], sent?: () => void): boolean;
  /** Stops delivery (back-pressure) until `resume`. */
  pause(): void;
  resume(): void;
  /** Sends what is buffered, then ends the stream. */
  close(): void;
  /** Ends the stream at once; what is buffered is lost. */
  destroy(): void;
}

export const TRANSFER_STATUSES = [
  "ok",
  "error",
  "timedOut",
  "cancelled",
  "stalled",
  "disconnected",
  "overflow",
] as const;
/** How a transfer ended, as the controller saw it. Each libusb status keeps its own word. */
export type TransferStatus = (typeof TRANSFER_STATUSES)[number];

export type Speed = "low" | "full" | "high" | "super" | "superPlus";
export type TransferType = "control" | "isochronous" | "bulk" | "interrupt";

/** A transfer for the USB port. Control transfers carry the 8 setup bytes apart from the data. */
export interface PortTransfer {
  readonly type: TransferType;
  /** With the direction bit (81h = IN 1); 0 for the default pipe. */
  readonly endpointAddress: number;
  readonly setup?: Uint8Array;
  /** OUT: what to send. IN: the memory to fill. Pinned and not to be touched until the completion. */
  readonly data: Uint8Array;
  /** Isochronous: bytes of each packet, in order; their sum is at most `data.length`. */
  readonly isoPacketBytes?: readonly number[];
  /** OUT: end an exact multiple of the packet size with a zero-length packet. */
  readonly sendZlp?: boolean;
  /** Bulk streams (USB 3): 1 and up. */
  readonly streamId?: number;
}

export interface PortCompletion {
  readonly status: TransferStatus;
  readonly actualBytes: number;
  readonly isoPackets?: readonly { readonly status: TransferStatus; readonly actualBytes: number }[];
}

/** How an earlier step of a chain has to end: "ok", having moved from `minBytes` to `maxBytes` bytes. */
export interface StepCondition {
  /** Index of the earlier step. */
  readonly step: number;
  readonly minBytes: number;
  /** Left out: no limit. */
  readonly maxBytes?: number;
}

/** When a step of a chain runs. A step without `after` is submitted at once. */
export interface StepConditions {
  /** Submitted as soon as the other has ended so; never, when it ended otherwise. */
  readonly after?: StepCondition | undefined;
  /** Cancelled, or not submitted, as soon as the other has ended otherwise. That one must have no `after`. */
  readonly with?: StepCondition | undefined;
}

/** A bulk or interrupt transfer with its conditions. */
export interface PortChainStep extends StepConditions {
  readonly transfer: PortTransfer;
}

/** The completion of each step in order; undefined for one that was never submitted. */
export type PortChainResult = readonly (PortCompletion | undefined)[];

/** A longer chain is refused. */
export const MAX_CHAIN_STEPS = 8;

/** Reads on an IN endpoint that follow one another: bulk or interrupt. */
export interface PortReads {
  readonly endpointAddress: number;
  readonly type: "bulk" | "interrupt";
  /** Slots, one after another, each with the memory of one read; 1 to 256. Lent until the reads are closed. */
  readonly memory: Uint8Array;
  readonly slotBytes: number;
  /**
   * An answer of at most so many bytes (16 at most) that says what the one before it said may be kept, and its read queued again: a
   * device that repeats itself wakes nobody. Not one in the way, which comes within half a millisecond. 0: each is told.
   */
  readonly repeatBytes: number;
}

/** How the read in a slot ended. */
export interface PortReadEnd {
  readonly slot: number;
  readonly status: TransferStatus;
  readonly actualBytes: number;
}

export interface PortReadQueue {
  /** Queues a read of so many bytes in a slot that is not in flight. What is refused ends with its status. */
  start(slot: number, bytes: number): void;
  /** While it is on each answer is told, whatever `repeatBytes` is. */
  tellRepeats(on: boolean): void;
  /** Asks for the cancellation of what is in flight; the ends still come. */
  cancel(): void;
  /** Nothing is in flight, or the device has gone: what is then ends with the port. */
  close(): void;
}

/** One USB device of the host, reached through a descriptor that was opened elsewhere. */
export interface UsbPort {
  readonly speed: Speed;
  /**
   * Queues a transfer; several may be in flight on one endpoint.
   * @returns a function that asks for cancellation; the completion still comes, exactly once.
   * Errors at submission also arrive as a completion, never synchronously.
   */
  submit(transfer: PortTransfer, done: (completion: PortCompletion) => void): () => void;
  /**
   * Runs at most `MAX_CHAIN_STEPS` transfers to their end and reports once, when none is in flight: a step that waits is
   * submitted by the completion of the one it waits for, with no turn of JavaScript between. What is refused at submission
   * has its status in the result.
   * @returns cancels what is in flight, the last first, and keeps the rest from being submitted; `done` still comes, once.
   * @throws RangeError for a chain that cannot be: no step or too many, a condition on a later step, nothing that starts.
   */
  submitChain(steps: readonly PortChainStep[], done: (result: PortChainResult) => void): () => void;
  /** The configuration the OS has selected; 0 = not configured. */
  configuration(): Promise<number>;
  setConfiguration(value: number): Promise<PortResult>;
  claimInterface(interfaceNumber: number): Promise<PortResult>;
  releaseInterface(interfaceNumber: number): Promise<PortResult>;
  setInterface(interfaceNumber: number, alternateSetting: number): Promise<PortResult>;
  clearHalt(endpointAddress: number): Promise<PortResult>;
  /**
   * Bulk streams 1..n on each of the endpoints (USB 3.2 §4.4.6.4); gone with the alternate setting and with every reset.
   * @returns how many there are, at most `count`, or why none.
   */
  allocStreams(count: number, endpointAddresses: readonly number[]): Promise<number | PortResult>;
  freeStreams(endpointAddresses: readonly number[]): Promise<PortResult>;
  /** Resets the device's port. "notFound" = it came back as another device. */
  reset(): Promise<PortResult>;
  /**
   * Opens reads. `told` is called with those that ended together, in the order in which they were started, never from `start` or
   * `cancel`. Left out: reads are transfers like any other.
   */
  openReads?(reads: PortReads, told: (ends: readonly PortReadEnd[]) => void): PortReadQueue;
  /** True: completions and the end of the device are told when it is false again. Left out: they always are at once. */
  holdBack?(on: boolean): void;
  /** Called once, when the device has gone. */
  onDisconnect(gone: () => void): void;
  close(): void;
}

export const PORT_RESULTS = [
  "ok",
  "io",
  "invalid",
  "access",
  "disconnected",
  "notFound",
  "busy",
  "timedOut",
  "overflow",
  "stalled",
  "interrupted",
  "noMemory",
  "unsupported",
  "other",
] as const;
/** How a call on the port ended: one word for each libusb error. */
export type PortResult = (typeof PORT_RESULTS)[number];
