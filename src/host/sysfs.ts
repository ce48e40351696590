/**
 * USB devices as Linux has parsed them: the files of /sys/bus/usb/devices (Documentation/ABI/testing/sysfs-bus-usb).
 *
 * Nothing here reads a descriptor. The serial number comes from the device through the kernel and is made printable.
 */
import { readdir, readFile, readlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { errnoOf } from "./errors.js";
import { printable } from "./text.js";

export const SYSFS_USB_DEVICES = "/sys/bus/usb/devices";

/** An interface of the active configuration, in its current alternate setting. */
export interface SysfsInterface {
  readonly interfaceNumber: number;
  readonly interfaceClass: number;
  readonly interfaceSubClass: number;
  readonly interfaceProtocol: number;
  /** The kernel driver that has it, `usb-storage`; `usbfs` = a program has claimed it. */
  readonly kernelDriver: string | undefined;
}

export interface SysfsDevice {
  /** Bus path, `1-1.2`. */
  readonly path: string;
  readonly busNumber: number;
  /** Bus address; a device that is plugged in again gets another. */
  readonly deviceNumber: number;
  readonly vendor: number;
  readonly product: number;
  /** bcdDevice. */
  readonly revision: number;
  readonly deviceClass: number;
  readonly deviceSubClass: number;
  readonly deviceProtocol: number;
  readonly serial: string;
  /** Ordered by number; empty while the device is not configured. */
  readonly interfaces: readonly SysfsInterface[];
}

/** `1-1.2`; neither a root hub (`usb1`) nor an interface (`1-1:1.0`). */
const DEVICE_NAME = /^[0-9]+-[0-9]+(\.[0-9]+)*$/;
/** Gone while being read, or a file that this kind of device does not have. */
const ABSENT = new Set(["ENOENT", "ENODEV", "ENOTDIR", "EIO", "ENXIO"]);

/**
 * Every device of the machine except root hubs, ordered by bus and port. One that vanishes while it is read is left
 * out, as is one whose numbers cannot be read.
 *
 * @returns undefined when this kernel has no USB at all (the folder is missing).
 */
export async function readSysfs(root: string = SYSFS_USB_DEVICES): Promise<SysfsDevice[] | undefined> {
  let names: string[];
  try {
    names = await readdir(root);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
  const devices: SysfsDevice[] = [];
  for (const name of names.filter((n) => DEVICE_NAME.test(n)).sort(byPorts)) {
    const device = await readDevice(root, name, names);
    if (device !== undefined) devices.push(device);
  }
  return devices;
}

async function readDevice(root: string, path: string, names: readonly string[]): Promise<SysfsDevice | undefined> {
  const folder = join(root, path);
  const numbers = await readNumbers(folder, DEVICE_NUMBERS);
  if (numbers === undefined) return undefined;
  const interfaces: SysfsInterface[] = [];
  for (const name of names.filter((n) => n.startsWith(`${path}:`))) {
    const found = await readInterface(join(root, name));
    if (found !== undefined) interfaces.push(found);
  }
  return {
    path,
    ...numbers,
    serial: printable((await readAttribute(folder, "serial")) ?? ""),
    interfaces: interfaces.sort((a, b) => a.interfaceNumber - b.interfaceNumber),
  };
}

async function readInterface(folder: string): Promise<SysfsInterface | undefined> {
  const numbers = await readNumbers(folder, INTERFACE_NUMBERS);
  return numbers === undefined ? undefined : { ...numbers, kernelDriver: await readDriver(folder) };
}

/** Number fields: the file's name and its base. */
type NumberFiles = Readonly<Record<string, readonly [file: string, radix: 10 | 16]>>;

const DEVICE_NUMBERS = {
  busNumber: ["busnum", 10],
  deviceNumber: ["devnum", 10],
  vendor: ["idVendor", 16],
  product: ["idProduct", 16],
  revision: ["bcdDevice", 16],
  deviceClass: ["bDeviceClass", 16],
  deviceSubClass: ["bDeviceSubClass", 16],
  deviceProtocol: ["bDeviceProtocol", 16],
} as const satisfies NumberFiles;

const INTERFACE_NUMBERS = {
  interfaceNumber: ["bInterfaceNumber", 16],
  interfaceClass: ["bInterfaceClass", 16],
  interfaceSubClass: ["bInterfaceSubClass", 16],
  interfaceProtocol: ["bInterfaceProtocol", 16],
} as const satisfies NumberFiles;

async function readNumbers<F extends NumberFiles>(
  folder: string,
  files: F,
): Promise<{ [K in keyof F]: number } | undefined> {
  const values: Record<string, number> = {};
  for (const [field, [file, radix]] of Object.entries(files)) {
    const value = Number.parseInt((await readAttribute(folder, file)) ?? "", radix);
    if (Number.isNaN(value)) return undefined;
    values[field] = value;
  }
  return values as { [K in keyof F]: number };
}

async function readDriver(folder: string): Promise<string | undefined> {
  try {
    return printable(basename(await readlink(join(folder, "driver"))));
  } catch (error) {
    if (ABSENT.has(errnoOf(error)) || errnoOf(error) === "EINVAL") return undefined;
    throw error;
  }
}

/** A file of a device's folder, without the line's end; undefined: it is not there. */
export async function readAttribute(folder: string, name: string): Promise<string | undefined> {
  try {
    return (await readFile(join(folder, name), "utf8")).trim();
  } catch (error) {
    if (ABSENT.has(errnoOf(error))) return undefined;
    throw error;
  }
}

/** Orders 1-2 before 1-10. */
function byPorts(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}
