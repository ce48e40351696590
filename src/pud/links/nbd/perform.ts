/**
 * One checked request as calls of the Disk.
 *
 * A request larger than the device takes at once is cut into parts; several parts run at the same time, the request ends
 * when all that were started have ended.
 */
import { DeviceError } from "../../../rump/devsw.js";
import type { ReadOptions, WriteOptions } from "../../../rump/devsw.js";
import type { NbdExport } from "./export.js";
import { COMMAND, COMMAND_FLAG } from "./protocol.js";
import type { RequestHeader } from "./protocol.js";

/** Enough to keep a driver's queue filled; more would only let one request stand before all others. */
const MAX_PARTS_IN_FLIGHT = 4;

const NO_DATA: readonly Uint8Array[] = [];

/** What the disk is told of who asks. */
export type AskedBy = Required<Pick<ReadOptions, "client" | "isWanted" | "passesOn">>;

/**
 * @param payload  of a write, cut at `partBytes`; lent until the promise settles.
 * @param asked    whose request it is; of a read, whether anybody is there to take the answer.
 * @returns        what was read, in order; nothing for other commands.
 * @throws DeviceError  of the first part that failed.
 */
export function perform(
  exported: NbdExport,
  { type, flags, offset, lengthBytes }: RequestHeader,
  payload: readonly Uint8Array[],
  asked: AskedBy,
): Promise<readonly Uint8Array[]> {
  const { disk, minimumBytes } = exported;
  const firstBlock = offset / minimumBytes;
  const blockCount = lengthBytes / minimumBytes;
  const { client } = asked;
  const options: WriteOptions = { client, forceUnitAccess: (flags & COMMAND_FLAG.FUA) !== 0 };
  switch (type) {
    case COMMAND.READ:
      return lengthBytes <= exported.partBytes
        ? readPart(exported, firstBlock, blockCount, asked)
        : readParts(exported, firstBlock, blockCount, asked);
    case COMMAND.WRITE:
      return writeParts(exported, firstBlock, payload, options);
    case COMMAND.FLUSH:
      return disk.flush({ client }).then(noData);
    case COMMAND.TRIM:
      // "Command flags": with FUA not even a trim is answered before it is persistent.
      return disk
        .trim(firstBlock, blockCount, { client })
        .then(() => (options.forceUnitAccess === true ? disk.flush({ client }) : undefined))
        .then(noData);
    case COMMAND.WRITE_ZEROES:
      return disk.writeZeroes(firstBlock, blockCount, options).then(noData);
    default:
      return Promise.reject(new DeviceError("EINVAL", `command ${type} is unknown here`));
  }
}

function noData(): readonly Uint8Array[] {
  return NO_DATA;
}

async function readParts(
  exported: NbdExport,
  firstBlock: number,
  blockCount: number,
  options: ReadOptions,
): Promise<readonly Uint8Array[]> {
  const { minimumBytes, partBytes } = exported;
  const partBlocks = partBytes / minimumBytes;
  const parts: Uint8Array[] = [];
  try {
    await inParallel(Math.ceil(blockCount / partBlocks), async (index) => {
      const skipped = index * partBlocks;
      const count = Math.min(partBlocks, blockCount - skipped);
      [parts[index]] = await readPart(exported, firstBlock + skipped, count, options);
    });
  } catch (error) {
    parts.forEach((part) => exported.disk.recycle?.(part));
    throw error;
  }
  return parts;
}

/** One byte more or less than promised and the client would take data for headers for ever after. */
async function readPart(
  { disk, minimumBytes }: NbdExport,
  firstBlock: number,
  blockCount: number,
  options: ReadOptions,
): Promise<[Uint8Array]> {
  const data = await disk.read(firstBlock, blockCount, options);
  if (data.length === blockCount * minimumBytes) return [data];
  disk.recycle?.(data);
  throw new DeviceError("EIO", `read of ${blockCount} blocks at ${firstBlock} gave ${data.length} bytes`);
}

async function writeParts(
  { disk, minimumBytes, partBytes }: NbdExport,
  firstBlock: number,
  payload: readonly Uint8Array[],
  options: WriteOptions,
): Promise<readonly Uint8Array[]> {
  const [only] = payload;
  if (payload.length === 1 && only !== undefined) {
    await disk.write(firstBlock, only, options);
    return NO_DATA;
  }
  const partBlocks = partBytes / minimumBytes;
  await inParallel(payload.length, async (index) => {
    const part = payload[index];
    if (part !== undefined) await disk.write(firstBlock + index * partBlocks, part, options);
  });
  return NO_DATA;
}

/** Runs `run(0 … count-1)`, a few at once. Starts no more after a failure; settles when all started ones have. */
async function inParallel(count: number, run: (index: number) => Promise<void>): Promise<void> {
  const failures: unknown[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count && failures.length === 0) {
      const index = next++;
      try {
        await run(index);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(MAX_PARTS_IN_FLIGHT, count) }, worker));
  if (failures.length > 0) throw failures[0];
}
