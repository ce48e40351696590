/** Bulk-Only Transport: the two wrappers, as a device reads and writes them (BOT 1.0 §5). */
import { raw, record, u32le, u8 } from "../bytes.js";

/** Command block wrapper — BOT 1.0 §5.1, Table 5.1. */
export const commandBlockWrapper = record("CBW", "BOT 1.0 §5.1", {
  dCBWSignature: u32le,
  dCBWTag: u32le,
  dCBWDataTransferLength: u32le,
  bmCBWFlags: u8,
  bCBWLUN: u8,
  bCBWCBLength: u8,
  CBWCB: raw(16),
});
export type CommandBlockWrapper = ReturnType<typeof commandBlockWrapper.decode>;

/** Command status wrapper — BOT 1.0 §5.2, Table 5.2. */
export const commandStatusWrapper = record("CSW", "BOT 1.0 §5.2", {
  dCSWSignature: u32le,
  dCSWTag: u32le,
  dCSWDataResidue: u32le,
  bCSWStatus: u8,
});

export const CBW_SIGNATURE = 0x43425355;
export const CSW_SIGNATURE = 0x53425355;
/** bmCBWFlags bit 7: data goes to the host. The other bits are reserved. */
export const CBW_FLAG_IN = 0x80;
export const CBW_MAX_CB_BYTES = 16;
/** Bits 3..0 of bCBWLUN. */
export const MAX_LUN = 15;
/** bCSWStatus — BOT 1.0 §5.3.3.1, Table 5.3. */
export const CSW_STATUS = { PASSED: 0, FAILED: 1, PHASE_ERROR: 2 } as const;
/** Class requests — BOT 1.0 §3. */
export const BOT_REQUEST = { RESET: 0xff, GET_MAX_LUN: 0xfe } as const;

/**
 * A CBW that a device accepts as valid and meaningful (BOT 1.0 §6.2); undefined otherwise.
 * @param packet  One packet from the host: exactly 31 bytes long or not a CBW.
 */
export function parseCommand(packet: Uint8Array): CommandBlockWrapper | undefined {
  if (packet.length !== commandBlockWrapper.size) return undefined;
  const cbw = commandBlockWrapper.decode(packet);
  const meaningful =
    cbw.dCBWSignature === CBW_SIGNATURE &&
    (cbw.bmCBWFlags & ~CBW_FLAG_IN) === 0 &&
    cbw.bCBWLUN <= MAX_LUN &&
    cbw.bCBWCBLength >= 1 &&
    cbw.bCBWCBLength <= CBW_MAX_CB_BYTES;
  return meaningful ? cbw : undefined;
}
