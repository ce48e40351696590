/** One request of a link on a disk. */
import type { DeviceError, DeviceErrorCode } from "../rump/devsw.js";
import type { DiskQueue } from "./host-disk-queue.js";
import { type FrameFields, HostRequest } from "./host-request.js";
import type { SharedSlots } from "./shared-memory.js";

/** `offset` and `count` are the first block and the number of blocks. */
export interface RequestFields extends FrameFields {
  /** Asked by the host itself: not sent again to another rump process. */
  readonly isOwn?: boolean;
  /** Of RequestOptions. */
  readonly isWanted?: (() => boolean) | undefined;
  /** Of RequestOptions. Left out: the same for all. */
  readonly client?: object | undefined;
  /** READ: of ReadOptions. */
  readonly passesOn?: boolean | undefined;
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
  readonly #passesOn: boolean;
  /** READ: memory of a slot for its data. */
  #into: Uint8Array | undefined;
  /** The process has let go of its data. */
  #isDone = false;

  constructor(fields: RequestFields, queue: DiskQueue) {
    super(fields);
    this.isOwn = fields.isOwn ?? false;
    this.isWanted = fields.isWanted ?? always;
    this.client = fields.client ?? queue;
    this.bytes = this.payload.length + this.replyBytes;
    this.#queue = queue;
    this.#passesOn = fields.passesOn ?? false;
  }

  replyMemory(bytes: number): Uint8Array {
    return this.#queue.buffers.take(bytes);
  }

  /** Before it is sent, also once more: where its data are. `slots`: those of the process that gets it. */
  place(slots: SharedSlots | undefined): void {
    if (this.#passesOn) this.#into ??= slots?.take(this.replyBytes);
    this.slot = slots?.slotOf(this.#into ?? this.payload) ?? 0;
  }

  answered(failure: DeviceErrorCode | undefined, payload: Uint8Array): void {
    // ENODEV may be said of a node that is taken away while its driver still moves data.
    this.#isDone = failure !== "ENODEV";
    const into = this.#into;
    if (failure !== undefined || into === undefined) return this.#queue.answered(this, failure, payload);
    if (this.slot === 0) this.#queue.recycle(into);
    this.#queue.answered(this, undefined, this.slot === 0 ? payload : into);
  }

  override reject(error: DeviceError): void {
    if (!this.settled) this.#letGo();
    super.reject(error);
  }

  #letGo(): void {
    const { slot, payload } = this;
    const into = this.#into;
    this.#into = undefined;
    if (slot !== 0 && !this.#isDone) this.#queue.doubt(into ?? payload);
    if (into !== undefined) this.#queue.recycle(into);
  }
}
