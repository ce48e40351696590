/**
 * Mode pages and vital product data: what a disk says about its write protection, its cache and its limits.
 * SPC-4 §6.11, §7.5, §7.8; SBC-3 §6.4.5 (caching), §6.6.3 (block limits), §6.6.4 (logical block provisioning).
 */
import { record, u16be, u32be, u64be, u8 } from "../../bytes.js";

/** Page codes of MODE SENSE, SPC-4 Table 453. */
export const MODE_PAGE = { CACHING: 0x08, ALL: 0x3f } as const;
/** Pages of vital product data, SPC-4 Table 592, SBC-3 Table 197. */
export const VPD_PAGE = { SUPPORTED: 0x00, BLOCK_LIMITS: 0xb0, PROVISIONING: 0xb2 } as const;

/** Device-specific parameter of a disk, SBC-3 Table 172. */
const WRITE_PROTECT = 0x80;
const DPOFUA = 0x10;
/** Write cache enabled, byte 2 of the caching page, SBC-3 Table 174. */
const WCE = 0x04;

const modeHeader6 = record("mode parameter header(6)", "SPC-4 §7.5.5", {
  modeDataLength: u8,
  mediumType: u8,
  deviceSpecific: u8,
  blockDescriptorLength: u8,
});
const modeHeader10 = record("mode parameter header(10)", "SPC-4 §7.5.5", {
  modeDataLength: u16be,
  mediumType: u8,
  deviceSpecific: u8,
  longLba: u8,
  reserved5: u8,
  blockDescriptorLength: u16be,
});
const pageHead = record("mode page header", "SPC-4 §7.5.7", { pageCode: u8, pageLength: u8 });
const subpageHead = record("mode subpage header", "SPC-4 §7.5.7", { pageCode: u8, subpageCode: u8, pageLength: u16be });
/** SPF, bit 6 of a page code: the page has a subpage header. */
const SUBPAGE_FORMAT = 0x40;
/** Offset of the cache flags in the caching page. */
const CACHE_FLAGS_AT = 2;

/** Header formats: MODE SENSE(6) and (10), and how many bytes stand before "mode data length" counts. */
const HEADERS = { 6: { table: modeHeader6, lengthBytes: 1 }, 10: { table: modeHeader10, lengthBytes: 2 } } as const;

export interface ModeFacts {
  readonly writeProtected: boolean;
  /** The FUA bit is honoured. */
  readonly dpoFua: boolean;
  /** undefined: the caching page was not among those sent. */
  readonly writeCacheEnabled: boolean | undefined;
}

/**
 * Reads a MODE SENSE reply; pages are looked at as far as the reply and its own lengths allow.
 * @throws RecordError when not even the header is there.
 */
export function parseModeSense(bytes: Uint8Array, cdbBytes: keyof typeof HEADERS): ModeFacts {
  const { table, lengthBytes } = HEADERS[cdbBytes];
  const head = table.decode(bytes);
  const end = Math.min(bytes.length, head.modeDataLength + lengthBytes);
  let writeCacheEnabled: boolean | undefined;
  for (const { code, page } of walkPages(bytes.subarray(0, end), table.size + head.blockDescriptorLength)) {
    const flags = page[CACHE_FLAGS_AT];
    if (code === MODE_PAGE.CACHING && flags !== undefined) writeCacheEnabled = (flags & WCE) !== 0;
  }
  return {
    writeProtected: (head.deviceSpecific & WRITE_PROTECT) !== 0,
    dpoFua: (head.deviceSpecific & DPOFUA) !== 0,
    writeCacheEnabled,
  };
}

