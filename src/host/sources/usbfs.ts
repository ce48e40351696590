/** A USB device of this machine, through usbfs. The host opens the node; the rump process is sent the descriptor. */
import { close, constants, open } from "node:fs";
import { promisify } from "node:util";
import { hex16 } from "../../bytes.js";
import { type DriverEntry, driverToLoad } from "../../dev/usb/driver-modules.js";
import { DRIVERS } from "../../dev/usb/drivers.js";
import { loadLate } from "../../rumpuser/real/resources.js";
import type { Clock } from "../../rumpuser/rumpuser.js";
import { confine, mayReset } from "../confine.js";
import { type DiscoveryRoots, identityOf, listDevices, type UsbDevice } from "../discovery.js";
import { errnoOf, failureCode, HostError, type HostErrorCode, messageOf } from "../errors.js";
import type { TakenInterfaces, UsbfsCalls } from "../kernel-driver.js";
import { type DevicePart, narrowed } from "../parts.js";
import type { DeviceSource, OpenedDevice } from "./source.js";

const openNode = promisify(open);

/** The kernel's name for an interface that a program has claimed through usbfs. */
const CLAIMED_BY_PROGRAM = "usbfs";

export interface UsbfsSourceOptions {
  /** What of which device; every part of one is opened by itself. */
  readonly part: DevicePart;
  /** Take the device from its kernel driver. */
  readonly take: boolean;
  readonly roots: DiscoveryRoots;
  readonly clock: Clock;
  readonly usbfs: UsbfsCalls;
  /** Left out: those that come with the project. */
  readonly drivers?: readonly DriverEntry[] | undefined;
}

export function usbfsSource(options: UsbfsSourceOptions): DeviceSource {
  return { key: options.part.key, mayReturn: false, open: async () => await openUsbfs(options) };
}

async function openUsbfs(options: UsbfsSourceOptions): Promise<OpenedDevice> {
  const { part, clock } = options;
  const { device, interfaces } = part;
  let descriptor = await openReadWrite(device);
  let isOpen = true;
  const closeDescriptor = (): void => {
    if (!isOpen) return;
    isOpen = false;
    close(descriptor);
  };
  const openAnew = async (): Promise<void> => {
    closeDescriptor();
    descriptor = await openReadWrite(device);
    isOpen = true;
  };
  let taken: TakenInterfaces | undefined;
  try {
    const current = await sameDevice(options);
    const busy = busyInterfaces(narrowed(current, interfaces), options.take);
    if (busy.length > 0) {
      const { takeInterfaces } = await loadLate(async () => await import("../kernel-driver.js"));
      taken = await takeInterfaces(device.path, descriptor, busy, options.usbfs, clock);
      await openAnew(); // the keeper shares the first one, and must not be confined with the driver
    }
    confine(device, descriptor, options.usbfs, interfaces);
  } catch (error) {
    closeDescriptor();
    await taken?.giveBack();
    throw error;
  }
  return {
    bus: mayReset(device, interfaces) ? { kind: "usbfs" } : { kind: "usbfs", mayReset: false },
    drivers: driversFor(device, options.drivers ?? DRIVERS),
    ...(interfaces === undefined ? {} : { interfaces }),
    get descriptor() {
      // The number may be another file's by now.
      if (!isOpen) throw new HostError("DEVICE_GONE", `${describe(device)} is not open`);
      return descriptor;
    },
    closeDescriptor,
    reopen: async () => {
      await openAnew();
      await sameDevice(options);
      confine(device, descriptor, options.usbfs, interfaces);
      return true; // a device that was enumerated anew has another number
    },
    release: async () => {
      closeDescriptor();
      const held = taken;
      taken = undefined;
      await held?.giveBack();
    },
  };
}

/** Only what the ids call for: a device that changes its class on a reset finds no other driver. */
function driversFor(device: UsbDevice, drivers: readonly DriverEntry[]): OpenedDevice["drivers"] {
  const matched = new Set(device.matches.map((match) => match.driver));
  // The OS shows one alternate setting of an interface; the driver of another may be the better one.
  const names = new Set(
    drivers.flatMap(({ name, alternatives }) => (matched.has(name) ? [name, ...(alternatives ?? [])] : [])),
  );
  return drivers.filter(({ name }) => names.has(name)).map(driverToLoad);
}

async function openReadWrite(device: UsbDevice): Promise<number> {
  try {
    return await openNode(device.node, constants.O_RDWR);
  } catch (error) {
    const errno = errnoOf(error);
    const message = `${describe(device)}: ${messageOf(error)}`;
    if (errno !== "EACCES" && errno !== "EPERM")
      throw new HostError(OPEN_ERRORS[errno] ?? failureCode(error), message, { cause: error });
    const { permissionHelp } = await loadLate(async () => await import("../udev-advice.js"));
    const help = permissionHelp(device.vendor, device.product);
    throw new HostError("NOT_PERMITTED", `${message}; ${help}`, { cause: error });
  }
}

const OPEN_ERRORS: Readonly<Record<string, HostErrorCode>> = {
  EROFS: "NOT_PERMITTED",
  ENOENT: "DEVICE_GONE",
  ENODEV: "DEVICE_GONE",
  ENXIO: "DEVICE_GONE",
};

/** Bus numbers and addresses are used again: what was opened must still be what was chosen. */
async function sameDevice({ part: { device }, roots, drivers }: UsbfsSourceOptions): Promise<UsbDevice> {
  const current = (await listDevices(roots, drivers))?.find(({ path }) => path === device.path);
  if (current === undefined || identityOf(current) !== identityOf(device))
    throw new HostError("DEVICE_GONE", `${describe(device)} was unplugged while it was being opened`);
  return current;
}

/**
 * The interfaces that must be taken from a kernel driver first.
 *
 * @throws HostError DEVICE_BUSY: there are some, and taking was not asked for, or a program has them.
 */
export function busyInterfaces(device: UsbDevice, take: boolean): number[] {
  const busy = device.matches.filter((match) => match.kernelDriver !== undefined);
  const [first] = busy;
  if (first === undefined) return [];
  const where = `${describe(device)}: interface ${first.interfaceNumber}`;
  if (busy.some((match) => match.kernelDriver === CLAIMED_BY_PROGRAM))
    throw new HostError("DEVICE_BUSY", `${where} is in use by another program (claimed through usbfs)`);
  if (!take)
    throw new HostError(
      "DEVICE_BUSY",
      `${where} is in use by the kernel driver ${first.kernelDriver}; left alone. Unmount it, then use --take to take it for the time of this run`,
    );
  return busy.map((match) => match.interfaceNumber);
}

function describe(device: UsbDevice): string {
  return `${device.path} (${hex16(device.vendor)}:${hex16(device.product)})`;
}
