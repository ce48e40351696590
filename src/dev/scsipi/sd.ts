/**
 * A SCSI disk as a device of the device switch.
 *
 * Specs: SBC-3 ch. 5 (commands), §4.10 (write protection), §4.14 (caches).
 * Drives: direct-access units whose medium sd-probe.ts accepted; attach-sd.ts makes one of these for each medium.
 * Leaves alone: protection information, reservations, formats.
 */
import {
  DeviceError,
  type Disk,
  type DiskInfo,
  type ReadOptions,
  type RequestOptions,
  type WriteOptions,
} from "../../rump/devsw.js";
import { BlockTransfers } from "./block-transfers.js";
import { type CommandBlock, read, synchronizeCache, unmap, write, writeSame16 } from "./cdb.js";
import { type LineEntry, RequestLine } from "./request-line.js";
import { type RetryContext, runCommand } from "./retry.js";
import { ScsiError, toDeviceError } from "./sd-errors.js";
import type { Medium, ProbeContext } from "./sd-probe.js";
import { CapacityError, readCapacity } from "./sd-probe.js";
import { describeSense, type Sense } from "./sense.js";
import type { Claim, Turn } from "./task-set.js";
import { SignalLinks } from "./unit.js";

/** Bytes of one WRITE SAME: such a command has to end before its deadline. */
const MAX_WRITE_SAME_BYTES = 32 << 20;

/** The medium behind a disk is not there any more, or not the same. */
export interface MediumLoss {
  readonly error: DeviceError;
  /** Another one may be looked for. */
  readonly replaceable: boolean;
}

/** A request, as messages call it. */
interface Named {
  readonly what: string;
}

/** Errors that end a disk: what becomes of it, and whether its unit may get a new one. */
const LOSSES: Readonly<Partial<Record<DeviceError["code"], { readonly replaceable: boolean }>>> = {
  ESTALE: { replaceable: true },
  ENOMEDIUM: { replaceable: true },
  ENODEV: { replaceable: false },
};

export class ScsiDisk implements Disk {
  readonly kind = "disk";
  readonly info: DiskInfo;
  readonly #context: ProbeContext;
  readonly #medium: Medium;
  /** For the requests whose turn it is. */
  readonly #links: SignalLinks;
  readonly #onLoss: (loss: MediumLoss) => void;
  readonly #line = new RequestLine();
  readonly #transfers: BlockTransfers;
  #canSynchronize: boolean;
  #canForceUnitAccess: boolean;
  #canWriteSame: boolean;
  /** Set for good: every request from then on ends in it. */
  #closed: DeviceError | undefined;
  /** Writes were answered that no SYNCHRONIZE CACHE has followed. */
  #unflushed = false;
  /** Why answered writes may be missing; the next flush says it, once. */
  #lostWrites: string | undefined;

