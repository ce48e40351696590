/** What uas drives, as data: found without loading the driver. Protocols: MSC overview 1.4 §3. */
import type { MatchRule } from "../usbdi.js";

/** bInterfaceProtocol of USB Attached SCSI. */
export const UAS_PROTOCOL = 0x62;

export const UAS_MATCH: readonly MatchRule[] = [
  // SCSI transparent command set over USB Attached SCSI
  { interfaceClass: 0x08, interfaceSubClass: 0x06, interfaceProtocol: UAS_PROTOCOL },
];
