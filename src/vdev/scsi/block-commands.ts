/** Commands on blocks (SBC-3 §5): reading, writing, verifying, synchronizing, clearing. */
import { viewOf } from "../../bytes.js";
import type { ImageStore } from "../image.js";
import { MAX_CLEAR_BYTES, MAX_TRANSFER_BYTES, MAX_UNMAP_DESCRIPTORS } from "./identity.js";
import { CheckCondition, SENSE } from "./sense.js";
import { type CommandData, parameterList } from "./task.js";
import type { LogicalUnit } from "./unit.js";

/** Where a command's LBA and block count stand in its CDB (SPC-4 §4.2.5, Tables 4..8). */
export type BlockAddressing = 6 | 10 | 12 | 16;

/** A range of blocks in bytes of the medium. */
interface ByteRange {
  readonly at: number;
  readonly bytes: number;
}

/** READ (6) and WRITE (6): a count of 0 means this (SBC-3 §5.9). */
const BLOCKS_IF_ZERO_6 = 256;
/** Flags in byte 1 of a CDB. */
const FUA = 0x08;
const RDWRPROTECT = 0xe0;
const BYTCHK = 0x06;
const WRITE_SAME_FLAGS = { NDOB: 0x01, UNMAP: 0x08, ANCHOR: 0x10 };
const UNMAP_ANCHOR = 0x01;
const UNMAP_HEADER_BYTES = 8;
const UNMAP_DESCRIPTOR_BYTES = 16;
/** A pattern is written in pieces of about this size. */
const FILL_BYTES = 1 << 20;

/** LBA and block count of a CDB; the LBA of a 16-byte CDB may be beyond what a number holds, and then beyond any medium. */
function addressed(cdb: Uint8Array, addressing: BlockAddressing): { firstBlock: number; blockCount: number } {
  const view = viewOf(cdb);
  switch (addressing) {
    case 6:
      return { firstBlock: view.getUint32(0) & 0x1fffff, blockCount: view.getUint8(4) || BLOCKS_IF_ZERO_6 };
    case 10:
      return { firstBlock: view.getUint32(2), blockCount: view.getUint16(7) };
    case 12:
      return { firstBlock: view.getUint32(2), blockCount: view.getUint32(6) };
    case 16:
      return { firstBlock: Number(view.getBigUint64(2)), blockCount: view.getUint32(10) };
  }
}

/** @throws CheckCondition when the blocks are not all on the medium. */
function byteRange(unit: LogicalUnit, firstBlock: number, blockCount: number): ByteRange {
  if (firstBlock > unit.blockCount || blockCount > unit.blockCount - firstBlock)
    throw new CheckCondition(SENSE.LBA_OUT_OF_RANGE);
  return { at: firstBlock * unit.blockBytes, bytes: blockCount * unit.blockBytes };
}

function transferRange(unit: LogicalUnit, cdb: Uint8Array, addressing: BlockAddressing): ByteRange {
  const { firstBlock, blockCount } = addressed(cdb, addressing);
  const range = byteRange(unit, firstBlock, blockCount);
  refuseFields(cdb, addressing === 6 ? 0 : RDWRPROTECT);
  if (range.bytes > MAX_TRANSFER_BYTES) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  return range;
}

function refuseFields(cdb: Uint8Array, mask: number): void {
  if (((cdb[1] ?? 0) & mask) !== 0) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
}

function hasFua(cdb: Uint8Array, addressing: BlockAddressing): boolean {
  return addressing !== 6 && ((cdb[1] ?? 0) & FUA) !== 0;
}

/** @throws CheckCondition */
function writableMedium(unit: LogicalUnit): ImageStore {
  const medium = unit.readyMedium();
  if (unit.writeProtected) throw new CheckCondition(SENSE.WRITE_PROTECTED);
  return medium;
}

/** READ — SBC-3 §5.9..§5.13. With FUA what is cached goes to the medium first. */
export function read(unit: LogicalUnit, cdb: Uint8Array, addressing: BlockAddressing): CommandData {
  const medium = unit.readyMedium();
  const range = transferRange(unit, cdb, addressing);
  if (range.bytes === 0) return undefined;
  if (hasFua(cdb, addressing)) unit.cache?.syncRange(range.at, range.bytes);
  return {
    direction: "in",
    bytes: range.bytes,
    read: (at, count) => medium.read(range.at + at, count),
  };
}

/** WRITE — SBC-3 §5.32..§5.36. Good status means on the medium when FUA is set or the write cache is off. */
export function write(unit: LogicalUnit, cdb: Uint8Array, addressing: BlockAddressing): CommandData {
  const medium = writableMedium(unit);
  const range = transferRange(unit, cdb, addressing);
  if (range.bytes === 0) return undefined;
  const through = hasFua(cdb, addressing) || !unit.writeCacheEnabled;
  return {
    direction: "out",
    bytes: range.bytes,
    write: (at, data) => medium.write(range.at + at, data),
    finish: () => {
      if (through) unit.cache?.syncRange(range.at, range.bytes);
    },
  };
}

