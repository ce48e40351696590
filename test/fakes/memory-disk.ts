/**
 * A disk in memory with a volatile cache, for everything that sits on a `Disk`.
 *
 * `contents` is what a read sees; `durable` is what survives `powerCut`. Requests can be made to fail (`fail`), to wait
 * (`hold`), or to take time (`delayMs` on a clock).
 */
import { DeviceError, type DeviceErrorCode, type Disk, type DiskInfo } from "../../src/rump/devsw.js";
import type { RequestOptions, WriteOptions } from "../../src/rump/devsw.js";
import type { Clock } from "../../src/rumpuser/rumpuser.js";

export type DiskOperation = "read" | "write" | "flush" | "trim" | "writeZeroes";

export interface MemoryDiskOptions extends Partial<Omit<DiskInfo, "blockCount">> {
  /** Default 2048. */
  readonly blockCount?: number;
  /** With `delayMs`: every request takes that long. */
  readonly clock?: Clock;
  readonly delayMs?: number;
}

/** A request as it reached the disk, in order of arrival. */
export interface DiskCall {
  readonly operation: DiskOperation;
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly forceUnitAccess: boolean;
}

/** Which request is meant. */
export interface DiskFault {
  /** Default: any. */
  readonly operation?: DiskOperation;
  /** The n-th such request from now, from 1. Default 1. */
  readonly nth?: number;
  /** What it is answered: a code, or something that is no DeviceError. */
  readonly error: DeviceErrorCode | Error;
}

export class MemoryDisk implements Disk {
  readonly kind = "disk";
  readonly info: DiskInfo;
  readonly contents: Uint8Array;
  readonly durable: Uint8Array;
  readonly calls: DiskCall[] = [];
  /** Requests that have begun and are not answered. */
  inProgress = 0;
  /** The most of them there have ever been. */
  maxInProgress = 0;
  readonly #options: MemoryDiskOptions;
  #faults: { operation: DiskOperation | undefined; left: number; error: DeviceErrorCode | Error }[] = [];
  #held: { operation: DiskOperation | undefined; waiting: (() => void)[] }[] = [];

  constructor(options: MemoryDiskOptions = {}) {
    const blockBytes = options.blockBytes ?? 512;
    const blockCount = options.blockCount ?? 2048;
    this.#options = options;
    this.info = {
      blockBytes,
      blockCount,
      readOnly: options.readOnly ?? false,
      removable: options.removable ?? true,
      volatileCache: options.volatileCache ?? true,
      canTrim: options.canTrim ?? true,
      canWriteZeroes: options.canWriteZeroes ?? true,
      maxTransferBytes: options.maxTransferBytes ?? 1024 * 1024,
      model: options.model ?? "Memory Disk 1.0",
    };
    this.contents = new Uint8Array(blockBytes * blockCount);
    this.durable = new Uint8Array(blockBytes * blockCount);
  }

  /** Fills the medium with bytes that tell where they stand. */
  fillPattern(): this {
    for (let at = 0; at < this.contents.length; at++) this.contents[at] = (at * 31 + (at >>> 9) * 7) & 0xff;
    this.durable.set(this.contents);
    return this;
  }

  /** A copy of `count` blocks as a read would see them. */
  blocks(firstBlock: number, count: number): Uint8Array {
    const { blockBytes } = this.info;
    return this.contents.slice(firstBlock * blockBytes, (firstBlock + count) * blockBytes);
  }

  /** Makes one request fail. */
  fail(fault: DiskFault): this {
    this.#faults.push({ operation: fault.operation, left: fault.nth ?? 1, error: fault.error });
    return this;
  }

  /** Requests that arrive from now on wait until the returned function is called, or until they are aborted. */
  hold(operation?: DiskOperation): () => void {
    const hold: { operation: DiskOperation | undefined; waiting: (() => void)[] } = { operation, waiting: [] };
    this.#held.push(hold);
    return () => {
      this.#held = this.#held.filter((other) => other !== hold);
      for (const go of hold.waiting.splice(0)) go();
    };
  }

  /** Loses what was not flushed. */
  powerCut(): void {
    this.contents.set(this.durable);
  }

  async read(firstBlock: number, blockCount: number, options: RequestOptions = {}): Promise<Uint8Array> {
    this.#check(firstBlock, blockCount, "EINVAL");
    this.#checkTransfer(blockCount * this.info.blockBytes);
    await this.#begin("read", firstBlock, blockCount, options);
    try {
      return this.blocks(firstBlock, blockCount);
    } finally {
      this.inProgress--;
    }
  }

