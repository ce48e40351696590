/** One request of a link on a disk. */
import type { DeviceErrorCode } from "../rump/devsw.js";
import type { Kind } from "./frames.js";
import type { DiskQueue } from "./host-disk-queue.js";
import { HostRequest } from "./host-request.js";

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
  /** Of RequestOptions. */
  readonly isWanted?: (() => boolean) | undefined;
}

const always = (): boolean => true;

export class DiskRequest extends HostRequest {
  readonly isOwn: boolean;
  readonly isWanted: () => boolean;
  /** Payload either way: what it counts against the limits of its node. */
  readonly bytes: number;
  /** Answered with ENODEV: it waits until it is known whether the device comes back. */
  isOrphan = false;
  /** FLUSH: up to where the journal is on the medium when it is answered. */
  journalMark = 0;
  /** READ: how many changes of the medium were answered before it was sent. */
  changesBefore = 0;
  readonly #queue: DiskQueue;

  constructor(
    { firstBlock = 0, blockCount = 0, isOwn = false, isWanted = always, ...fields }: RequestFields,
    queue: DiskQueue,
  ) {
    super({ ...fields, offset: firstBlock, count: blockCount });
    this.isOwn = isOwn;
    this.isWanted = isWanted;
    this.bytes = this.payload.length + this.replyBytes;
    this.#queue = queue;
  }

  get firstBlock(): number {
    return this.offset;
  }

  get blockCount(): number {
    return this.count;
  }

  replyMemory(bytes: number): Uint8Array {
    return this.#queue.buffers.take(bytes);
  }

  answered(failure: DeviceErrorCode | undefined, payload: Uint8Array): void {
    this.#queue.answered(this, failure, payload);
  }
}
