/** MODE SENSE and MODE SELECT (SPC-4 §6.11..§6.14, §7.5): the caching page, write protection, DPOFUA. */
import { concat, viewOf } from "../../bytes.js";
import { CheckCondition, SENSE } from "./sense.js";
import type { LogicalUnit } from "./unit.js";

const CACHING_PAGE = 0x08;
const ALL_PAGES = 0x3f;
const ALL_SUBPAGES = 0xff;
/** Bytes of the caching page after its two-byte header (SBC-3 §6.5.5). */
const CACHING_BYTES = 18;
const WCE = 0x04;
/** Device-specific parameter of a direct-access device (SBC-3 §6.5.2). */
const WP = 0x80;
const DPOFUA = 0x10;

/** Page control, MODE SENSE byte 2 bits 7..6 (SPC-4 Table 147). */
const PAGE_CONTROL = { CURRENT: 0, CHANGEABLE: 1, DEFAULT: 2, SAVED: 3 };

/** The header before the pages: MODE SENSE (6) has 4 bytes, (10) has 8 (SPC-4 §7.5.5). */
export type ModeHeader = 4 | 8;

/**
 * The mode parameter list for a MODE SENSE.
 * @param page  Byte 2 of the CDB: page control and page code.
 * @throws CheckCondition for a page, a subpage or saved values that the unit does not have.
 */
export function modeSense(unit: LogicalUnit, header: ModeHeader, page: number, subpage: number): Uint8Array {
  const control = page >> 6;
  const pageCode = page & 0x3f;
  if (control === PAGE_CONTROL.SAVED) throw new CheckCondition(SENSE.SAVING_PARAMETERS_NOT_SUPPORTED);
  if (pageCode !== CACHING_PAGE && pageCode !== ALL_PAGES) throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  if (subpage !== 0 && !(subpage === ALL_SUBPAGES && pageCode === ALL_PAGES))
    throw new CheckCondition(SENSE.INVALID_FIELD_IN_CDB);
  const caching = cachingPage(unit, control);
  const flags = (unit.writeProtected ? WP : 0) | DPOFUA;
  // The length counts what follows it. No block descriptors: READ CAPACITY says the same.
  if (header === 4) return concat([Uint8Array.of(3 + caching.length, 0, flags, 0), caching]);
  return concat([Uint8Array.of(0, 6 + caching.length, 0, flags, 0, 0, 0, 0), caching]);
}

function cachingPage(unit: LogicalUnit, control: number): Uint8Array {
  const page = new Uint8Array(2 + CACHING_BYTES);
  page.set([CACHING_PAGE, CACHING_BYTES]);
  const enabled = control === PAGE_CONTROL.CURRENT ? unit.writeCacheEnabled : unit.hasWriteCache;
  page[2] = enabled ? WCE : 0;
  return page;
}

/**
 * Takes a MODE SELECT parameter list. Only WCE may be changed, and only where there is a cache.
 * @throws CheckCondition when the list is cut or would change anything else.
 */
export function modeSelect(unit: LogicalUnit, header: ModeHeader, list: Uint8Array): void {
  if (list.length < header) throw new CheckCondition(SENSE.PARAMETER_LIST_LENGTH);
  const descriptorBytes = header === 4 ? (list[3] ?? 0) : viewOf(list).getUint16(6);
  const page = list.subarray(header + descriptorBytes);
  if (page.length === 0) return;
  if (page.length < 2 + CACHING_BYTES) throw new CheckCondition(SENSE.PARAMETER_LIST_LENGTH);
  const expected = cachingPage(unit, PAGE_CONTROL.CURRENT);
  const wanted = page.slice(0, expected.length);
  const wce = (wanted[2] ?? 0) & WCE;
  if (unit.hasWriteCache) expected[2] = wce;
  if (page.length !== expected.length || !wanted.every((byte, at) => byte === expected[at]))
    throw new CheckCondition(SENSE.INVALID_FIELD_IN_PARAMETER_LIST);
  if (unit.writeCacheEnabled && wce === 0) unit.cache?.sync();
  unit.writeCacheEnabled = unit.hasWriteCache && wce !== 0;
}
