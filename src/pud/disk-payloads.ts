/** NODE of a disk. */
import { raw, record, u8, u16le, u32le } from "../bytes.js";
import type { DiskInfo } from "../rump/devsw.js";
import { LinkError } from "./errors.js";
import { MAX_PAYLOAD_BYTES, u53le } from "./frames.js";
import { decodeText } from "./text.js";

export const diskNodeRecord = record("NODE", "pud frames", {
  className: raw(16),
  kind: u8,
  flags: u8,
  unit: u16le,
  blockBytes: u32le,
  maxTransferBytes: u32le,
  reserved: u32le,
  blockCount: u53le,
  model: raw(64),
});

/** Bits of `flags` in NODE, by the field of DiskInfo that they carry. */
export const NODE_FLAGS = {
  readOnly: 0x01,
  removable: 0x02,
  volatileCache: 0x04,
  canTrim: 0x08,
  canWriteZeroes: 0x10,
} as const satisfies Partial<Record<keyof DiskInfo, number>>;

const BLOCK_SIZES: readonly number[] = [512, 1024, 2048, 4096];

/** @throws LinkError PUD_GEOMETRY */
export function decodeDiskInfo(payload: Uint8Array): DiskInfo {
  const node = diskNodeRecord.decode(payload);
  const flags = Object.entries(NODE_FLAGS).map(([key, bit]) => [key, (node.flags & bit) !== 0]);
  const info: DiskInfo = {
    blockBytes: node.blockBytes,
    blockCount: node.blockCount,
    ...(Object.fromEntries(flags) as Record<keyof typeof NODE_FLAGS, boolean>),
    maxTransferBytes: node.maxTransferBytes,
    model: decodeText(node.model),
  };
  checkGeometry(info);
  return info;
}

/** @throws LinkError PUD_GEOMETRY */
export function checkGeometry({ blockBytes, blockCount, maxTransferBytes }: DiskInfo): void {
  if (!BLOCK_SIZES.includes(blockBytes))
    throw new LinkError(
      "PUD_GEOMETRY",
      `disk with blocks of ${blockBytes} bytes; possible are ${BLOCK_SIZES.join(", ")}`,
    );
  if (!Number.isSafeInteger(blockCount) || blockCount < 0 || !Number.isSafeInteger(blockCount * blockBytes))
    throw new LinkError("PUD_GEOMETRY", `disk of ${blockCount} blocks of ${blockBytes} bytes; the limit is 2^53 bytes`);
  if (maxTransferBytes < blockBytes || maxTransferBytes > MAX_PAYLOAD_BYTES || maxTransferBytes % blockBytes !== 0)
    throw new LinkError(
      "PUD_GEOMETRY",
      `disk takes ${maxTransferBytes} bytes at most per request; possible are multiples of ${blockBytes} up to ${MAX_PAYLOAD_BYTES}`,
    );
}
