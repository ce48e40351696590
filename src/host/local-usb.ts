/** The USB devices of this machine: which are driven (usb-devices.ts), and that the list is read again when it changes. */
import type { DriverEntry } from "../dev/usb/driver-modules.js";
import { DRIVERS } from "../dev/usb/drivers.js";
import { detachKernelDriver, dropPrivileges, keeperPath } from "../rumpuser/real/addon.js";
import { watchUsbUevents } from "../rumpuser/real/uevents.js";
import { type DiscoveryRoots, SYSTEM_ROOTS } from "./discovery.js";
import type { HostError } from "./errors.js";
import { HotplugWatch } from "./hotplug.js";
import { UsbDevices, type UsbDevicesOptions } from "./usb-devices.js";

export interface LocalUsbOptions extends Omit<UsbDevicesOptions, "usbfs" | "drivers" | "roots"> {
  /** A test passes folders of its own. */
  readonly roots?: DiscoveryRoots;
  /** The user's own, before those that come with the project. */
  readonly drivers: readonly DriverEntry[];
  /** Told of a source of hot-plug events that cannot be used, and why. */
  readonly noHotplug: (source: string, reason: string) => void;
}

export class LocalUsb {
  readonly #devices: UsbDevices;
  readonly #hotplug: HotplugWatch;

  constructor({ noHotplug, roots = SYSTEM_ROOTS, ...options }: LocalUsbOptions) {
    this.#devices = new UsbDevices({
      ...options,
      roots,
      drivers: [...options.drivers, ...DRIVERS],
      usbfs: { detachKernelDriver, dropPrivileges, keeperPath },
    });
    this.#hotplug = new HotplugWatch({
      devRoot: roots.dev,
      clock: options.clock,
      changed: () => this.#devices.refresh(),
      unavailable: noHotplug,
      watchUevents: watchUsbUevents,
    });
  }

  /** As UsbDevices.start, with the watch in place before. */
  async start(): Promise<(HostError | undefined)[]> {
    await this.#hotplug.start();
    return await this.#devices.start();
  }

  async close(): Promise<void> {
    this.#hotplug.close();
    await this.#devices.close();
  }
}
