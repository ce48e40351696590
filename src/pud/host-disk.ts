import type { Disk, DiskInfo, ReadOptions, RequestOptions, WriteOptions } from "../rump/devsw.js";
import { DeviceError } from "../rump/devsw.js";
import { type BlockOperation, diskRangeError } from "./disk-range.js";
import { FLAG_FUA, KINDS } from "./frames.js";
import type { DiskQueue } from "./host-disk-queue.js";
import type { RequestFields } from "./host-disk-request.js";

type BlockFields = RequestFields & { readonly offset: number; readonly count: number };

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

  read(
    firstBlock: number,
    blockCount: number,
    { signal, isWanted, client, passesOn }: ReadOptions = {},
  ): Promise<Uint8Array> {
    const replyBytes = blockCount * this.info.blockBytes;
    return this.#ask(
      "read",
      { kind: KINDS.read, offset: firstBlock, count: blockCount, replyBytes, isWanted, client, passesOn },
      signal,
    );
  }

  async write(firstBlock: number, data: Uint8Array, options: WriteOptions = {}): Promise<void> {
    const { blockBytes } = this.info;
    const count = data.length / blockBytes;
    if (!Number.isInteger(count))
      throw new DeviceError("EINVAL", `write: ${data.length} bytes are not whole blocks of ${blockBytes}`);
    const { signal, client } = options;
    const flags = flagsOf(options);
    await this.#ask("write", { kind: KINDS.write, offset: firstBlock, count, flags, payload: data, client }, signal);
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
    await this.#ask("trim", { kind: KINDS.trim, offset: firstBlock, count: blockCount, client }, signal);
  }

  async writeZeroes(firstBlock: number, blockCount: number, options: WriteOptions = {}): Promise<void> {
    const { signal, client } = options;
    const flags = flagsOf(options);
    await this.#ask(
      "writeZeroes",
      { kind: KINDS.writeZeroes, offset: firstBlock, count: blockCount, flags, client },
      signal,
    );
  }

  #ask(operation: BlockOperation, fields: BlockFields, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const error = diskRangeError(this.info, operation, fields.offset, fields.count);
    return error === undefined ? this.#queue.issue(fields, signal) : Promise.reject(error);
  }
}

function flagsOf(options: WriteOptions): number {
  return options.forceUnitAccess === true ? FLAG_FUA : 0;
}