/** VERIFY — SBC-3 §5.28..§5.30. BYTCHK 0 checks that the blocks exist, 1 compares them with the host's data. */
export function verify(unit: LogicalUnit, cdb: Uint8Array, addressing: BlockAddressing): CommandData {
  const medium = unit.readyMedium();
  const check = ((cdb[1] ?? 0) & BYTCHK) >> 1;
  refuseFields(cdb, RDWRPROTECT);
  if (check > 1) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  const { firstBlock, blockCount } = addressed(cdb, addressing);
  const range = byteRange(unit, firstBlock, blockCount);
  if (check === 0 || range.bytes === 0) return undefined;
  if (range.bytes > MAX_TRANSFER_BYTES) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  let same = true;
  return {
    direction: "out",
    bytes: range.bytes,
    write: (at, data) => {
      same &&= Buffer.compare(medium.read(range.at + at, data.length), data) === 0;
    },
    finish: () => {
      if (!same) throw new CheckCondition(SENSE.MISCOMPARE);
    },
  };
}

/** SYNCHRONIZE CACHE — SBC-3 §5.22, §5.23. The whole cache is written, whatever the range, which is allowed. */
export function synchronizeCache(unit: LogicalUnit, cdb: Uint8Array, addressing: BlockAddressing): CommandData {
  const medium = unit.readyMedium();
  const { firstBlock, blockCount } = addressed(cdb, addressing);
  byteRange(unit, firstBlock, blockCount);
  medium.sync();
  return undefined;
}

/** UNMAP — SBC-3 §5.27. Unmapped blocks read as zeroes (LBPRZ). */
export function unmap(unit: LogicalUnit, cdb: Uint8Array): CommandData {
  const medium = writableMedium(unit);
  if (!unit.thinProvisioning) throw new CheckCondition(SENSE.INVALID_OPERATION_CODE);
  refuseFields(cdb, UNMAP_ANCHOR);
  return parameterList(viewOf(cdb).getUint16(7), (list) => {
    for (const range of unmapRanges(unit, list)) medium.zero(range.at, range.bytes);
  });
}

/** All descriptors of an UNMAP parameter list, checked before anything is cleared (SBC-3 §5.27.2). */
function unmapRanges(unit: LogicalUnit, list: Uint8Array): ByteRange[] {
  if (list.length < UNMAP_HEADER_BYTES) throw new CheckCondition(SENSE.PARAMETER_LIST_LENGTH);
  const view = viewOf(list);
  const end = UNMAP_HEADER_BYTES + view.getUint16(2);
  if (end > list.length) throw new CheckCondition(SENSE.PARAMETER_LIST_LENGTH);
  const ranges: ByteRange[] = [];
  let bytes = 0;
  for (let at = UNMAP_HEADER_BYTES; at + UNMAP_DESCRIPTOR_BYTES <= end; at += UNMAP_DESCRIPTOR_BYTES) {
    const range = byteRange(unit, Number(view.getBigUint64(at)), view.getUint32(at + 8));
    ranges.push(range);
    bytes += range.bytes;
  }
  if (ranges.length > MAX_UNMAP_DESCRIPTORS || bytes > MAX_CLEAR_BYTES)
    throw new CheckCondition(SENSE.INVALID_FIELD_IN_PARAMETER_LIST);
  return ranges;
}

/** WRITE SAME — SBC-3 §5.45, §5.46. A count of 0 is refused (WSNZ), as is more than the block limits say. */
export function writeSame(unit: LogicalUnit, cdb: Uint8Array, addressing: 10 | 16): CommandData {
  const medium = writableMedium(unit);
  const flags = cdb[1] ?? 0;
  const noData = addressing === 16 && (flags & WRITE_SAME_FLAGS.NDOB) !== 0;
  const unmaps = (flags & WRITE_SAME_FLAGS.UNMAP) !== 0;
  refuseFields(cdb, RDWRPROTECT | WRITE_SAME_FLAGS.ANCHOR);
  const { firstBlock, blockCount } = addressed(cdb, addressing);
  const range = byteRange(unit, firstBlock, blockCount);
  if (range.bytes === 0 || range.bytes > MAX_CLEAR_BYTES || (unmaps && !unit.thinProvisioning))
    throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  if (noData) {
    medium.zero(range.at, range.bytes);
    return undefined;
  }
  return parameterList(unit.blockBytes, (block) => {
    if (block.every((byte) => byte === 0)) medium.zero(range.at, range.bytes);
    else fill(medium, range, block);
    if (!unit.writeCacheEnabled) unit.cache?.syncRange(range.at, range.bytes);
  });
}

function fill(medium: ImageStore, range: ByteRange, block: Uint8Array): void {
  const pattern = new Uint8Array(Math.min(range.bytes, FILL_BYTES));
  for (let at = 0; at < pattern.length; at += block.length) pattern.set(block, at);
  for (let done = 0; done < range.bytes; done += pattern.length) {
    medium.write(range.at + done, pattern.subarray(0, range.bytes - done));
  }
}
