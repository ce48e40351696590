/**
 * A published disk in the server's hands: from the frame to the driver's method and back to a status.
 */
import { DeviceError, type Disk } from "../rump/devsw.js";
import { NO_BYTES } from "./channel.js";
import { type BlockOperation, diskRangeError } from "./disk-range.js";
import { KINDS, MAX_PAYLOAD_BYTES } from "./frames.js";
import type { ServedDevice, ServedRequest } from "./served-request.js";

interface Operation {
  /** Undefined: names no blocks. */
  readonly range: BlockOperation | undefined;
  run(disk: Disk, request: ServedRequest): Promise<Uint8Array | void>;
}

/** What each kind of request asks of a disk. */
const DISK_OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [KINDS.read.number, { range: "read", run: (disk, r) => disk.read(r.offset, r.count, r.options) }],
  [KINDS.write.number, { range: "write", run: (disk, r) => disk.write(r.offset, r.payload, r.options) }],
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
    if (range === "write" && request.payload.length !== request.count * info.blockBytes)
      throw new DeviceError(
        "EINVAL",
        `write: ${request.payload.length} bytes for ${request.count} blocks of ${info.blockBytes}`,
      );
    const data = (await operation.run(this.#disk, request)) ?? NO_BYTES;
    const expectedBytes = range === "read" ? request.count * info.blockBytes : 0;
    if (data.length !== expectedBytes)
      throw new Error(`the driver answered ${data.length} bytes to ${range ?? "flush"}, not ${expectedBytes}`);
    return data;
  }

  sent(payload: Uint8Array): void {
    this.#disk.recycle?.(payload);
  }

  async settle(): Promise<void> {
    if (this.#disk.info.volatileCache) await this.#disk.flush();
  }
}
