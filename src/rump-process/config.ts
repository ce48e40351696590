/** What the host tells a rump process: as its one argument, and, where several devices share the process, device by device. */
import type { DriverToLoad } from "../dev/usb/driver-modules.js";
import type { DriverOptions } from "../dev/usb/usbdi.js";
import type { LockProfile } from "../rumpuser/real/lock.js";

export const RUMP_CONFIG_VERSION = 1;

/** How the device that the host sends is reached. */
export type BusConfig =
  /** `mayReset` false: the kernel refuses a port reset, because other interfaces are in use elsewhere. */
  { readonly kind: "usbfs"; readonly mayReset?: boolean } | { readonly kind: "usbip"; readonly busId: string };

/** One device, as it is to be served. */
export interface DeviceConfig {
  readonly bus: BusConfig;
  /** A process that drove the device before was ended in the middle of it. */
  readonly interrupted?: boolean;
  /** The interfaces that are served, others are served elsewhere; left out: all. */
  readonly interfaces?: readonly number[];
  /** Nothing is written to its disks, whatever is asked. */
  readonly readOnly?: boolean;
  /** Specifiers that begin with "." are relative to dev/usb. */
  readonly drivers: readonly DriverToLoad[];
  /** What the user asks of a driver, by its name. */
  readonly driverOptions?: Readonly<Record<string, DriverOptions>>;
}

/** A process for one device. */
export interface RumpProcessConfig extends DeviceConfig {
  readonly version: typeof RUMP_CONFIG_VERSION;
  /** How the process locks itself; left out: it does not. */
  readonly lock?: LockProfile;
  /** Before its device comes memory of so many bytes, to be shared with whoever asks; left out: none. */
  readonly memoryBytes?: number;
  /** It will wait before it gets its device. */
  readonly waits?: boolean;
}

/** A process for several devices, which come one after another. */
export interface SharedProcessConfig {
  readonly version: typeof RUMP_CONFIG_VERSION;
  readonly lock?: LockProfile;
  /** How many devices it has room for: 1 to MAX_SLOTS. */
  readonly slots: number;
  /** What any of them may need: nothing is loaded later. */
  readonly drivers: readonly DriverToLoad[];
}

/** The launcher's bound as well (native/launcher.c). */
export const MAX_SLOTS = 8;

/** One line of JSON on descriptor 3 of a shared process: the next descriptor that comes over 4 is this device. */
export interface DeviceOrder {
  /** Counted from 0; each is used once. */
  readonly slot: number;
  /** Its drivers are among those that the process was started with. */
  readonly device: DeviceConfig;
}
