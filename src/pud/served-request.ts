/** The server's view of one request, and of the device that answers it. */
import { DeviceError, type WriteOptions } from "../rump/devsw.js";
import { FLAG_CANCELLABLE, FLAG_FUA, type FrameHeader, type Kind, KINDS, STATUS_NUMBERS } from "./frames.js";

/** A request while the driver has it. The first answer counts; what the driver says after a removal does not. */
export class ServedRequest {
  readonly requestId: number;
  readonly node: number;
  readonly kind: number;
  readonly offset: number;
  readonly count: number;
  /** The data of a write. Nobody else holds this memory, so the driver gets it as it is. */
  readonly payload: Uint8Array;
  /** The slot of the shared memory that has its data, or gets them, until it is answered: all of it. */
  readonly slot: Uint8Array | undefined;
  /** What the driver is given besides. */
  readonly options: WriteOptions;
  #answered = false;
  readonly #controller: AbortController | undefined;

  constructor(header: FrameHeader, payload: Uint8Array, slot?: Uint8Array) {
    this.requestId = header.requestId;
    this.node = header.node;
    this.kind = header.kind;
    this.offset = header.offset;
    this.count = header.count;
    this.payload = payload;
    this.slot = slot;
    const forceUnitAccess = (header.flags & FLAG_FUA) !== 0;
    this.#controller = (header.flags & FLAG_CANCELLABLE) === 0 ? undefined : new AbortController();
    this.options =
      this.#controller === undefined ? { forceUnitAccess } : { forceUnitAccess, signal: this.#controller.signal };
  }

  /** True for the first caller only, who then sends the reply. */
  claim(): boolean {
    if (this.#answered) return false;
    this.#answered = true;
    return true;
  }

  /** Asks the driver to stop, where the host has said that it might. The answer still comes from the driver. */
  cancel(): void {
    this.#controller?.abort();
  }
}

/** A published device in the server's hands: what depends on its kind. */
export interface ServedDevice {
  /** What the answer may take in memory, besides the payload that is there. */
  replyBytes(request: ServedRequest): number;
  /**
   * Runs one request.
   * @returns the reply's payload.
   * @throws DeviceError the request cannot be, or the driver said so.
   * @throws Error the driver broke the contract of its kind.
   */
  serve(request: ServedRequest): Promise<Uint8Array>;
  /** The reply to this request has been handed to the channel. */
  replied?(request: ServedRequest): void;
  /** A reply with this payload has left. */
  sent?(payload: Uint8Array): void;
  /** A frame that is not answered. */
  notice?(header: FrameHeader): void;
  /** The channel takes data again. */
  writable?(): void;
  /** The node is taken away, or the process is about to end: what waits for the outside is given up. */
  hangUp?(): void;
  /** The last step before the driver is detached: nothing is in progress. */
  settle(): Promise<void>;
}

/** What is asked of a device and answered with REPLY, by kind of device. */
export const DISK_REQUESTS: readonly Kind[] = [KINDS.read, KINDS.write, KINDS.flush, KINDS.trim, KINDS.writeZeroes];
export const TTY_REQUESTS: readonly Kind[] = [
  KINDS.ttyOpen,
  KINDS.ttyClose,
  KINDS.ttyConfigure,
  KINDS.ttyOutputs,
  KINDS.ttyBreak,
  KINDS.ttyStatus,
  KINDS.ttyLatency,
  KINDS.ttyWrite,
  KINDS.ttyDrain,
  KINDS.ttyFlush,
];

/** The status that tells of this failure. What is no DeviceError has no number of its own: EIO. */
export function statusOf(error: unknown): number {
  return error instanceof DeviceError ? STATUS_NUMBERS[error.code] : STATUS_NUMBERS.EIO;
}
