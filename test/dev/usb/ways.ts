/** The ways in which a flash drive can be driven: what every test of storage goes through. */
import { uas } from "../../../src/dev/usb/uas/uas.js";
import { umass } from "../../../src/dev/usb/umass/umass.js";
import type { Driver, DriverOptions } from "../../../src/dev/usb/usbdi.js";
import type { FlashDriveOptions } from "../../../src/vdev/flash-drive.js";

export const STORAGE_DRIVERS: readonly Driver[] = [umass, uas];

export interface Way {
  readonly driverOptions: Record<string, DriverOptions>;
  readonly drive: Pick<FlashDriveOptions, "speed" | "uas">;
  /** Commands at a time. */
  readonly depth: number;
}

export const WAYS = {
  sequence: { driverOptions: { umass: { phases: "sequence" } }, drive: {}, depth: 1 },
  overlap: { driverOptions: { umass: { phases: "overlap" } }, drive: {}, depth: 1 },
  together: { driverOptions: { umass: { phases: "together" } }, drive: {}, depth: 1 },
  "uas without streams": { driverOptions: {}, drive: { uas: {} }, depth: 32 },
  "uas with streams": { driverOptions: {}, drive: { speed: "super", uas: {} }, depth: 31 },
  "uas without streams, newest data first": { driverOptions: {}, drive: { uas: { order: "newest" } }, depth: 32 },
  "uas with streams, no bulk-only transport": {
    driverOptions: {},
    drive: { speed: "super", uas: { only: true, order: "newest", maxTasks: 5 } },
    depth: 31,
  },
} as const satisfies Record<string, Way>;

export type WayName = keyof typeof WAYS;
export const WAY_NAMES = Object.keys(WAYS) as WayName[];
