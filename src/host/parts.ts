/** What of a USB device one rump process serves: all that has a driver, or, with `--split`, one function (functions.ts). */
import type { UsbDevice } from "./discovery.js";

export interface DevicePart {
  /** How events call it: `1-1`, or `1-1:2` where the function's first interface is 2. */
  readonly key: string;
  /** The device with the matches of this part alone. */
  readonly device: UsbDevice;
  /** The interfaces of the function; undefined: the device is served as a whole. */
  readonly interfaces: readonly number[] | undefined;
}

export function wholeDevice(device: UsbDevice): DevicePart {
  return { key: device.path, device, interfaces: undefined };
}

/** The device as whoever serves these interfaces sees it: what others do with the rest is none of its business. */
export function narrowed(device: UsbDevice, interfaces: readonly number[] | undefined): UsbDevice {
  if (interfaces === undefined) return device;
  return { ...device, matches: device.matches.filter(({ interfaceNumber }) => interfaces.includes(interfaceNumber)) };
}
