/**
 * What can go wrong for the person at the command line. Each has a code that is stable (it is printed with --json) and
 * an exit status that follows from it.
 */

/** Exit status by error code; DESIGN: 0 done, 1 failed, 2 usage, 3 no such device, 4 not permitted, 5 no sandbox. */
export const EXIT_STATUS = {
  USAGE: 2,
  NO_SUCH_DEVICE: 3,
  NOT_PERMITTED: 4,
  SANDBOX_UNAVAILABLE: 5,
  /** The device exists and something else drives it. */
  DEVICE_BUSY: 1,
  /** The device went away while it was being attached. */
  DEVICE_GONE: 1,
  /** None of our drivers matches, or none that matches attached. */
  NO_DRIVER: 1,
  /** The rump process did not report in time. */
  ATTACH_TIMED_OUT: 1,
  /** A driver refused the device or gave it up. */
  DRIVER: 1,
  /** The rump process ended, or broke the protocol of the pud channel. */
  RUMP_LOST: 1,
  /** The kernel driver could not be detached, or not be given back. */
  KERNEL_DRIVER: 1,
  /** A link (a socket, a kernel device) could not be opened. */
  LINK: 1,
  /** The simulated device could not be started, or ended. */
  SIMULATION: 1,
  /** The USB/IP server cannot be reached. */
  USBIP: 1,
  RUNTIME_DIR: 1,
  /** A part of the installation is missing. */
  INSTALLATION: 1,
  FAILED: 1,
} as const;

export type HostErrorCode = keyof typeof EXIT_STATUS;

/** What a rump process may say of a USB/IP server, and what it is for the user. */
const REPORTED_CODES: Readonly<Record<string, HostErrorCode>> = {
  USBIP_NO_DEVICE: "NO_SUCH_DEVICE",
  USBIP_BUSY: "DEVICE_BUSY",
  USBIP_REFUSED: "USBIP",
  USBIP_VERSION: "USBIP",
  USBIP_PROTOCOL: "USBIP",
  USBIP_CLOSED: "USBIP",
  USBIP_TIMED_OUT: "USBIP",
};

/** The code for an error that a rump process reported with its own: a driver failed, or what stands in the table. */
export function reportedCode(code: string): HostErrorCode {
  return (Object.hasOwn(REPORTED_CODES, code) ? REPORTED_CODES[code] : undefined) ?? "DRIVER";
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
    return EXIT_STATUS[this.code];
  }
}

/** The `code` of a Node system error (`ENOENT`), or "" for anything else. */
export function errnoOf(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return "";
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
