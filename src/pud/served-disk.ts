/**
 * A published disk in the server's hands: from the frame to the driver's method and back to a status.
 */
import { DeviceError, type Disk, type ReadOptions } from "../rump/devsw.js";
import { NO_BYTES } from "./channel.js";
import { type BlockOperation, diskRangeError } from "./disk-range.js";
import { KINDS, MAX_PAYLOAD_BYTES } from "./frames.js";
import type { ServedDevice, ServedRequest } from "./served-request.js";

interface Operation {
  /** Undefined: names no blocks. */
  readonly range: BlockOperation | undefined;
  /** @param data  WRITE: what to write. READ: memory for it, if the host wants it in a place. */
  run(disk: Disk, request: ServedRequest, data: Uint8Array | undefined): Promise<Uint8Array | void>;
}

/** What each kind of request asks of a disk. */
const DISK_OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [KINDS.read.number, { range: "read", run: (disk, r, data) => disk.read(r.offset, r.count, readOptions(r, data)) }],
  [KINDS.write.number, { range: "write", run: (disk, r, data) => disk.write(r.offset, data ?? r.payload, r.options) }],
  [KINDS.flush.number, { range: undefined, run: (disk, r) => disk.flush(r.options) }],
  [KINDS.trim.number, { range: "trim", run: (disk, r) => disk.trim(r.offset, r.count, r.options) }],
  [
    KINDS.writeZeroes.number,
    { range: "writeZeroes", run: (disk, r) => disk.writeZeroes(r.offset, r.count, r.options) },
  ],
]);

export class ServedDisk implements ServedDevice {
  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** A READ that asks for more than can be answered is refused before it has any. */
  replyBytes({ kind, count }: ServedRequest): number {
    return kind === KINDS.read.number ? Math.min(count * this.#disk.info.blockBytes, MAX_PAYLOAD_BYTES) : 0;
  }

  async serve(request: ServedRequest): Promise<Uint8Array> {
    const { info } = this.#disk;
    const operation = DISK_OPERATIONS.get(request.kind);
    if (operation === undefined) throw new DeviceError("EOPNOTSUPP", `no disk request of kind ${request.kind}`);
    const { range } = operation;
    if (range !== undefined) {
      const error = diskRangeError(info, range, request.offset, request.count);
      if (error !== undefined) throw error;
    }
    const bytes = request.count * info.blockBytes;
    const shared = request.slot?.subarray(0, bytes);
    const given = shared ?? request.payload;
    if ((range === "write" || shared !== undefined) && given.length !== bytes)
      throw new DeviceError(
        "EINVAL",
        `${range ?? "flush"}: ${given.length} bytes for ${request.count} blocks of ${info.blockBytes}`,
      );
    const data = (await operation.run(this.#disk, request, shared)) ?? NO_BYTES;
    const expectedBytes = range === "read" ? bytes : 0;
    if (data.length !== expectedBytes)
      throw new Error(`the driver answered ${data.length} bytes to ${range ?? "flush"}, not ${expectedBytes}`);
    return range === "read" && shared !== undefined ? this.#place(data, shared) : data;
  }

  /** What was read is where the host wants it, and the reply has none of it. */
  #place(data: Uint8Array, shared: Uint8Array): Uint8Array {
    if (data.buffer !== shared.buffer) {
      shared.set(data);
      this.#disk.recycle?.(data);
    }
    return NO_BYTES;
  }

  sent(payload: Uint8Array): void {
    this.#disk.recycle?.(payload);
  }

  async settle(): Promise<void> {
    if (this.#disk.info.volatileCache) await this.#disk.flush();
  }
}

/** Written out: V8 makes a new map for each object that is spread and added to. */
function readOptions({ options: { signal } }: ServedRequest, into: Uint8Array | undefined): ReadOptions {
  return signal === undefined ? { into } : { into, signal };
}
