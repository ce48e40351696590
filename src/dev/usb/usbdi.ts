/**
 * What a class driver sees: its endpoints as pipes, its default pipe, and a place to publish what it made.
 *
 * Outcomes that the specification gives a meaning to (a stall, a short packet) are values; outcomes that end the
 * conversation are a thrown `TransferError`.
 */
import type { Device } from "../../rump/devsw.js";
import type { Clock, LogLevel } from "../../rumpuser/rumpuser.js";
import type { TransferError } from "./errors.js";
import type { Speed, StepConditions } from "./usbdivar.js";

export type { StepCondition, StepConditions } from "./usbdivar.js";

export const DEFAULT_TIMEOUT_MS = 5000;

export interface TransferOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds; 0 = for ever. Default 5000. */
  readonly timeoutMs?: number;
}

/** `data` is freshly allocated and yours; shorter than asked = the device ended with a short packet. */
export interface InCompletion {
  readonly status: "ok" | "stalled";
  readonly data: Uint8Array;
}
export interface OutCompletion {
  readonly status: "ok" | "stalled";
  readonly bytesSent: number;
}

interface Pipe {
  readonly endpointAddress: number;
  readonly maxPacketBytes: number;
  /** Bulk streams that the endpoint has, as it says itself (USB 3.2 §9.6.7); 0 = none. */
  readonly maxStreams: number;
  /** CLEAR_FEATURE(ENDPOINT_HALT), USB 2.0 §9.4.1: also puts the data toggle back to 0. */
  clearHalt(options?: TransferOptions): Promise<void>;
}

/** How one read of a queue ended. `data` is lent for the call or until more is started in it. */
export interface ReadEnd {
  readonly status: "ok" | "stalled" | TransferError;
  readonly data: Uint8Array;
}

/** Reads that follow one another, without a deadline. Those that ended together are told together, in their order. */
export interface ReadQueue {
  /**
   * Queues so many reads more, of so many bytes each: no more than the queue has, with those in flight.
   * @throws RangeError for more, or longer ones.
   */
  start(count: number, bytes: number): void;
  /** Whether answers that repeat the one before are told, too (`repeatBytes`). Off to begin with. */
  tellRepeats(on: boolean): void;
  /** Ends what is in flight, which is told; what it brought until then is lost. */
  cancel(): void;
  /** When nothing is in flight. */
  close(): void;
}

export interface ReadQueueOptions {
  /** In flight at a time, at most, and of how many bytes, at most: that much memory it has. */
  readonly count: number;
  readonly bytes: number;
  /** Answers of at most so many bytes that say what the one before them said need not be told. Default 0: each is. */
  readonly repeatBytes?: number;
}

export interface InPipe extends Pipe {
  readonly direction: "in";
  /** @throws TransferError (timed out, cancelled, disconnected, overflow, I/O). */
  transfer(maxBytes: number, options?: TransferOptions): Promise<InCompletion>;
  /** `told` is called with those that ended together, never from `start` or `cancel`. */
  openReads(options: ReadQueueOptions, told: (ends: readonly ReadEnd[]) => void): ReadQueue;
}

export interface OutPipe extends Pipe {
  readonly direction: "out";
  /** `data` is lent until the promise settles. */
  transfer(data: Uint8Array, options?: TransferOptions & { readonly sendZlp?: boolean }): Promise<OutCompletion>;
}

/** A control request without its length (USB 2.0 §9.3). */
export interface ControlRequest {
  readonly type: "standard" | "class" | "vendor";
  readonly recipient: "device" | "interface" | "endpoint" | "other";
  readonly request: number;
  readonly value: number;
  readonly index: number;
}

export interface ControlPipe {
  in(request: ControlRequest, maxBytes: number, options?: TransferOptions): Promise<InCompletion>;
  out(request: ControlRequest, data?: Uint8Array, options?: TransferOptions): Promise<OutCompletion>;
}

