/**
 * Confines a usbfs descriptor before a rump process gets it: it claims the interfaces of its drivers and no other, and neither
 * reconfigures the device nor touches kernel drivers (USBDEVFS_DROP_PRIVILEGES, Linux 4.6 and later). The kernel keeps that,
 * whatever becomes of the process.
 */
import { getSystemErrorName } from "node:util";
import { HostError } from "./errors.js";
import type { UsbDevice } from "./discovery.js";
import type { UsbfsCalls } from "./kernel-driver.js";

/** The mask has 32 bits (linux/usbdevice_fs.h). */
const MAX_MASKED_INTERFACE = 31;

/** A function of several interfaces, such as CDC-ACM, has a driver on one of them, which takes the others. */
export function confinedTo(device: Pick<UsbDevice, "interfaces" | "matches">): readonly number[] {
  const matched = new Set(device.matches.map(({ interfaceNumber }) => interfaceNumber));
  return device.interfaces
    .filter(({ interfaceNumber, interfaceClass }) => matched.has(interfaceNumber) || DATA_CLASSES.has(interfaceClass))
    .map(({ interfaceNumber }) => interfaceNumber);
}

/** Classes of interfaces that are nothing by themselves: CDC data (CDC 1.2 §4.5). */
export const DATA_CLASSES: ReadonlySet<number> = new Set([0x0a]);

/** The kernel resets the port for a confined descriptor only where nobody else may be using the device. */
export function mayReset(
  device: Pick<UsbDevice, "interfaces" | "matches">,
  allowed: readonly number[] = confinedTo(device),
): boolean {
  return allowed.length === device.interfaces.length;
}

/**
 * @param allowed  Interfaces; left out: those of every driver.
 * @throws HostError DEVICE_GONE; FAILED: the kernel cannot or will not.
 */
export function confine(
  device: UsbDevice,
  fd: number,
  calls: Pick<UsbfsCalls, "dropPrivileges">,
  allowed: readonly number[] = confinedTo(device),
): void {
  if (allowed.length === 0) return; // not configured yet: selecting the configuration is what it needs the right for
  const mask = allowed.filter((one) => one <= MAX_MASKED_INTERFACE).reduce((bits, one) => bits | (1 << one), 0);
  const result = calls.dropPrivileges(fd, mask);
  if (result === 0) return;
  const errno = getSystemErrorName(result);
  const what = `${device.path}: the descriptor cannot be confined to interface ${allowed.join(", ")}: ${errno}`;
  throw new HostError(errno === "ENODEV" ? "DEVICE_GONE" : "FAILED", what);
}
