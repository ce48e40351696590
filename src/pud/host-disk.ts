import type { Disk, DiskInfo, ReadOptions, RequestOptions, WriteOptions } from "../rump/devsw.js";
import { DeviceError } from "../rump/devsw.js";
import { type BlockOperation, diskRangeError } from "./disk-range.js";
import { FLAG_FUA, KINDS } from "./frames.js";
import type { DiskQueue } from "./host-disk-queue.js";

/**
 * A disk that is served by a rump process.
 *
 * It is the same object for as long as its node exists, also across rump processes where the host holds on to it. A
 * write's data is lent until its promise settles, as `Disk` says, and here that matters: under the policy "hold" the
 * same memory is sent again, maybe minutes later, so a change in between would reach the medium.
 */
export class HostDisk implements Disk {
  readonly kind = "disk";
  readonly info: DiskInfo;
  readonly #queue: DiskQueue;

  constructor(info: DiskInfo, queue: DiskQueue) {
    this.info = info;
    this.#queue = queue;
  }

  read(firstBlock: number, blockCount: number, options: ReadOptions = {}): Promise<Uint8Array> {
    const error = diskRangeError(this.info, "read", firstBlock, blockCount);
    if (error !== undefined) return Promise.reject(error);
    const replyBytes = blockCount * this.info.blockBytes;
    const { signal, isWanted, client, passesOn } = options;
    return this.#queue.issue(
      { kind: KINDS.read, offset: firstBlock, count: blockCount, replyBytes, isWanted, client, passesOn },
      signal,
    );
  }

  async write(firstBlock: number, data: Uint8Array, options: WriteOptions = {}): Promise<void> {
    const { blockBytes } = this.info;
    const blockCount = data.length / blockBytes;
    if (!Number.isInteger(blockCount))
      throw new DeviceError("EINVAL", `write: ${data.length} bytes are not whole blocks of ${blockBytes}`);
    this.#check("write", firstBlock, blockCount);
    const flags = flagsOf(options);
    await this.#queue.issue(
      { kind: KINDS.write, offset: firstBlock, count: blockCount, flags, payload: data, client: options.client },
      options.signal,
    );
  }

  lend(bytes: number): Uint8Array {
    return this.#queue.lend(bytes);
  }

  recycle(data: Uint8Array): void {
    this.#queue.recycle(data);
  }

  async flush({ signal, client }: RequestOptions = {}): Promise<void> {
    await this.#queue.issue({ kind: KINDS.flush, client }, signal);
  }

  async trim(firstBlock: number, blockCount: number, { signal, client }: RequestOptions = {}): Promise<void> {
    this.#check("trim", firstBlock, blockCount);
    await this.#queue.issue({ kind: KINDS.trim, offset: firstBlock, count: blockCount, client }, signal);
  }

  async writeZeroes(firstBlock: number, blockCount: number, options: WriteOptions = {}): Promise<void> {
    this.#check("writeZeroes", firstBlock, blockCount);
    const flags = flagsOf(options);
    const { signal, client } = options;
    await this.#queue.issue({ kind: KINDS.writeZeroes, offset: firstBlock, count: blockCount, flags, client }, signal);
  }

  #check(operation: BlockOperation, firstBlock: number, blockCount: number): void {
    const error = diskRangeError(this.info, operation, firstBlock, blockCount);
    if (error !== undefined) throw error;
  }
}

function flagsOf(options: WriteOptions): number {
  return options.forceUnitAccess === true ? FLAG_FUA : 0;
}