/** One step of a chain on the driver's own pipes. `streamId`: on this bulk stream, of those that were allocated. */
export type PipeStep = StepConditions & { readonly streamId?: number } & (
    | { readonly pipe: OutPipe; readonly data: Uint8Array }
    | { readonly pipe: InPipe; readonly into: Uint8Array }
  );
/** How one step ended. "notStarted": a step of its conditions did not end as it had to. */
export interface StepResult {
  readonly status: "ok" | "stalled" | "notStarted" | "timedOut" | "cancelled" | "disconnected" | "overflow" | "error";
  readonly actualBytes: number;
}

/** What a driver wants of an endpoint. The framework finds it in the descriptors and opens the pipe. */
export interface EndpointNeed {
  readonly type: "bulk" | "interrupt" | "isochronous";
  readonly dir: "in" | "out";
  /** The driver can do without: the pipe is then undefined. */
  readonly optional?: boolean;
  /** It is the one followed by a class-specific descriptor whose bytes after bLength begin so. */
  readonly followedBy?: readonly number[];
}

type PipeFor<N extends EndpointNeed> = N["dir"] extends "in" ? InPipe : OutPipe;
export type PipesFor<E extends Record<string, EndpointNeed>> = {
  readonly [K in keyof E]: E[K] extends { readonly optional: true } ? PipeFor<E[K]> | undefined : PipeFor<E[K]>;
};

/** Ids that a driver is matched by; see match.ts for the ranking. */
export interface MatchRule {
  readonly vendor?: number;
  readonly product?: number;
  /** bcdDevice, exactly. */
  readonly revision?: number;
  readonly deviceClass?: number;
  readonly deviceSubClass?: number;
  readonly deviceProtocol?: number;
  readonly interfaceClass?: number;
  readonly interfaceSubClass?: number;
  readonly interfaceProtocol?: number;
  readonly interfaceNumber?: number;
}

/** What the device says it is, made safe for terminals and logs. */
export interface DeviceIdentity {
  readonly vendor: number;
  readonly product: number;
  /** bcdDevice. */
  readonly revision: number;
  readonly deviceClass: number;
  readonly deviceSubClass: number;
  readonly deviceProtocol: number;
  readonly manufacturer: string;
  readonly productName: string;
  readonly serial: string;
  readonly speed: Speed;
}

export type DriverOptions = Readonly<Record<string, string>>;

/** Another interface of the same configuration, as it says itself. */
export interface SiblingInterface {
  readonly interfaceNumber: number;
  readonly interfaceClass: number;
  readonly interfaceSubClass: number;
  readonly interfaceProtocol: number;
}

/** A device node that was published; `gone` takes it away again. */
export interface PublishedNode {
  readonly name: string;
  remove(reason: string): void;
}

