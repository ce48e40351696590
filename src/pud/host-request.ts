/** One request to a rump process, from the call on a host's device until its promise settles. */
import { DeviceError, type DeviceErrorCode } from "../rump/devsw.js";
import { NO_BYTES } from "./channel.js";
import type { Kind } from "./frames.js";

/** What a request asks; what is left out is 0 or nothing. */
export interface FrameFields {
  readonly kind: Kind;
  readonly flags?: number;
  readonly offset?: number;
  readonly count?: number;
  /** The caller's memory; referenced until the request settles and possibly sent more than once. */
  readonly payload?: Uint8Array;
  /** The payload that a successful reply must have. */
  readonly replyBytes?: number;
}

export abstract class HostRequest {
  readonly kind: Kind;
  readonly flags: number;
  readonly offset: number;
  readonly count: number;
  readonly replyBytes: number;
  /** Resolves with the reply's payload. Rejects with a DeviceError. */
  readonly result: Promise<Uint8Array>;
  /** While it is in flight: how the channel in use names it. */
  requestId = 0;
  nodeNumber = 0;
  /** While it is in flight: the slot of the shared memory that has its data; 0 = they travel in frames. */
  slot = 0;
  /** How many channels were lost while it was in flight. */
  losses = 0;
  /** The caller has given up. */
  cancelled = false;
  #payload: Uint8Array;
  #settled = false;
  #resolve: (data: Uint8Array) => void = () => {};
  #reject: (error: DeviceError) => void = () => {};
  #unwatch: (() => void) | undefined;

  constructor(fields: FrameFields) {
    this.kind = fields.kind;
    this.flags = fields.flags ?? 0;
    this.offset = fields.offset ?? 0;
    this.count = fields.count ?? 0;
    this.replyBytes = fields.replyBytes ?? 0;
    this.#payload = fields.payload ?? NO_BYTES;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Memory of exactly so many bytes for a reply's payload; their number has been checked. */
  abstract replyMemory(bytes: number): Uint8Array;

  /** The reply has come: the payload it asked for, or why it failed, laid out as its kind of device does. */
  abstract answered(failure: DeviceErrorCode | undefined, payload: Uint8Array): void;

  /** Somebody may give up on it. */
  get cancellable(): boolean {
    return this.#unwatch !== undefined;
  }

  get payload(): Uint8Array {
    return this.#payload;
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** Calls `aborted` at most once, when the signal fires before the request has settled. */
  watch(signal: AbortSignal, aborted: () => void): void {
    const onAbort = (): void => {
      this.cancelled = true;
      aborted();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    this.#unwatch = () => signal.removeEventListener("abort", onAbort);
  }

  succeed(data: Uint8Array): void {
    if (this.#settle()) this.#resolve(data);
  }

  fail(code: DeviceErrorCode, message: string): void {
    this.reject(new DeviceError(code, message));
  }

  reject(error: DeviceError): void {
    if (this.#settle()) this.#reject(error);
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#payload = NO_BYTES;
    this.#unwatch?.();
    return true;
  }
}
