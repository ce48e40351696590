/** What a unit says about itself: INQUIRY and its vital product data (SPC-4 §6.6, §7.8; SBC-3 §6.6), READ CAPACITY. */
import { concat, raw, record, u16be, u32be, u64be, u8 } from "../../bytes.js";
import { CheckCondition, SENSE } from "./sense.js";
import type { LogicalUnit } from "./unit.js";

export interface ScsiIdentity {
  /** At most 8 ASCII characters. */
  readonly vendor: string;
  /** At most 16. */
  readonly product: string;
  /** At most 4. */
  readonly revision: string;
  readonly serial: string;
}

/** The most bytes that one READ or WRITE may move. */
export const MAX_TRANSFER_BYTES = 32 << 20;
/** The most bytes that one UNMAP or WRITE SAME may clear: what can be done while the host waits. */
export const MAX_CLEAR_BYTES = 64 << 20;
export const MAX_UNMAP_DESCRIPTORS = 256;
const OPTIMAL_TRANSFER_BYTES = 1 << 20;

/** Standard INQUIRY data — SPC-4 §6.6.2, Table 139. */
const standardInquiry = record("standard INQUIRY data", "SPC-4 §6.6.2", {
  peripheral: u8,
  removable: u8,
  version: u8,
  responseFormat: u8,
  additionalLength: u8,
  flags: raw(3),
  vendor: raw(8),
  product: raw(16),
  revision: raw(4),
});
/** Peripheral qualifier 3, device type 1Fh: no such unit here. */
const NO_UNIT = 0x7f;
const DIRECT_ACCESS = 0x00;
const RMB = 0x80;
const VERSION_SPC4 = 0x06;
const RESPONSE_FORMAT = 0x02;

/** Standard data; `unit` undefined = the LUN does not exist. */
export function standardInquiryData(identity: ScsiIdentity, unit: LogicalUnit | undefined): Uint8Array {
  return standardInquiry.encode({
    peripheral: unit === undefined ? NO_UNIT : DIRECT_ACCESS,
    removable: unit?.removable === true ? RMB : 0,
    version: VERSION_SPC4,
    responseFormat: RESPONSE_FORMAT,
    additionalLength: standardInquiry.size - 5,
    flags: new Uint8Array(3),
    vendor: padded(identity.vendor, 8),
    product: padded(identity.product, 16),
    revision: padded(identity.revision, 4),
  });
}

type VpdPage = (identity: ScsiIdentity, unit: LogicalUnit) => Uint8Array;

/** Vital product data pages by page code, without their header. */
const VPD_PAGES: ReadonlyMap<number, VpdPage> = new Map<number, VpdPage>([
  [0x00, () => Uint8Array.from(VPD_PAGES.keys())],
  [0x80, (identity) => ascii(identity.serial)],
  [0x83, deviceIdentification],
  [0xb0, blockLimits],
  [0xb1, blockCharacteristics],
  [0xb2, provisioning],
]);

/** @throws CheckCondition when the page is not supported. */
export function vpdPage(pageCode: number, identity: ScsiIdentity, unit: LogicalUnit): Uint8Array {
  const page = VPD_PAGES.get(pageCode);
  if (page === undefined) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  const body = page(identity, unit);
  return concat([Uint8Array.of(DIRECT_ACCESS, pageCode, body.length >> 8, body.length & 0xff), body]);
}

/** One T10 vendor designator: vendor, product and serial (SPC-4 §7.8.6.4). */
function deviceIdentification(identity: ScsiIdentity): Uint8Array {
  const designator = concat([padded(identity.vendor, 8), padded(identity.product, 16), ascii(identity.serial)]);
  const ASCII_CODE_SET = 0x02;
  const T10_VENDOR = 0x01;
  return concat([Uint8Array.of(ASCII_CODE_SET, T10_VENDOR, 0, designator.length), designator]);
}

