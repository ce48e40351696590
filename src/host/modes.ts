/** `--mode`: how mass storage is driven, as what is asked of its drivers. */
import type { DriverOptions } from "../dev/usb/usbdi.js";

const KEEP_FROM_UAS = { uas: { mode: "bot" } };

const MODES = {
  /** As the drivers know to be best. */
  auto: {},
  /** USB Attached SCSI where the device has it, also where it is known to be bad at it. */
  uas: { uas: { mode: "uas" } },
  /** The Bulk-Only Transport, with its phases as the driver chooses. */
  bot: KEEP_FROM_UAS,
  sequence: { ...KEEP_FROM_UAS, umass: { phases: "sequence" } },
  overlap: { ...KEEP_FROM_UAS, umass: { phases: "overlap" } },
  together: { ...KEEP_FROM_UAS, umass: { phases: "together" } },
} as const satisfies Record<string, Record<string, DriverOptions>>;

export type Mode = keyof typeof MODES;
export const MODE_NAMES = Object.keys(MODES) as readonly Mode[];

/** By the name of the driver. */
export type AllDriverOptions = Readonly<Record<string, DriverOptions>>;

export function driverOptionsOf(mode: Mode): AllDriverOptions {
  return MODES[mode];
}
