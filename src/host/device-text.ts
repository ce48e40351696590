/** What people want to know of a USB device, and nothing is decided by. */
import { join } from "node:path";
import type { Speed } from "../rumpuser/rumpuser.js";
import { readAttribute } from "./sysfs.js";
import { printable } from "./text.js";

export interface DeviceText {
  readonly speed: Speed;
  /** "" where the device says none. */
  readonly manufacturer: string;
  readonly productName: string;
}

/** The `speed` file, in Mbit/s. */
const SPEEDS: Readonly<Record<string, Speed>> = {
  "1.5": "low",
  "12": "full",
  "480": "high",
  "5000": "super",
  "10000": "superPlus",
  "20000": "superPlus",
};

/**
 * @param root  /sys/bus/usb/devices.
 * @param path  Of the device, `1-1.2`; one that has gone has no text.
 */
export async function readDeviceText(root: string, path: string): Promise<DeviceText> {
  const folder = join(root, path);
  return {
    speed: SPEEDS[(await readAttribute(folder, "speed")) ?? ""] ?? "full",
    manufacturer: printable((await readAttribute(folder, "manufacturer")) ?? ""),
    productName: printable((await readAttribute(folder, "product")) ?? ""),
  };
}