/** Block Limits — SBC-3 §6.6.4, Table 198, after the header. */
const blockLimitsPage = record("block limits VPD page", "SBC-3 §6.6.4", {
  wsnz: u8,
  maxCompareAndWrite: u8,
  optimalTransferGranularity: u16be,
  maxTransfer: u32be,
  optimalTransfer: u32be,
  maxPrefetch: u32be,
  maxUnmapLbaCount: u32be,
  maxUnmapDescriptorCount: u32be,
  optimalUnmapGranularity: u32be,
  unmapGranularityAlignment: u32be,
  maxWriteSame: u64be,
  reserved: raw(20),
});

function blockLimits(_identity: ScsiIdentity, unit: LogicalUnit): Uint8Array {
  const thin = unit.thinProvisioning;
  return blockLimitsPage.encode({
    wsnz: 1,
    maxCompareAndWrite: 0,
    optimalTransferGranularity: 1,
    maxTransfer: MAX_TRANSFER_BYTES / unit.blockBytes,
    optimalTransfer: OPTIMAL_TRANSFER_BYTES / unit.blockBytes,
    maxPrefetch: 0,
    maxUnmapLbaCount: thin ? MAX_CLEAR_BYTES / unit.blockBytes : 0,
    maxUnmapDescriptorCount: thin ? MAX_UNMAP_DESCRIPTORS : 0,
    optimalUnmapGranularity: thin ? 1 : 0,
    unmapGranularityAlignment: 0,
    maxWriteSame: BigInt(MAX_CLEAR_BYTES / unit.blockBytes),
    reserved: new Uint8Array(20),
  });
}

/** Block Device Characteristics — SBC-3 §6.6.2: rotation rate 1 = non-rotating; no form factor. */
function blockCharacteristics(): Uint8Array {
  const page = new Uint8Array(60);
  page[1] = 1;
  return page;
}

/** Logical Block Provisioning — SBC-3 §6.6.7: LBPU, LBPWS, LBPWS10 and LBPRZ; thin provisioned. */
function provisioning(_identity: ScsiIdentity, unit: LogicalUnit): Uint8Array {
  const LBPU_LBPWS_LBPWS10_LBPRZ = 0xe4;
  const THIN = 0x02;
  return unit.thinProvisioning ? Uint8Array.of(0, LBPU_LBPWS_LBPWS10_LBPRZ, THIN, 0) : new Uint8Array(4);
}

/** READ CAPACITY (10) parameter data — SBC-3 §5.15.2. */
const capacity10 = record("READ CAPACITY (10) data", "SBC-3 §5.15.2", { lastLba: u32be, blockBytes: u32be });
/** READ CAPACITY (16) parameter data — SBC-3 §5.16.2. */
const capacity16 = record("READ CAPACITY (16) data", "SBC-3 §5.16.2", {
  lastLba: u64be,
  blockBytes: u32be,
  protection: u8,
  physicalExponent: u8,
  provisioning: u16be,
  reserved: raw(16),
});
const LBPME_LBPRZ = 0xc000;

/** A last LBA that does not fit 32 bits is FFFFFFFFh: ask with READ CAPACITY (16). */
export function capacity10Data(unit: LogicalUnit): Uint8Array {
  return capacity10.encode({ lastLba: Math.min(unit.blockCount - 1, 0xffffffff), blockBytes: unit.blockBytes });
}

export function capacity16Data(unit: LogicalUnit): Uint8Array {
  return capacity16.encode({
    lastLba: BigInt(unit.blockCount - 1),
    blockBytes: unit.blockBytes,
    protection: 0,
    physicalExponent: 0,
    provisioning: unit.thinProvisioning ? LBPME_LBPRZ : 0,
    reserved: new Uint8Array(16),
  });
}

function ascii(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

/** SPC-4 §4.4.1: left-aligned, filled with spaces. */
function padded(text: string, bytes: number): Uint8Array {
  return ascii(text.padEnd(bytes).slice(0, bytes));
}
