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

/** How much is risked: a device that goes wrong is driven in a mode with a higher number from then on. */
const CALM: Readonly<Record<Mode, number>> = { auto: 0, uas: 0, bot: 1, together: 1, overlap: 2, sequence: 3 };
/** What a driver may come down to. */
const DEMOTIONS: readonly Mode[] = ["bot", "overlap", "sequence"];

/** The mode that a rump process says a device shall be driven in; undefined for any other word, and where it is no calmer. */
export function demotedMode(mode: Mode, word: string): Mode | undefined {
  return DEMOTIONS.find((one) => one === word && CALM[one] > CALM[mode]);
}

/** What the next process is asked for a device that went wrong in the one before; `reason` is in that one's words. */
export function demotedOptionsOf(mode: Mode, reason: string): AllDriverOptions {
  const because = `demoted before the restart: ${reason}`;
  const { uas, umass } = driverOptionsOf(mode);
  return { uas: { ...uas, because }, umass: { ...umass, because } };
}
