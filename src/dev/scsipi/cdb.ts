/**
 * Command descriptor blocks: SPC-4 ch. 6, SBC-3 ch. 5.
 *
 * Each function makes one command with the words that a log needs about it. Layouts are tables; several commands share
 * one. Block addresses count from 0; all numbers are big-endian.
 */
import { record, u16be, u32be, u64be, u8 } from "../../bytes.js";
import { DEFAULT_COMMAND_TIMEOUT_MS } from "./transport.js";

/** The blocks that a command names, for messages. */
interface NamedBlocks {
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly forceUnitAccess?: boolean;
}

/** For commands that name no part of the medium. */
const WHOLE: NamedBlocks = { firstBlock: 0, blockCount: 0 };

/** A command that is ready to be sent. */
export class CommandBlock {
  readonly cdb: Uint8Array;
  readonly timeoutMs: number;
  readonly #name: string;
  readonly #blocks: NamedBlocks | undefined;

  constructor(name: string, cdb: Uint8Array, timeoutMs: number, blocks?: NamedBlocks) {
    this.#name = name;
    this.cdb = cdb;
    this.timeoutMs = timeoutMs;
    this.#blocks = blocks;
  }

  /** For messages: `READ(10) block 8 + 8`. Most commands need none. */
  get what(): string {
    if (this.#blocks === undefined) return this.#name;
    const { firstBlock, blockCount, forceUnitAccess } = this.#blocks;
    return `${this.#name} block ${firstBlock} + ${blockCount}${forceUnitAccess === true ? " FUA" : ""}`;
  }
}

/** Operation codes: SPC-4 Table F.2, SBC-3 Table E.1. */
export const OPCODE = {
  TEST_UNIT_READY: 0x00,
  REQUEST_SENSE: 0x03,
  INQUIRY: 0x12,
  MODE_SENSE_6: 0x1a,
  START_STOP_UNIT: 0x1b,
  PREVENT_ALLOW: 0x1e,
  READ_CAPACITY_10: 0x25,
  READ_10: 0x28,
  WRITE_10: 0x2a,
  SYNCHRONIZE_CACHE_10: 0x35,
  UNMAP: 0x42,
  MODE_SENSE_10: 0x5a,
  READ_16: 0x88,
  WRITE_16: 0x8a,
  SYNCHRONIZE_CACHE_16: 0x91,
  WRITE_SAME_16: 0x93,
  SERVICE_ACTION_IN_16: 0x9e,
  REPORT_LUNS: 0xa0,
} as const;

/** SERVICE ACTION IN(16) with this service action is READ CAPACITY(16), SBC-3 §5.16. */
const READ_CAPACITY_16_ACTION = 0x10;
/** Force unit access, bit 3 of byte 1 of WRITE, SBC-3 §5.33. */
const FUA = 0x08;
/** The first block address that the 32 bits of a 10-byte command cannot hold. */
const BEYOND_10 = 2 ** 32;
/** The most blocks that the 16 bits of a 10-byte command can hold. */
const MAX_BLOCKS_10 = 0xffff;

/** Deadlines of commands that are quicker or slower than the rest, in milliseconds. */
const TIMEOUT_MS = {
  quick: 10_000,
  data: DEFAULT_COMMAND_TIMEOUT_MS,
  /** A disk that spins up, or writes a whole cache back. */
  mechanics: 60_000,
} as const;

const plain6 = record("6-byte CDB", "SPC-4 §4.2.2.2", {
  opcode: u8,
  flags: u8,
  page: u8,
  byte3: u8,
  length: u8,
  control: u8,
});
const inquiryCdb = record("INQUIRY", "SPC-4 §6.6", {
  opcode: u8,
  flags: u8,
  page: u8,
  allocationLength: u16be,
  control: u8,
});
const block10 = record("10-byte CDB", "SPC-4 §4.2.2.3", {
  opcode: u8,
  flags: u8,
  logicalBlockAddress: u32be,
  group: u8,
  length: u16be,
  control: u8,
});
const modeSense10Cdb = record("MODE SENSE(10)", "SPC-4 §6.12", {
  opcode: u8,
  flags: u8,
  page: u8,
  subpage: u8,
  reserved4: u16be,
  reserved6: u8,
  allocationLength: u16be,
  control: u8,
});
const reportLunsCdb = record("REPORT LUNS", "SPC-4 §6.33", {
  opcode: u8,
  reserved1: u8,
  selectReport: u8,
  reserved3: u8,
  reserved4: u16be,
  allocationLength: u32be,
  reserved10: u8,
  control: u8,
});
const block16 = record("16-byte CDB", "SPC-4 §4.2.2.5", {
  opcode: u8,
  flags: u8,
  logicalBlockAddress: u64be,
  length: u32be,
  group: u8,
  control: u8,
});

export function testUnitReady(): CommandBlock {
  return six("TEST UNIT READY", { opcode: OPCODE.TEST_UNIT_READY });
}

/** Sense data in the fixed format (DESC = 0), SPC-4 §6.39. */
export function requestSense(allocationBytes: number): CommandBlock {
  return six("REQUEST SENSE", { opcode: OPCODE.REQUEST_SENSE, length: allocationBytes });
}

/** MODE SENSE(6) for the current values, without a wish about block descriptors: DBD = 1 upsets many targets. */
export function modeSense6(page: number, allocationBytes: number): CommandBlock {
  return six(`MODE SENSE(6) page ${hexByte(page)}`, { opcode: OPCODE.MODE_SENSE_6, page, length: allocationBytes });
}

export function modeSense10(page: number, allocationBytes: number): CommandBlock {
  const cdb = modeSense10Cdb.encode({
    opcode: OPCODE.MODE_SENSE_10,
    flags: 0,
    page,
    subpage: 0,
    reserved4: 0,
    reserved6: 0,
    allocationLength: allocationBytes,
    control: 0,
  });
  return new CommandBlock(`MODE SENSE(10) page ${hexByte(page)}`, cdb, TIMEOUT_MS.quick);
}

/** START = 1: make the medium ready. Waits for the end (IMMED = 0), SBC-3 §5.25. */
export function startUnit(): CommandBlock {
  return six("START STOP UNIT (start)", { opcode: OPCODE.START_STOP_UNIT, length: 1 }, TIMEOUT_MS.mechanics);
}

/** Keeps the medium in (SPC-4 §6.19), or lets it go. */
export function preventAllow(prevent: boolean): CommandBlock {
  const what = `PREVENT ALLOW MEDIUM REMOVAL (${prevent ? "prevent" : "allow"})`;
  return six(what, { opcode: OPCODE.PREVENT_ALLOW, length: prevent ? 1 : 0 });
}

/** Standard INQUIRY data, or with `vpdPage` that page of vital product data. */
export function inquiry(allocationBytes: number, vpdPage?: number): CommandBlock {
  const cdb = inquiryCdb.encode({
    opcode: OPCODE.INQUIRY,
    flags: vpdPage === undefined ? 0 : 1,
    page: vpdPage ?? 0,
    allocationLength: allocationBytes,
    control: 0,
  });
  const what = vpdPage === undefined ? "INQUIRY" : `INQUIRY page ${hexByte(vpdPage)}`;
  return new CommandBlock(what, cdb, TIMEOUT_MS.quick);
}

export function readCapacity10(): CommandBlock {
  return ten("READ CAPACITY(10)", OPCODE.READ_CAPACITY_10, WHOLE, TIMEOUT_MS.quick);
}

export function readCapacity16(allocationBytes: number): CommandBlock {
  const opcode = OPCODE.SERVICE_ACTION_IN_16;
  const range = { firstBlock: 0, blockCount: allocationBytes };
  return sixteen("READ CAPACITY(16)", opcode, range, TIMEOUT_MS.quick, READ_CAPACITY_16_ACTION);
}

export function reportLuns(allocationBytes: number): CommandBlock {
  const cdb = reportLunsCdb.encode({
    opcode: OPCODE.REPORT_LUNS,
    reserved1: 0,
    selectReport: 0,
    reserved3: 0,
    reserved4: 0,
    allocationLength: allocationBytes,
    reserved10: 0,
    control: 0,
  });
  return new CommandBlock("REPORT LUNS", cdb, TIMEOUT_MS.quick);
}

/** READ(10), or READ(16) where ten bytes do not suffice. */
export function read(firstBlock: number, blockCount: number): CommandBlock {
  const blocks = { firstBlock, blockCount };
  return fits10(firstBlock, blockCount)
    ? ten("READ(10)", OPCODE.READ_10, blocks, TIMEOUT_MS.data, 0, blocks)
    : sixteen("READ(16)", OPCODE.READ_16, blocks, TIMEOUT_MS.data, 0, blocks);
}

/** WRITE(10), or WRITE(16) where ten bytes do not suffice. */
export function write(firstBlock: number, blockCount: number, forceUnitAccess: boolean): CommandBlock {
  const blocks = { firstBlock, blockCount, forceUnitAccess };
  const flags = forceUnitAccess ? FUA : 0;
  return fits10(firstBlock, blockCount)
    ? ten("WRITE(10)", OPCODE.WRITE_10, blocks, TIMEOUT_MS.data, flags, blocks)
    : sixteen("WRITE(16)", OPCODE.WRITE_16, blocks, TIMEOUT_MS.data, flags, blocks);
}

/** The whole medium: address 0, length 0 = to the end (SBC-3 §5.22). */
export function synchronizeCache(blocksOnMedium: number): CommandBlock {
  return blocksOnMedium <= BEYOND_10
    ? ten("SYNCHRONIZE CACHE(10)", OPCODE.SYNCHRONIZE_CACHE_10, WHOLE, TIMEOUT_MS.mechanics)
    : sixteen("SYNCHRONIZE CACHE(16)", OPCODE.SYNCHRONIZE_CACHE_16, WHOLE, TIMEOUT_MS.mechanics);
}

/** Writes the one block of the data phase `blockCount` times (SBC-3 §5.43); UNMAP = 0, the blocks stay allocated. */
export function writeSame16(firstBlock: number, blockCount: number): CommandBlock {
  const blocks = { firstBlock, blockCount };
  return sixteen("WRITE SAME(16)", OPCODE.WRITE_SAME_16, blocks, TIMEOUT_MS.mechanics, 0, blocks);
}

const unmapList = record("UNMAP parameter list", "SBC-3 §5.28", {
  dataLength: u16be,
  blockDescriptorDataLength: u16be,
  reserved4: u32be,
  firstBlock: u64be,
  blockCount: u32be,
  reserved20: u32be,
});

/** UNMAP of one extent, and its parameter list for the data phase. */
export function unmap(
  firstBlock: number,
  blockCount: number,
): { readonly block: CommandBlock; readonly list: Uint8Array } {
  const list = unmapList.encode({
    dataLength: unmapList.size - 2,
    blockDescriptorDataLength: 16,
    reserved4: 0,
    firstBlock: BigInt(firstBlock),
    blockCount,
    reserved20: 0,
  });
  const range = { firstBlock: 0, blockCount: list.length };
  const block = ten("UNMAP", OPCODE.UNMAP, range, TIMEOUT_MS.mechanics, 0, { firstBlock, blockCount });
  return { block, list };
}

function fits10(firstBlock: number, blockCount: number): boolean {
  return firstBlock + blockCount <= BEYOND_10 && blockCount <= MAX_BLOCKS_10;
}

function six(
  name: string,
  fields: { opcode: number; page?: number; length?: number },
  timeoutMs: number = TIMEOUT_MS.quick,
): CommandBlock {
  const { opcode, page = 0, length = 0 } = fields;
  return new CommandBlock(name, plain6.encode({ opcode, flags: 0, page, byte3: 0, length, control: 0 }), timeoutMs);
}

/** `range` goes into the fields for address and length, whatever those mean; `blocks` is what messages name. */
function ten(
  name: string,
  opcode: number,
  range: NamedBlocks,
  timeoutMs: number,
  flags = 0,
  blocks?: NamedBlocks,
): CommandBlock {
  const { firstBlock: logicalBlockAddress, blockCount: length } = range;
  const cdb = block10.encode({ opcode, flags, logicalBlockAddress, group: 0, length, control: 0 });
  return new CommandBlock(name, cdb, timeoutMs, blocks);
}

/** As `ten`. */
function sixteen(
  name: string,
  opcode: number,
  range: NamedBlocks,
  timeoutMs: number,
  flags = 0,
  blocks?: NamedBlocks,
): CommandBlock {
  const logicalBlockAddress = BigInt(range.firstBlock);
  const cdb = block16.encode({ opcode, flags, logicalBlockAddress, length: range.blockCount, group: 0, control: 0 });
  return new CommandBlock(name, cdb, timeoutMs, blocks);
}

function hexByte(value: number): string {
  return `${value.toString(16).padStart(2, "0").toUpperCase()}h`;
}
