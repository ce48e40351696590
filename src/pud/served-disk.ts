/**
 * The server's view of one request on a published disk: from the frame to the driver's method and back to a status.
 */
import { DeviceError, type Disk, type DiskInfo, type WriteOptions } from "../rump/devsw.js";
import { NO_BYTES } from "./channel.js";
import { type BlockOperation, diskRangeError } from "./disk-range.js";
import { FLAG_CANCELLABLE, FLAG_FUA, type FrameHeader, KINDS } from "./frames.js";

/** A request while the driver has it. The first answer counts; what the driver says after a removal does not. */
export class ServedRequest {
  readonly requestId: number;
  readonly node: number;
  readonly kind: number;
  readonly firstBlock: number;
  readonly blockCount: number;
  /** WRITE: the data. Nobody else holds this memory, so the driver gets it as it is. */
  readonly payload: Uint8Array;
  /** What the driver is given besides. */
  readonly options: WriteOptions;
  #answered = false;
  readonly #controller: AbortController | undefined;

  constructor(header: FrameHeader, payload: Uint8Array) {
    this.requestId = header.requestId;
    this.node = header.node;
    this.kind = header.kind;
    this.firstBlock = header.offset;
    this.blockCount = header.count;
    this.payload = payload;
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

interface Operation {
  /** Undefined: names no blocks. */
  readonly range: BlockOperation | undefined;
  run(disk: Disk, request: ServedRequest): Promise<Uint8Array | void>;
}

/** What each kind of request asks of a disk. Kinds that are not here are no requests. */
export const DISK_OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [KINDS.read.number, { range: "read", run: (disk, r) => disk.read(r.firstBlock, r.blockCount, r.options) }],
  [KINDS.write.number, { range: "write", run: (disk, r) => disk.write(r.firstBlock, r.payload, r.options) }],
  [KINDS.flush.number, { range: undefined, run: (disk, r) => disk.flush(r.options) }],
  [KINDS.trim.number, { range: "trim", run: (disk, r) => disk.trim(r.firstBlock, r.blockCount, r.options) }],
  [
    KINDS.writeZeroes.number,
    { range: "writeZeroes", run: (disk, r) => disk.writeZeroes(r.firstBlock, r.blockCount, r.options) },
  ],
]);

/**
 * Runs one request.
 * @returns the reply's payload: the blocks of a READ, else nothing.
 * @throws DeviceError the range cannot be, or the driver said so.
 * @throws Error the driver broke the contract of `Disk`.
 */
export async function serveDisk(disk: Disk, info: DiskInfo, request: ServedRequest): Promise<Uint8Array> {
  const operation = DISK_OPERATIONS.get(request.kind);
  if (operation === undefined) throw new DeviceError("EOPNOTSUPP", `no disk request of kind ${request.kind}`);
  const { range } = operation;
  if (range !== undefined) {
    const error = diskRangeError(info, range, request.firstBlock, request.blockCount);
    if (error !== undefined) throw error;
  }
  if (range === "write" && request.payload.length !== request.blockCount * info.blockBytes)
    throw new DeviceError(
      "EINVAL",
      `write: ${request.payload.length} bytes for ${request.blockCount} blocks of ${info.blockBytes}`,
    );
  const data = (await operation.run(disk, request)) ?? NO_BYTES;
  const expectedBytes = range === "read" ? request.blockCount * info.blockBytes : 0;
  if (data.length !== expectedBytes)
    throw new Error(`the driver answered ${data.length} bytes to ${range ?? "flush"}, not ${expectedBytes}`);
  return data;
}
