import { DeviceError, type DiskInfo } from "../rump/devsw.js";

export type BlockOperation = "read" | "write" | "trim" | "writeZeroes";

/** What an operation needs of the disk, and the code for blocks beyond its end. `moves`: it carries the blocks' bytes. */
const RULES = {
  read: { changes: false, moves: true, needs: undefined, beyondEnd: "EINVAL" },
  write: { changes: true, moves: true, needs: undefined, beyondEnd: "ENOSPC" },
  trim: { changes: true, moves: false, needs: "canTrim", beyondEnd: "ENOSPC" },
  writeZeroes: { changes: true, moves: false, needs: "canWriteZeroes", beyondEnd: "ENOSPC" },
} as const satisfies Record<BlockOperation, object>;

/**
 * The reason why a disk of this shape cannot do this, or undefined. Both halves ask: the host so that a link's mistake
 * costs no round trip, the server so that a driver never sees a range that cannot be.
 */
export function diskRangeError(
  info: DiskInfo,
  operation: BlockOperation,
  firstBlock: number,
  blockCount: number,
): DeviceError | undefined {
  const rule = RULES[operation];
  if (!Number.isSafeInteger(firstBlock) || firstBlock < 0 || !Number.isSafeInteger(blockCount) || blockCount < 1)
    return new DeviceError("EINVAL", `${operation}: ${blockCount} blocks from ${firstBlock} on are no range`);
  if (rule.changes && info.readOnly) return new DeviceError("EROFS", `${operation}: the disk is write protected`);
  if (rule.needs !== undefined && !info[rule.needs])
    return new DeviceError("EOPNOTSUPP", `${operation}: the disk does not offer it`);
  if (firstBlock + blockCount > info.blockCount)
    return new DeviceError(
      rule.beyondEnd,
      `${operation}: ${blockCount} blocks from ${firstBlock} on; the disk has ${info.blockCount}`,
    );
  if (rule.moves && blockCount * info.blockBytes > info.maxTransferBytes)
    return new DeviceError(
      "EINVAL",
      `${operation}: ${blockCount * info.blockBytes} bytes; the disk takes ${info.maxTransferBytes} per request`,
    );
  return undefined;
}
