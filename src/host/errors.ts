/**
 * What can go wrong for the person at the command line. Each has a code that is stable (it is printed with --json) and
 * an exit status that follows from it.
 */
import { isOutOfResources } from "../rumpuser/real/resources.js";
import { messageOf } from "../thrown.js";

export { isOutOfResources } from "../rumpuser/real/resources.js";
export { errnoOf, messageOf } from "../thrown.js";

const CODES = [
  "USAGE",
  "NO_SUCH_DEVICE",
  "NOT_PERMITTED",
  "SANDBOX_UNAVAILABLE",
  "DEVICE_BUSY", // the device exists and something else drives it
  "DEVICE_GONE", // the device went away while it was being attached
  "NO_DRIVER", // none of our drivers matches, or none that matches attached
  "ATTACH_TIMED_OUT", // the rump process did not report in time
  "DRIVER", // a driver refused the device or gave it up
  "RUMP_LOST", // the rump process ended, or broke the protocol of the pud channel
  "KERNEL_DRIVER", // the kernel driver could not be detached, or not be given back
  "LINK", // a link (a socket, a kernel device) could not be opened
  "SIMULATION", // the simulated device could not be started, or ended
  "USBIP", // the USB/IP server cannot be reached
  "RUNTIME_DIR",
  "INSTALLATION", // a part of the installation is missing
  "NO_RESOURCES", // this machine had no descriptor, no process or no memory left for it
  "FAILED",
] as const;

export type HostErrorCode = (typeof CODES)[number];

export function isHostErrorCode(code: unknown): code is HostErrorCode {
  return CODES.some((one) => one === code);
}

/** Of the codes that have one of their own; 1 = failed. */
const EXIT_STATUS: Partial<Readonly<Record<HostErrorCode, number>>> = {
  USAGE: 2,
  NO_SUCH_DEVICE: 3,
  NOT_PERMITTED: 4,
  SANDBOX_UNAVAILABLE: 5,
};

/** The code for an error that a rump process reported with its own: of a USB/IP server, or a driver failed. */
export function reportedCode(code: string): HostErrorCode {
  if (code === "USBIP_NO_DEVICE") return "NO_SUCH_DEVICE";
  if (code === "USBIP_BUSY") return "DEVICE_BUSY";
  return code.startsWith("USBIP_") ? "USBIP" : "DRIVER";
}

/** An error whose message is meant for the user: what, where, which rule, what to do. Printed without a stack. */
export class HostError extends Error {
  readonly code: HostErrorCode;

  constructor(code: HostErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "HostError";
    this.code = code;
  }

  get exitStatus(): number {
    return EXIT_STATUS[this.code] ?? 1;
  }
}

/** The code for a system error that can have many causes. */
export function failureCode(error: unknown): "NO_RESOURCES" | "FAILED" {
  return isOutOfResources(error) ? "NO_RESOURCES" : "FAILED";
}

/** What was thrown, as what is told. */
export function hostErrorOf(error: unknown): HostError {
  return error instanceof HostError ? error : new HostError(failureCode(error), messageOf(error), { cause: error });
}