  /** `onLoss` is called at most once, when the disk has closed itself. */
  constructor(context: ProbeContext, medium: Medium, onLoss: (loss: MediumLoss) => void) {
    this.#context = {
      ...context,
      verify: (sense, afterOwnReset) => this.#verify(sense, afterOwnReset),
      onDeferred: (sense) => this.#noteLostWrites(`a deferred error: ${describeSense(sense)}`),
    };
    this.#medium = medium;
    this.#links = new SignalLinks(context.signal);
    this.#onLoss = onLoss;
    this.#canSynchronize = medium.canSynchronize;
    this.#canForceUnitAccess = medium.canForceUnitAccess;
    this.#canWriteSame = medium.maxWriteSameBlocks > 0;
    this.info = {
      blockBytes: medium.blockBytes,
      blockCount: medium.blockCount,
      readOnly: medium.readOnly,
      removable: medium.removable,
      volatileCache: medium.writeCache && medium.canSynchronize,
      canTrim: medium.maxUnmapBlocks > 0 && !medium.readOnly,
      canWriteZeroes: !medium.readOnly,
      maxTransferBytes: medium.maxTransferBytes,
      model: medium.model,
    };
    this.#transfers = new BlockTransfers(this.#line, this.info, context.unit.queueDepth === 1, (data) =>
      this.recycle(data),
    );
  }

  /** Writes were answered that may still be in the device's cache. */
  get hasUnflushedWrites(): boolean {
    return this.#unflushed;
  }

  async read(firstBlock: number, blockCount: number, options: ReadOptions = {}): Promise<Uint8Array> {
    this.#checkTransfer("read", firstBlock, blockCount * this.info.blockBytes);
    const block = read(firstBlock, blockCount);
    const entry = this.#line.join("read", { firstBlock, blockCount }, undefined, options.into);
    const claim = { firstBlock, blockCount, writes: false };
    return this.#turn(block, options, (context) => this.#transfers.read(context, block, entry), claim, entry);
  }

  async write(firstBlock: number, data: Uint8Array, options: WriteOptions = {}): Promise<void> {
    this.#checkTransfer("write", firstBlock, data.length);
    this.#checkWritable();
    const blockCount = data.length / this.info.blockBytes;
    const durable = options.forceUnitAccess === true;
    // With a SYNCHRONIZE CACHE behind it, it is a flush: alone.
    const claim = durable && !this.#canForceUnitAccess ? undefined : { firstBlock, blockCount, writes: true };
    const entry = this.#line.join(durable ? "writeThrough" : "write", { firstBlock, blockCount }, data);
    await this.#turn(
      write(firstBlock, blockCount, durable),
      options,
      (context) => this.#transfers.write(entry, (first, bytes) => this.#writeBlocks(context, first, bytes, durable)),
      claim,
      entry,
    );
  }

  recycle(data: Uint8Array): void {
    this.#context.unit.recycle(data);
  }

  async flush(options: RequestOptions = {}): Promise<void> {
    await this.#turn({ what: "flush" }, options, (context) => this.#synchronize(context));
  }

  async trim(firstBlock: number, blockCount: number, options: RequestOptions = {}): Promise<void> {
    this.#checkRange("trim", firstBlock, blockCount);
    this.#checkWritable();
    if (!this.info.canTrim) throw new DeviceError("EOPNOTSUPP", "trim: the device has no UNMAP (SBC-3 §5.28)");
    for (const [at, count] of chunks(firstBlock, blockCount, this.#medium.maxUnmapBlocks)) {
      const { block, list } = unmap(at, count);
      const data = { direction: "out", data: list } as const;
      const send = async (context: RetryContext): Promise<void> => {
        this.#unflushed = true;
        await runCommand(context, { block, data, whole: true });
      };
      await this.#turn(block, options, send, { firstBlock: at, blockCount: count, writes: true });
    }
  }

  async writeZeroes(firstBlock: number, blockCount: number, options: WriteOptions = {}): Promise<void> {
    this.#checkRange("write zeroes", firstBlock, blockCount);
    this.#checkWritable();
    const { blockBytes } = this.info;
    const zeroes = new Uint8Array(Math.min(this.info.maxTransferBytes, blockCount * blockBytes));
    let at = firstBlock;
    const end = firstBlock + blockCount;
    while (at < end) {
      const count = Math.min(end - at, this.#zeroChunkBlocks());
      at += await this.#turn(
        { what: `write zeroes block ${at} + ${count}` },
        options,
        (context) => this.#zeroBlocks(context, at, count, zeroes),
        { firstBlock: at, blockCount: count, writes: true },
      );
    }
    if (options.forceUnitAccess === true) await this.flush(options);
  }

  /**
   * Ends the disk: requests that wait and those to come fail with `error`; the one in flight ends, then the cache is
   * flushed. A disk that has closed itself has nothing to flush.
   * @throws ScsiError, ScsiTransportError, DeviceError EIO when answered writes may be missing.
   */
  async shutdown(error: DeviceError, signal: AbortSignal): Promise<void> {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    await this.#context.unit.exclusive(() => this.#synchronize({ ...this.#context, signal }), signal);
  }

  // -------------------------------------------------------------------------------------------------------------------

  /**
   * Waits for the unit, runs `task` in one turn, and makes a DeviceError of whatever it throws. A disk that is lost closes
   * before the turn ends, so that nothing which waits reaches another medium. Without a claim the turn is for this request
   * alone.
   */
  async #turn<T>(
    request: Named,
    { signal }: RequestOptions,
    task: (context: RetryContext) => Promise<T>,
    claim?: Claim,
    entry: LineEntry = this.#line.join(),
  ): Promise<T> {
    let turn: Turn | undefined;
    let linked: AbortSignal | undefined;
    try {
      this.#refuseWhenClosed(request);
      turn = await this.#context.unit.enter(claim, signal);
      this.#refuseWhenClosed(request);
      if (entry.kind !== "read") this.#transfers.forget();
      linked = signal && this.#links.link(signal);
      return await task(this.#contextOf(turn, linked));
    } catch (error) {
      if (turn !== undefined) this.#transfers.forget();
      throw this.#settleError(request.what, error);
    } finally {
      if (linked !== undefined) this.#links.unlink(linked);
      if (turn !== undefined) this.#context.unit.leave(turn);
      this.#line.leave(entry);
    }
  }

  /** Where commands are sent one at a time, and with no signal of the request's own, it is always the same one. */
  #contextOf(turn: Turn, signal: AbortSignal | undefined): RetryContext {
    const isAlone = this.#context.unit.queueDepth === 1;
    if (signal === undefined) return isAlone ? this.#context : { ...this.#context, alone: () => turn.alone() };
    return isAlone ? { ...this.#context, signal } : { ...this.#context, signal, alone: () => turn.alone() };
  }

  /** The DeviceError of a failed request; closes the disk when it says that the medium or the unit has gone. Idempotent. */
  #settleError(what: string, thrown: unknown): unknown {
    const error = toDeviceError(what, thrown);
    if (!(error instanceof DeviceError)) return error;
    const detached = error.code === "ECANCELED" && this.#context.signal.aborted;
    if (detached)
      return this.#closed ?? new DeviceError("ENODEV", `${what}: the device was detached`, { cause: error });
    const isSizeChange = thrown instanceof ScsiError && thrown.sense.meaning === "capacityChanged";
    const loss = isSizeChange ? { replaceable: false } : LOSSES[error.code];
    if (loss !== undefined) this.#lose(error, loss.replaceable);
    // Once, where it first becomes a DeviceError: a client is told no more than an errno.
    else if (error !== thrown && error.code !== "ECANCELED") this.#context.log("warn", error.message);
    return error;
  }

  #lose(error: DeviceError, replaceable: boolean): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    if (this.#unflushed)
      this.#context.log("warn", "the medium went away before the last writes were flushed; they may be missing");
    this.#onLoss({ error, replaceable });
  }

  #refuseWhenClosed(request: Named): void {
    const why = this.#closed;
    if (why !== undefined)
      throw new DeviceError(why.code, `${request.what}: the disk is closed: ${why.message}`, { cause: why });
  }

  async #writeBlocks(context: RetryContext, firstBlock: number, data: Uint8Array, durable: boolean): Promise<void> {
    const count = data.length / this.info.blockBytes;
    const send = (block: CommandBlock): Promise<Uint8Array> =>
      runCommand(context, { block, data: { direction: "out", data }, whole: true });
    if (durable && this.#canForceUnitAccess) {
      try {
        await send(write(firstBlock, count, true));
        return;
      } catch (error) {
        if (!isRefused(error)) throw error;
        this.#canForceUnitAccess = false;
        this.#context.log("warn", `FUA offered and refused, SYNCHRONIZE CACHE instead: ${error.message}`);
      }
    }
    this.#unflushed = true;
    await send(write(firstBlock, count, false));
    if (durable) await this.#synchronize(context);
  }

  async #synchronize(context: RetryContext): Promise<void> {
    if (this.#canSynchronize) {
      try {
        await runCommand(context, { block: synchronizeCache(this.info.blockCount) });
      } catch (error) {
        if (!isRefused(error)) throw error;
        this.#canSynchronize = false;
        this.#context.log("warn", `flush unsupported from now on: ${error.message}`);
      }
    }
    this.#unflushed = false;
    const lost = this.#lostWrites;
    if (lost === undefined) return;
    this.#lostWrites = undefined;
    throw new DeviceError("EIO", `flush: writes answered before may be missing after ${lost}`);
  }

  /** @returns how many blocks are zero now, at least one. */
  async #zeroBlocks(
    context: RetryContext,
    firstBlock: number,
    blockCount: number,
    zeroes: Uint8Array,
  ): Promise<number> {
    const { blockBytes, maxTransferBytes } = this.info;
    this.#unflushed = true;
    if (this.#canWriteSame) {
      try {
        const data = { direction: "out", data: zeroes.subarray(0, blockBytes) } as const;
        await runCommand(context, { block: writeSame16(firstBlock, blockCount), data, whole: true });
        return blockCount;
      } catch (error) {
        if (!isRefused(error)) throw error;
        this.#canWriteSame = false;
        this.#context.log("info", `plain writes of zeroes from now on: ${error.message}`);
      }
    }
    const count = Math.min(blockCount, maxTransferBytes / blockBytes);
    const data = { direction: "out", data: zeroes.subarray(0, count * blockBytes) } as const;
    await runCommand(context, { block: write(firstBlock, count, false), data, whole: true });
    return count;
  }

  #zeroChunkBlocks(): number {
    const { blockBytes, maxTransferBytes } = this.info;
    if (!this.#canWriteSame) return maxTransferBytes / blockBytes;
    return Math.min(this.#medium.maxWriteSameBlocks, MAX_WRITE_SAME_BYTES / blockBytes);
  }

  /**
   * Before a command is sent again: is it still the medium that it was meant for? A unit that reset itself has also
   * lost what was in its cache (29h without a reset of ours).
   * @throws CapacityError, ScsiError; the disk closes itself.
   */
  async #verify(sense: Sense | undefined, afterOwnReset: boolean): Promise<void> {
    this.#transfers.forget();
    const isReset = sense?.meaning === "attention" && sense.asc === 0x29;
    if (isReset && !afterOwnReset) this.#noteLostWrites(`a reset: ${describeSense(sense)}`);
    const { verify: _verify, ...context } = this.#context;
    const { blockBytes, blockCount } = this.#medium;
    const now = await readCapacity(context).catch((error: unknown) => {
      throw error instanceof CapacityError ? this.#sizeChanged(error.message) : error;
    });
    if (now.blockBytes !== blockBytes || now.blockCount !== blockCount)
      throw this.#sizeChanged(
        `was ${blockCount} blocks of ${blockBytes} bytes, is ${now.blockCount} of ${now.blockBytes}`,
      );
  }

  #sizeChanged(how: string): DeviceError {
    const error = new DeviceError("EIO", `the device changed its capacity: ${how}`);
    this.#lose(error, false);
    return error;
  }

  #noteLostWrites(why: string): void {
    if (!this.#unflushed) return;
    this.#lostWrites ??= why;
    this.#context.log("error", `answered writes may be missing after ${why}`);
  }

  /** @returns the bytes. @throws DeviceError EINVAL, ENOSPC */
  #checkTransfer(what: string, firstBlock: number, bytes: number): number {
    const { blockBytes, maxTransferBytes } = this.info;
    if (bytes > maxTransferBytes)
      throw new DeviceError("EINVAL", `${what}: ${bytes} bytes, ${maxTransferBytes} make one command`);
    if (bytes % blockBytes !== 0)
      throw new DeviceError("EINVAL", `${what}: ${bytes} bytes are not blocks of ${blockBytes}`);
    this.#checkRange(what, firstBlock, bytes / blockBytes);
    return bytes;
  }

  #checkRange(what: string, firstBlock: number, blockCount: number): void {
    const isSane =
      Number.isSafeInteger(firstBlock) && Number.isSafeInteger(blockCount) && firstBlock >= 0 && blockCount > 0;
    if (!isSane) throw new DeviceError("EINVAL", `${what}: block ${firstBlock} + ${blockCount} is no range`);
    if (firstBlock + blockCount > this.info.blockCount)
      throw new DeviceError(
        "ENOSPC",
        `${what}: block ${firstBlock} + ${blockCount} ends beyond the ${this.info.blockCount} blocks`,
      );
  }

  #checkWritable(): void {
    if (this.info.readOnly) throw new DeviceError("EROFS", "the medium is write protected (SBC-3 §4.10)");
  }
}

/** The unit does not have the command, or not with these bits. */
function isRefused(error: unknown): error is ScsiError {
  return error instanceof ScsiError && error.sense.meaning === "illegalRequest";
}

function* chunks(firstBlock: number, blockCount: number, maxBlocks: number): Generator<[number, number]> {
  const end = firstBlock + blockCount;
  for (let at = firstBlock; at < end; at += maxBlocks) yield [at, Math.min(maxBlocks, end - at)];
}
