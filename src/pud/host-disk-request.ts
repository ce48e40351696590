/** One request of a link on a disk. */
import type { DeviceErrorCode } from "../rump/devsw.js";
import type { DiskQueue } from "./host-disk-queue.js";
import { type FrameFields, HostRequest } from "./host-request.js";

/** `offset` and `count` are the first block and the number of blocks. */
export interface RequestFields extends FrameFields {
  /** Asked by the host itself: not sent again to another rump process. */
  readonly isOwn?: boolean;
  /** Of RequestOptions. */
  readonly isWanted?: (() => boolean) | undefined;
  /** Of RequestOptions. Left out: the same for all. */
  readonly client?: object | undefined;
}

const always = (): boolean => true;

export class DiskRequest extends HostRequest {
  readonly isOwn: boolean;
  readonly isWanted: () => boolean;
  readonly client: object;
  /** Payload either way: what it counts against the limits of its node. */
  readonly bytes: number;
  /** Answered with ENODEV: it waits until it is known whether the device comes back. */
  isOrphan = false;
  /** FLUSH: up to where the journal is on the medium when it is answered. */
  journalMark = 0;
  /** READ: how many changes of the medium were answered before it was sent. */
  changesBefore = 0;
  readonly #queue: DiskQueue;

  constructor(fields: RequestFields, queue: DiskQueue) {
    super(fields);
    this.isOwn = fields.isOwn ?? false;
    this.isWanted = fields.isWanted ?? always;
    this.client = fields.client ?? queue;
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
