/** Terminals and character devices of the host: calls that do not wait, and word of when the next one is worth it. */
import { constants as fsConstants, openSync } from "node:fs";
import { constants as osConstants } from "node:os";
import { loadAddon, type NativeDeviceFile, SystemCallError } from "./addon.js";

/** enum uv_poll_event. */
export const READABLE = 1;
export const WRITABLE = 2;
/** Something out of band: the status byte of a terminal in packet mode. */
export const PRIORITY = 8;

/** poll(2). */
export const POLL_IN = 0x1;
export const POLL_PRI = 0x2;
export const POLL_ERR = 0x8;
/** The other side is closed. */
export const POLL_HUP = 0x10;

/** inotify(7). */
export const IN_CLOSE = 0x8 | 0x10;
export const IN_OPEN = 0x20;

const NEGATIVE_EAGAIN = -osConstants.errno.EAGAIN;
const OPEN_FLAGS = fsConstants.O_RDWR | fsConstants.O_NOCTTY | fsConstants.O_NONBLOCK;

/**
 * Opens a device for reading and writing, without waiting; it does not become the process's terminal.
 * @returns the descriptor, the caller's. @throws Error of node:fs
 */
export function openDevice(path: string): number {
  return openSync(path, OPEN_FLAGS);
}

/**
 * Events of a file (inotify(7)): there is something to read when one of those in `mask` has happened.
 * @returns the descriptor, the caller's. @throws SystemCallError
 */
export function watchFile(path: string, mask: number): number {
  const fd = loadAddon().watchFile(path, mask);
  if (fd < 0) throw new SystemCallError(`inotify on ${path}`, fd);
  return fd;
}

/** Another descriptor of the same open file, the caller's. @throws SystemCallError */
export function duplicate(fd: number): number {
  const copy = loadAddon().duplicate(fd);
  if (copy < 0) throw new SystemCallError(`dup of descriptor ${fd}`, copy);
  return copy;
}

/** An open file that the loop can watch. Its owner closes it. Methods throw a SystemCallError where the call fails. */
export class DeviceFile {
  readonly #name: string;
  readonly #native: NativeDeviceFile;

  /**
   * Takes a descriptor that is open without waiting (O_NONBLOCK): from now on it is the object's, also after a failure.
   * @param name  For what is said of errors.
   */
  constructor(name: string, fd: number, ready: () => void) {
    this.#name = name;
    this.#native = new (loadAddon().DeviceFile)(ready);
    this.#check("open", this.#native.open(fd));
  }

  /** @returns bytes read, 0 at the end, undefined when there are none now. */
  read(into: Uint8Array): number | undefined {
    return this.#unlessAgain("read", this.#native.read(into));
  }

  /** @returns bytes taken, undefined when none can be taken now. */
  write(bytes: Uint8Array): number | undefined {
    return this.#unlessAgain("write", this.#native.write(bytes));
  }

  /** `argument`: a number, or memory in the layout of the request, which the call may change. @returns the call's result */
  ioctl(request: number, argument: number | Uint8Array = 0): number {
    return this.#check(`ioctl 0x${request.toString(16)}`, this.#native.ioctl(request | 0, argument));
  }

  /** What poll(2) says now. */
  poll(): number {
    return this.#check("poll", this.#native.ready());
  }

  /** Says so by `ready`, again and again, while one of the events is there; 0 ends it. */
  watch(events: number): void {
    this.#native.watch(events);
  }

  /** `ready` is not called again. Idempotent. */
  close(): void {
    this.#native.close();
  }

  #unlessAgain(call: string, result: number): number | undefined {
    return result === NEGATIVE_EAGAIN ? undefined : this.#check(call, result);
  }

  #check(call: string, result: number): number {
    if (result < 0) throw new SystemCallError(`${call} of ${this.#name}`, result);
    return result;
  }
}

/** Opens a device, lets `use` have it, and closes it. @throws Error of node:fs when it cannot be opened. */
export function withDeviceFile(path: string, use: (file: DeviceFile) => void): void {
  const file = new DeviceFile(path, openDevice(path), () => undefined);
  try {
    use(file);
  } finally {
    file.close();
  }
}
