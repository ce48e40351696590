/** What umass drives, as data: found without loading the driver. Subclasses and protocols: MSC overview 1.4 §2, §3. */
import type { MatchRule } from "../usbdi.js";

/** bInterfaceProtocol of the Bulk-Only Transport. */
export const BOT_PROTOCOL = 0x50;

export const UMASS_MATCH: readonly MatchRule[] = [
  // SCSI transparent command set over the Bulk-Only Transport
  { interfaceClass: 0x08, interfaceSubClass: 0x06, interfaceProtocol: BOT_PROTOCOL },
];