/** Everything that one attach may use. Ends with the device or the driver. */
export interface Attachment<P> {
  /** "umass0". */
  readonly name: string;
  readonly identity: DeviceIdentity;
  readonly interfaceNumber: number;
  /** bInterfaceProtocol of each alternate setting of the interface. */
  readonly interfaceProtocols: readonly number[];
  /**
   * A process that drove the device before was ended in the middle of it, and the device was not reset since: it may wait
   * for data, have some to send, or be halted.
   */
  readonly interrupted: boolean;
  /** Class-specific descriptors of this interface, in wire order. */
  readonly extraDescriptors: readonly Uint8Array[];
  /** The other interfaces of the configuration in order of their numbers, whether or not a driver has them. */
  readonly siblings: readonly SiblingInterface[];
  /** What the user asks of this driver; it says which keys it knows, and ignores what it does not. */
  readonly options: DriverOptions;
  readonly pipes: P;
  readonly control: ControlPipe;
  readonly clock: Clock;
  /**
   * Aborted when the device goes or the driver is detached. Transfers do not end with it: a driver that is detached in
   * good order still flushes in its undos. When the device has gone every transfer ends as disconnected by itself.
   */
  readonly signal: AbortSignal;
  /**
   * Submits the steps with their conditions and reports once, when none is in flight. The memory of every step is lent
   * until then. On a timeout, an abort or an unplug the steps in flight are cancelled and say so; it never rejects.
   */
  runChain(steps: readonly PipeStep[], options?: TransferOptions): Promise<readonly StepResult[]>;
  /**
   * Lets the bus rest: what has ended is told so many milliseconds later, all of it together; 0 ends that. Does nothing where
   * another driver has a part of the device, which would have to wait as well.
   */
  rest(ms: number): void;
  /**
   * Takes another interface of the device, for a function that is spread over several, and opens its pipes. It goes back
   * when the driver is detached. The first alternate setting that has the endpoints is selected.
   * @throws UnsupportedError: no such interface, another driver has it, or an endpoint is missing.
   */
  takeSibling<const E extends Record<string, EndpointNeed>>(
    interfaceNumber: number,
    endpoints: E,
  ): Promise<PipesFor<E>>;
  /**
   * Selects the alternate setting of this interface that has the protocol, and opens its pipes. Those of the setting before
   * are not to be used any more.
   * @throws UnsupportedError: no such setting, or an endpoint is missing. TransferError, ProtocolError: it cannot be selected.
   */
  useAlternate<const E extends Record<string, EndpointNeed>>(
    interfaceProtocol: number,
    endpoints: E,
  ): Promise<PipesFor<E>>;
  /**
   * Bulk streams 1..n on each of the pipes; gone after a reset of the device, and given back at detach.
   * @returns how many, at most `count`; 0: the controller has none, or one of the endpoints has none.
   * @throws TransferError USB_DISCONNECTED
   */
  allocStreams(pipes: readonly (InPipe | OutPipe)[], count: number): Promise<number>;
  /** Puts a device into the device switch under `className` and the next free unit ("sd" → sd0). */
  publish(className: string, device: Device): PublishedNode;
  /** Registers an undo; they run in reverse order at detach, also when attach fails half-way. */
  onDetach(undo: () => void | Promise<void>): void;
  log(level: LogLevel, message: string): void;
  /**
   * Says which of the ways in which it can drive the device the driver has taken, and why: `overlap (default)`. Counts until the
   * first node is published.
   */
  tellMode(mode: string): void;
  /**
   * Says that the device went wrong as it was driven, and in which mode it shall be driven by the processes that come after this
   * one: a word of the host's (`--mode`), which it passes to their drivers as options, with the reason as the option `because`.
   */
  tellDemotion(mode: string, reason: string): void;
  /** 32 random bits. */
  random32(): number;
  /** A port reset of the whole device; the last step of recovery. Rejects when the device does not come back. */
  resetDevice(): Promise<void>;
}

/** A control request that a driver sends (USB 2.0 §9.3). */
export interface RequestRule extends Pick<ControlRequest, "type" | "recipient" | "request"> {
  readonly direction: "in" | "out";
  /** wValue, exactly; left out: any. */
  readonly value?: number;
}

export interface Driver<E extends Record<string, EndpointNeed> = Record<string, EndpointNeed>> {
  readonly name: string;
  readonly match: readonly MatchRule[];
  /** Of drivers whose rules say as much of a device, the one with more goes first. Default 0. */
  readonly preference?: number;
  readonly endpoints: E;
  /**
   * The class and vendor requests that the driver sends on the default pipe; the stack refuses every other
   * (request-guard.ts). Left out: all may be sent.
   */
  readonly requests?: readonly RequestRule[];
  /** Resolves when the device is in use. @throws UnsupportedError to leave it to the next driver. */
  attach(at: Attachment<PipesFor<E>>): Promise<void>;
}

/** Types `attach` by the endpoints that the driver declares: a pipe that is not declared does not compile. */
export function defineDriver<const E extends Record<string, EndpointNeed>>(driver: Driver<E>): Driver<E> {
  return driver;
}