  async write(firstBlock: number, data: Uint8Array, options: WriteOptions = {}): Promise<void> {
    const { blockBytes } = this.info;
    if (data.length % blockBytes !== 0) throw new DeviceError("EINVAL", `${data.length} bytes are not whole blocks`);
    this.#checkWritable();
    this.#check(firstBlock, data.length / blockBytes, "ENOSPC");
    this.#checkTransfer(data.length);
    await this.#begin("write", firstBlock, data.length / blockBytes, options);
    this.contents.set(data, firstBlock * blockBytes);
    this.#wrote(firstBlock * blockBytes, data.length, options);
    this.inProgress--;
  }

  async flush(options: RequestOptions = {}): Promise<void> {
    await this.#begin("flush", 0, 0, options);
    this.durable.set(this.contents);
    this.inProgress--;
  }

  async trim(firstBlock: number, blockCount: number, options: RequestOptions = {}): Promise<void> {
    if (!this.info.canTrim) throw new DeviceError("EOPNOTSUPP", "this disk cannot trim");
    await this.#clear("trim", firstBlock, blockCount, options);
  }

  async writeZeroes(firstBlock: number, blockCount: number, options: WriteOptions = {}): Promise<void> {
    if (!this.info.canWriteZeroes) throw new DeviceError("EOPNOTSUPP", "this disk cannot write zeroes");
    await this.#clear("writeZeroes", firstBlock, blockCount, options);
  }

  async #clear(operation: DiskOperation, firstBlock: number, blockCount: number, options: WriteOptions): Promise<void> {
    const { blockBytes } = this.info;
    this.#checkWritable();
    this.#check(firstBlock, blockCount, "ENOSPC");
    await this.#begin(operation, firstBlock, blockCount, options);
    this.contents.fill(0, firstBlock * blockBytes, (firstBlock + blockCount) * blockBytes);
    this.#wrote(firstBlock * blockBytes, blockCount * blockBytes, options);
    this.inProgress--;
  }

  /** Records the request and lets it wait or fail as scripted. Counts it in progress unless it throws. */
  async #begin(operation: DiskOperation, firstBlock: number, blockCount: number, options: WriteOptions): Promise<void> {
    this.calls.push({ operation, firstBlock, blockCount, forceUnitAccess: options.forceUnitAccess ?? false });
    const error = this.#nextFault(operation);
    this.inProgress++;
    this.maxInProgress = Math.max(this.maxInProgress, this.inProgress);
    try {
      await this.#wait(operation, options.signal);
      if (error instanceof Error) throw error;
      if (error !== undefined) throw new DeviceError(error, `scripted ${error} for ${operation}`);
      if (options.signal?.aborted) throw new DeviceError("ECANCELED", `${operation} was cancelled`);
    } catch (thrown) {
      this.inProgress--;
      throw thrown;
    }
  }

  #nextFault(operation: DiskOperation): DeviceErrorCode | Error | undefined {
    let hit: DeviceErrorCode | Error | undefined;
    this.#faults = this.#faults.filter((fault) => {
      if (fault.operation !== undefined && fault.operation !== operation) return true;
      fault.left--;
      if (fault.left === 0) hit ??= fault.error;
      return fault.left > 0;
    });
    return hit;
  }

  async #wait(operation: DiskOperation, signal: AbortSignal | undefined): Promise<void> {
    const hold = this.#held.find((held) => held.operation === undefined || held.operation === operation);
    const { clock, delayMs = 0 } = this.#options;
    if (hold === undefined && (clock === undefined || delayMs === 0)) return;
    await new Promise<void>((go) => {
      signal?.addEventListener("abort", () => go(), { once: true });
      if (signal?.aborted) go();
      else if (hold !== undefined) hold.waiting.push(go);
      else clock?.startTimer(delayMs, go);
    });
  }

  #wrote(at: number, bytes: number, options: WriteOptions): void {
    if (this.info.volatileCache && options.forceUnitAccess !== true) return;
    this.durable.set(this.contents.subarray(at, at + bytes), at);
  }

  #check(firstBlock: number, blockCount: number, beyondEnd: DeviceErrorCode): void {
    if (!Number.isSafeInteger(firstBlock) || !Number.isSafeInteger(blockCount) || firstBlock < 0 || blockCount < 1)
      throw new DeviceError("EINVAL", `blocks ${firstBlock}, ${blockCount} of them: not a range`);
    if (firstBlock + blockCount > this.info.blockCount)
      throw new DeviceError(beyondEnd, `block ${firstBlock + blockCount - 1} of a disk of ${this.info.blockCount}`);
  }

  #checkTransfer(bytes: number): void {
    if (bytes > this.info.maxTransferBytes)
      throw new DeviceError("EINVAL", `${bytes} bytes; the disk takes ${this.info.maxTransferBytes} per request`);
  }

  #checkWritable(): void {
    if (this.info.readOnly) throw new DeviceError("EROFS", "the disk is write protected");
  }
}
