/** The USB devices of this machine, with what the user can do about each: the list, and its changes. */
import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import type { DriverEntry } from "../dev/usb/driver-modules.js";
import { DRIVERS } from "../dev/usb/drivers.js";
import { findMatches } from "../dev/usb/match.js";
import { readSysfs, type SysfsDevice, SYSFS_USB_DEVICES } from "./sysfs.js";

/** Where to look; a test passes folders of its own. */
export interface DiscoveryRoots {
  /** Default /sys/bus/usb/devices. */
  readonly sysfs: string;
  /** Default /dev/bus/usb. */
  readonly dev: string;
}

export const SYSTEM_ROOTS: DiscoveryRoots = { sysfs: SYSFS_USB_DEVICES, dev: "/dev/bus/usb" };

/** An interface that one of our drivers matches. */
export interface DriverMatch {
  readonly interfaceNumber: number;
  /** "umass". */
  readonly driver: string;
  readonly rank: number;
  /** Kernel driver that has the interface now. */
  readonly kernelDriver: string | undefined;
}

export interface UsbDevice extends SysfsDevice {
  /** Device node, `/dev/bus/usb/001/002`. */
  readonly node: string;
  /** This user may open the node for reading and writing. */
  readonly mayOpen: boolean;
  /** The best driver of each interface that has one, by interface number. */
  readonly matches: readonly DriverMatch[];
}

/**
 * Every device except root hubs.
 *
 * @returns undefined when this kernel has no USB.
 */
export async function listDevices(
  roots: DiscoveryRoots = SYSTEM_ROOTS,
  drivers: readonly DriverEntry[] = DRIVERS,
): Promise<UsbDevice[] | undefined> {
  const found = await readSysfs(roots.sysfs);
  if (found === undefined) return undefined;
  return await Promise.all(
    found.map(async (device) => {
      const node = devicePath(roots.dev, device.busNumber, device.deviceNumber);
      return { ...device, node, mayOpen: await mayOpen(node), matches: matchesOf(device, drivers) };
    }),
  );
}

/** The best driver for each interface; the same table and ranking as in the rump process. */
export function matchesOf(device: SysfsDevice, drivers: readonly DriverEntry[] = DRIVERS): DriverMatch[] {
  return device.interfaces.flatMap((iface) => {
    const [best] = findMatches(drivers, { ...device, ...iface });
    if (best === undefined) return [];
    const { interfaceNumber, kernelDriver } = iface;
    return [{ interfaceNumber, driver: best.driver.name, rank: best.rank, kernelDriver }];
  });
}

/** Another one: another device, or the same one that was enumerated anew. */
export function identityOf(device: UsbDevice): string {
  return `${device.busNumber}/${device.deviceNumber}/${device.vendor}/${device.product}`;
}

/** `/dev/bus/usb/001/002`. */
function devicePath(devRoot: string, busNumber: number, deviceNumber: number): string {
  return join(devRoot, String(busNumber).padStart(3, "0"), String(deviceNumber).padStart(3, "0"));
}

/** Whether the node may be opened for reading and writing (access(2), so with the real user's rights). */
async function mayOpen(path: string): Promise<boolean> {
  try {
    await access(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false; // whichever errno it is: the answer is no, and opening it will say why
  }
}
