/** A disk under a name, and what NBD says of it. */
import { BufferPool } from "../../../buffers.js";
import type { Disk } from "../../../rump/devsw.js";
import { MAX_STRING_BYTES, TRANSMISSION_FLAG } from "./protocol.js";

/** The most bytes of one READ or WRITE ("Block size constraints": servers should take at least 32 MiB). */
export const MAX_REQUEST_BYTES = 32 * 1024 * 1024;
/** Memory an export keeps for the next writes. */
const MAX_IDLE_BYTES = 4 * 1024 * 1024;

/** What a client that asks for no block size assumes ("Block size constraints"). */
const DEFAULT_MINIMUM_BYTES = 512;

export interface ExportOptions {
  /** One line for people, at most 4096 bytes. */
  readonly description: string;
  /** Refuses writes even where the disk takes them. */
  readonly readOnly: boolean;
  /**
   * Serves clients that ask for no block size, however large the blocks are: they were told in another way, as
   * nbd-client(8) is, which does not ask. Default: such clients are refused on blocks of more than 512 bytes.
   */
  readonly blockSizeKnown?: boolean;
}

/** Memory for the data of writes: `take` gives exactly so many bytes with anything in them, `give` takes them back. */
export type PayloadMemory = Pick<BufferPool, "take" | "give">;

export interface NbdExport {
  readonly name: string;
  readonly description: string;
  readonly disk: Disk;
  readonly readOnly: boolean;
  /** A client must ask for the block size. */
  readonly blockSizeRequired: boolean;
  readonly exportBytes: number;
  readonly minimumBytes: number;
  /** The most bytes handed to the disk at once: whole blocks within its `maxTransferBytes`. */
  readonly partBytes: number;
  /** Memory for what is written. */
  readonly buffers: PayloadMemory;
}

/**
 * @throws RangeError for a name or a description longer than a protocol string, and for a disk whose numbers cannot be.
 */
export function makeExport(name: string, disk: Disk, options: ExportOptions): NbdExport {
  for (const [what, text] of Object.entries({ name, description: options.description })) {
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_STRING_BYTES || text.includes("\0"))
      throw new RangeError(
        `export ${what}: ${bytes} bytes; at most ${MAX_STRING_BYTES}, none of them 0 (NBD Conventions)`,
      );
  }
  const { blockBytes, blockCount, maxTransferBytes } = disk.info;
  if (blockBytes < 512 || blockBytes > 65536 || (blockBytes & (blockBytes - 1)) !== 0)
    throw new RangeError(`export ${name}: blocks of ${blockBytes} bytes; a power of two from 512 to 65536 is needed`);
  if (!Number.isSafeInteger(blockBytes * blockCount))
    throw new RangeError(`export ${name}: ${blockCount} blocks of ${blockBytes} bytes are 2^53 bytes or more`);
  const partBytes = Math.min(MAX_REQUEST_BYTES, Math.floor(maxTransferBytes / blockBytes) * blockBytes);
  if (!(partBytes >= blockBytes))
    throw new RangeError(`export ${name}: a transfer of ${maxTransferBytes} bytes holds no block of ${blockBytes}`);
  return {
    name,
    description: options.description,
    disk,
    readOnly: options.readOnly || disk.info.readOnly,
    blockSizeRequired: blockBytes > DEFAULT_MINIMUM_BYTES && options.blockSizeKnown !== true,
    exportBytes: blockBytes * blockCount,
    minimumBytes: blockBytes,
    partBytes,
    buffers: memoryOf(disk),
  };
}

/** The disk's own, where it lends some. */
function memoryOf(disk: Disk): PayloadMemory {
  if (disk.lend === undefined) return new BufferPool(MAX_IDLE_BYTES);
  return { take: (bytes) => disk.lend?.(bytes) ?? new Uint8Array(bytes), give: (data) => disk.recycle?.(data) };
}

/**
 * "Transmission flags". FLUSH and FUA are always offered: whether there is a cache to flush is the disk's business.
 * Several connections see one cache because all of them use the same Disk.
 */
export function transmissionFlags(exported: NbdExport, structuredReplies: boolean): number {
  const { canTrim, canWriteZeroes } = exported.disk.info;
  const writable = !exported.readOnly;
  return (
    TRANSMISSION_FLAG.HAS_FLAGS |
    TRANSMISSION_FLAG.SEND_FLUSH |
    TRANSMISSION_FLAG.SEND_FUA |
    TRANSMISSION_FLAG.CAN_MULTI_CONN |
    (exported.readOnly ? TRANSMISSION_FLAG.READ_ONLY : 0) |
    (writable && canTrim ? TRANSMISSION_FLAG.SEND_TRIM : 0) |
    (writable && canWriteZeroes ? TRANSMISSION_FLAG.SEND_WRITE_ZEROES | TRANSMISSION_FLAG.SEND_FAST_ZERO : 0) |
    (structuredReplies ? TRANSMISSION_FLAG.SEND_DF : 0)
  );
}

/** The exports of one server by their names, in the order they were added. */
export type ExportTable = ReadonlyMap<string, NbdExport>;
