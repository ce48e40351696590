/**
 * The addon, typed, and what the host has it do. The only file that loads it; everything native is reached through this.
 *
 * It is loaded on first use: a device model, and a kernel on the simulated host, run without a compiler. The addon deals in numbers; what they are
 * called is said by its callers.
 */
import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { getSystemErrorName } from "node:util";

/**
 * Slot, status and bytes of each ended transfer; at the same index its packets' status and bytes. A chain has one entry for
 * each of its steps, with slot -1 - chain.
 */
export type PortEvents = (
  results: Int32Array,
  iso: readonly (Int32Array | undefined)[] | undefined,
  gone: boolean,
) => void;

/** native/port.h. Methods answer with enum libusb_error where they fail (a negative number). */
export interface NativePort {
  open(fd: number): number;
  submit(
    type: number,
    endpointAddress: number,
    setup: Uint8Array | undefined,
    data: Uint8Array,
    sendZlp: boolean,
    streamId: number,
    isoPacketBytes: Uint32Array | undefined,
  ): number;
  cancel(slot: number): number;
  /** @returns the chain; status and bytes of each step when it ended at once; or a negative error. */
  submitChain(plan: Int32Array, buffers: readonly Uint8Array[]): number | Int32Array;
  cancelChain(chain: number): number;
  /** @returns the number of the reads, or a negative error. */
  openReads(type: number, endpointAddress: number, memory: Uint8Array, slotBytes: number, repeatBytes: number): number;
  startRead(reads: number, slot: number, bytes: number): number;
  tellRepeats(reads: number, on: boolean): number;
  cancelReads(reads: number): number;
  closeReads(reads: number): number;
  speed(): number;
  configuration(): Promise<number>;
  setConfiguration(value: number): Promise<number>;
  claimInterface(interfaceNumber: number): Promise<number>;
  releaseInterface(interfaceNumber: number): Promise<number>;
  setInterface(interfaceNumber: number, alternateSetting: number): Promise<number>;
  clearHalt(endpointAddress: number): Promise<number>;
  reset(): Promise<number>;
  allocStreams(count: number, endpointAddresses: Uint8Array): Promise<number>;
  freeStreams(endpointAddresses: Uint8Array): Promise<number>;
  hold(on: boolean): void;
  close(): void;
}

/** native/uevents.cc. */
export interface NativeUeventSocket {
  open(): number;
  close(): void;
}

/** native/device_file.cc. Methods answer with -errno where they fail. */
export interface NativeDeviceFile {
  open(fd: number): number;
  read(bytes: Uint8Array): number;
  write(bytes: Uint8Array): number;
  ioctl(request: number, argument: Uint8Array | number): number;
  ready(): number;
  watch(events: number): void;
  close(): void;
}

interface Addon {
  readonly libusbVersion: string;
  readonly Port: new (onEvents: PortEvents) => NativePort;
  readonly UeventSocket: new (onDatagram: (bytes: Uint8Array | undefined) => void) => NativeUeventSocket;
  readonly DeviceFile: new (onReady: () => void) => NativeDeviceFile;
  watchFile(path: string, mask: number): number;
  kernelDriver(fd: number, interfaceNumber: number): string | number;
  detachKernelDriver(fd: number, interfaceNumber: number): number;
  attachKernelDriver(fd: number, interfaceNumber: number): number;
  dropPrivileges(fd: number, interfaceMask: number): number;
  socketpair(bufferBytes: number): [number, number] | number;
  sendFd(socket: number, fd: number): number;
  recvFd(socket: number, placeholder: number): number;
  listenUnix(path: string, backlog: number): number;
  listenTcp(address: string, port: number, backlog: number): [fd: number, port: number] | number;
  duplicate(fd: number): number;
  createMemory(bytes: number): number;
  mapMemory(fd: number, bytes: number): ArrayBuffer | number;
  dropCode(): void;
  fillRandom(bytes: Uint8Array): number;
  forgoIdleTime(): boolean;
  keepReserve(): boolean;
  lock(purpose: number, strict: boolean, passFd: number, deviceFd: number, deviceCount: number): number;
  forget(fd: number): void;
  dieWithParent(): number;
}

/** The addon is not built for this machine. */
export class AddonError extends Error {
  readonly code = "ADDON_MISSING";

  constructor(packageDir: string, cause: unknown) {
    super(`no native addon for ${process.platform}-${process.arch} under ${packageDir}: run "npm rebuild rumpusb"`, {
      cause,
    });
    this.name = "AddonError";
  }
}

