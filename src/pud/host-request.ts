/** One request of a link, from the call on a `HostDisk` until its promise settles. */
import { DeviceError, type DeviceErrorCode } from "../rump/devsw.js";
import { NO_BYTES } from "./channel.js";
import type { Kind } from "./frames.js";

/** What a request asks; what is left out is 0 or nothing. */
export interface RequestFields {
  readonly kind: Kind;
  readonly firstBlock?: number;
  readonly blockCount?: number;
  readonly flags?: number;
  /** The caller's memory; referenced until the request settles and possibly sent more than once. */
  readonly payload?: Uint8Array;
  /** The payload that a successful reply must have. */
  readonly replyBytes?: number;
  /** Asked by the host itself: not sent again to another rump process. */
  readonly isOwn?: boolean;
}

export class DiskRequest {
  readonly kind: Kind;
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly flags: number;
  readonly replyBytes: number;
  readonly isOwn: boolean;
  /** Payload either way: what it counts against the limits of its node. */
  readonly bytes: number;
  /** Resolves with the reply's payload. Rejects with a DeviceError. */
  readonly result: Promise<Uint8Array>;
  /** While it is in flight: how the channel in use names it. */
  requestId = 0;
  nodeNumber = 0;
  /** How many channels were lost while it was in flight. */
  losses = 0;
  /** The caller has given up. */
  cancelled = false;
  /** Answered with ENODEV: it waits until it is known whether the device comes back. */
  isOrphan = false;
  /** FLUSH: up to where the journal is on the medium when it is answered. */
  journalMark = 0;
  #payload: Uint8Array;
  #settled = false;
  #resolve: (data: Uint8Array) => void = () => {};
  #reject: (error: DeviceError) => void = () => {};
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;

  constructor(fields: RequestFields) {
    this.kind = fields.kind;
    this.firstBlock = fields.firstBlock ?? 0;
    this.blockCount = fields.blockCount ?? 0;
    this.flags = fields.flags ?? 0;
    this.replyBytes = fields.replyBytes ?? 0;
    this.isOwn = fields.isOwn ?? false;
    this.#payload = fields.payload ?? NO_BYTES;
    this.bytes = this.#payload.length + this.replyBytes;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Somebody may give up on it. */
  get cancellable(): boolean {
    return this.#signal !== undefined;
  }

  get payload(): Uint8Array {
    return this.#payload;
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** Calls `aborted` at most once, when the signal fires before the request has settled. */
  watch(signal: AbortSignal, aborted: () => void): void {
    this.#signal = signal;
    this.#onAbort = () => {
      this.cancelled = true;
      aborted();
    };
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  succeed(data: Uint8Array): void {
    if (this.#settle()) this.#resolve(data);
  }

  fail(code: DeviceErrorCode, message: string): void {
    if (this.#settle()) this.#reject(new DeviceError(code, message));
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#payload = NO_BYTES;
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener("abort", this.#onAbort);
    return true;
  }
}
