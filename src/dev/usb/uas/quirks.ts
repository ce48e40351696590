/**
 * Devices whose UAS bends the rules: one row, one fact, one reason. A row names the device and who found it out:
 * Linux = drivers/usb/storage/unusual_uas.h.
 */
import type { ScsiQuirks } from "../../scsipi/transport.js";
import type { DeviceIdentity } from "../usbdi.js";

export interface UasQuirks extends ScsiQuirks {
  /** It does not work: bulk-only transport instead. */
  readonly noUas?: true;
  /** More bytes in one command make it fail. */
  readonly maxTransferBytes?: number;
}

export interface UasQuirkRow {
  readonly vendor: number;
  readonly product: number;
  /** bcdDevice; absent = every revision. */
  readonly revision?: number;
  readonly quirks: UasQuirks;
  /** What it does, and where that is known from. */
  readonly reason: string;
}

export const UAS_QUIRKS: readonly UasQuirkRow[] = [
  {
    vendor: 0x0984,
    product: 0x0301,
    revision: 0x0128,
    quirks: { noUas: true },
    reason: "Apricorn bridge fails over UAS (Linux IGNORE_UAS)",
  },
  {
    vendor: 0x0b05,
    product: 0x1932,
    quirks: { noUas: true },
    reason: "ASUS external disk is slower over UAS than without (Linux IGNORE_UAS)",
  },
  {
    vendor: 0x0bda,
    product: 0x9210,
    quirks: { noUas: true },
    reason: "Hiksemi disk (RTL9210) does not set the tag of its status (Linux IGNORE_UAS)",
  },
  {
    vendor: 0x1234,
    product: 0x1234,
    quirks: { noUas: true },
    reason: "Brain external disk does not set the tag of its status (Linux IGNORE_UAS)",
  },
  {
    vendor: 0x17ef,
    product: 0x3899,
    quirks: { noUas: true },
    reason: "Thinkplus disk sends on streams that are not there, and hangs (Linux IGNORE_UAS)",
  },
  {
    vendor: 0x090c,
    product: 0x2000,
    quirks: { noUas: true },
    reason: "Hiksemi disk sends on streams that are not there, and hangs (Linux IGNORE_UAS)",
  },
];

/** The rows that hold for a device, and what they add up to. */
export function findUasQuirks(
  { vendor, product, revision }: Pick<DeviceIdentity, "vendor" | "product" | "revision">,
  table: readonly UasQuirkRow[] = UAS_QUIRKS,
): { readonly quirks: UasQuirks; readonly rows: readonly UasQuirkRow[] } {
  const rows = table.filter(
    (row) => row.vendor === vendor && row.product === product && (row.revision ?? revision) === revision,
  );
  return { quirks: Object.assign({}, ...rows.map((row) => row.quirks)) as UasQuirks, rows };
}