/** A system call that failed. */
export class SystemCallError extends Error {
  /** The name of the errno: "ENODEV". */
  readonly code: string;

  constructor(call: string, negativeErrno: number) {
    const code = getSystemErrorName(negativeErrno);
    super(`${call}: ${code}`);
    this.name = "SystemCallError";
    this.code = code;
  }
}

const require = createRequire(import.meta.url);
const PACKAGE_DIR = dirname(require.resolve("rumpusb/package.json"));

/** Loads the addon, or gives the one that is loaded. @throws AddonError when there is none for this machine. */
export const loadAddon: () => Addon = loadedOnce(() => {
  const nodeGypBuild = require("node-gyp-build") as (dir: string) => Addon;
  try {
    return nodeGypBuild(PACKAGE_DIR);
  } catch (cause) {
    throw new AddonError(PACKAGE_DIR, cause);
  }
});

/** node-gyp-build looks through folders each time, which a locked process cannot. A failure is not kept. */
function loadedOnce<T>(load: () => T): () => T {
  let loaded: { readonly value: T } | undefined;
  return () => (loaded ??= { value: load() }).value;
}

/** Takes an interface from its kernel driver. @returns 0, or -errno: -ENODATA when none was bound. Blocks meanwhile. */
export function detachKernelDriver(fd: number, interfaceNumber: number): number {
  return loadAddon().detachKernelDriver(fd, interfaceNumber);
}

/**
 * Confines a descriptor for ever: it may claim only the interfaces of `interfaceMask` (bit 0 = interface 0), and no
 * longer reset, reconfigure or detach drivers. @returns 0, or -errno.
 */
export function dropPrivileges(fd: number, interfaceMask: number): number {
  return loadAddon().dropPrivileges(fd, interfaceMask | 0);
}

/** Sends a copy of `fd` over a Unix socket; `fd` stays open here. @throws SystemCallError */
export function sendFd(socketFd: number, fd: number): void {
  const rc = loadAddon().sendFd(socketFd, fd);
  if (rc < 0) throw new SystemCallError(`sendmsg of descriptor ${fd}`, rc);
}

/** Memory of a fixed size that other processes can map: its descriptor, the caller's. @throws SystemCallError */
export function createMemory(bytes: number): number {
  const fd = loadAddon().createMemory(bytes);
  if (fd < 0) throw new SystemCallError(`memfd_create, ${bytes} bytes`, fd);
  return fd;
}

/** The memory behind a descriptor of `createMemory`, which may be closed afterwards. @throws SystemCallError */
export function mapMemory(fd: number, bytes: number): ArrayBuffer {
  const memory = loadAddon().mapMemory(fd, bytes);
  if (typeof memory === "number") throw new SystemCallError(`mmap, ${bytes} bytes`, memory);
  return memory;
}

/** The program that gives kernel drivers back (native/keeper.c). @throws AddonError when it is not built. */
export function keeperPath(): string {
  return programPath("rumpusb-keeper");
}

/** The program that puts a rump process into its sandbox (native/launcher.c). @throws AddonError when it is not built. */
export function launcherPath(): string {
  return programPath("rumpusb-launcher");
}

/** What the rump process loads besides its own modules: the folders of the addon and of its loader, package.json. @throws AddonError */
export function addonFiles(): readonly string[] {
  const loader = require("node-gyp-build") as { path(dir: string): string };
  try {
    return [
      dirname(loader.path(PACKAGE_DIR)),
      dirname(require.resolve("node-gyp-build")),
      join(PACKAGE_DIR, "package.json"),
    ];
  } catch (cause) {
    throw new AddonError(PACKAGE_DIR, cause);
  }
}

/** An executable, or an addon of its own, that is built with the addon. @throws AddonError when it is not there. */
export function programPath(name: string): string {
  const built = join(PACKAGE_DIR, "build", "Release", name);
  const prebuilt = join(PACKAGE_DIR, "prebuilds", `${process.platform}-${process.arch}`, name);
  const causes: unknown[] = [];
  for (const path of [built, prebuilt]) {
    try {
      accessSync(path, constants.R_OK | constants.X_OK);
      return path;
    } catch (cause) {
      causes.push(cause);
    }
  }
  throw new AddonError(PACKAGE_DIR, new AggregateError(causes, `${name} is not there`));
}