/** The mode pages from `start`; a page that is cut off is the last. Every step moves forward by at least two bytes. */
function* walkPages(bytes: Uint8Array, start: number): Generator<{ code: number; page: Uint8Array }> {
  let at = start;
  while (at + subpageHead.size <= bytes.length) {
    const { pageCode, pageLength } = pageHead.decode(bytes, at);
    const isSubpage = (pageCode & SUBPAGE_FORMAT) !== 0;
    const size = isSubpage ? subpageHead.size + subpageHead.decode(bytes, at).pageLength : pageHead.size + pageLength;
    if (!isSubpage) yield { code: pageCode & 0x3f, page: bytes.subarray(at, at + size) };
    at += size;
  }
}

const vpdHead = record("VPD page header", "SPC-4 §7.8.1", { peripheral: u8, pageCode: u8, pageLength: u16be });
const blockLimitsPage = record("block limits VPD page", "SBC-3 §6.6.3", {
  peripheral: u8,
  pageCode: u8,
  pageLength: u16be,
  wsnz: u8,
  maxCompareAndWrite: u8,
  optimalGranularity: u16be,
  maxTransferBlocks: u32be,
  optimalTransferBlocks: u32be,
  maxPrefetchBlocks: u32be,
  maxUnmapBlocks: u32be,
  maxUnmapDescriptors: u32be,
  unmapGranularity: u32be,
  unmapAlignment: u32be,
  maxWriteSameBlocks: u64be,
});
const provisioningPage = record("logical block provisioning VPD page", "SBC-3 §6.6.4", {
  peripheral: u8,
  pageCode: u8,
  pageLength: u16be,
  thresholdExponent: u8,
  flags: u8,
});
const LBPU = 0x80;
const LBPWS = 0x40;

/** The most bytes of a VPD page that are asked for: the one-byte allocation length that every unit understands. */
export const VPD_BYTES = 252;

export interface BlockLimits {
  /** 0 = no limit told, in all three. */
  readonly maxTransferBlocks: number;
  readonly maxUnmapBlocks: number;
  readonly maxWriteSameBlocks: number;
}

/** The most blocks that WRITE SAME(16) can name. */
const MAX_U32 = 0xffff_ffffn;

/** The body of a page, clipped; undefined when the bytes are not that page (units answer INQUIRY data instead). */
function vpdBody(bytes: Uint8Array, page: number): Uint8Array | undefined {
  if (bytes.length < vpdHead.size) return undefined;
  const { pageCode, pageLength } = vpdHead.decode(bytes);
  return pageCode === page ? bytes.subarray(vpdHead.size, vpdHead.size + pageLength) : undefined;
}

/** The pages that the unit has; none when the answer is not page 00h. */
export function parseSupportedPages(bytes: Uint8Array): ReadonlySet<number> {
  return new Set(vpdBody(bytes, VPD_PAGE.SUPPORTED));
}

/** Limits; fields that an older, shorter page lacks are 0. undefined when the answer is not page B0h. */
export function parseBlockLimits(bytes: Uint8Array): BlockLimits | undefined {
  const body = vpdBody(bytes, VPD_PAGE.BLOCK_LIMITS);
  if (body === undefined) return undefined;
  const padded = new Uint8Array(blockLimitsPage.size);
  padded.set(body.subarray(0, padded.length - vpdHead.size), vpdHead.size);
  const page = blockLimitsPage.decode(padded);
  return {
    maxTransferBlocks: page.maxTransferBlocks,
    maxUnmapBlocks: page.maxUnmapBlocks,
    maxWriteSameBlocks: page.maxWriteSameBlocks > MAX_U32 ? Number(MAX_U32) : Number(page.maxWriteSameBlocks),
  };
}

export interface Provisioning {
  readonly unmap: boolean;
  readonly writeSame16: boolean;
}

/** undefined when the answer is not page B2h or too short. */
export function parseProvisioning(bytes: Uint8Array): Provisioning | undefined {
  const body = vpdBody(bytes, VPD_PAGE.PROVISIONING);
  if (body === undefined || body.length < provisioningPage.size - vpdHead.size) return undefined;
  const { flags } = provisioningPage.decode(bytes);
  return { unmap: (flags & LBPU) !== 0, writeSame16: (flags & LBPWS) !== 0 };
}
