/**
 * Locks this process: afterwards it can compute, use the descriptors that it has, receive more, and do what it
 * is for.
 *
 * The code and every thread must be there before. What Node, V8 and libc do lazily is done once here, because a file cannot
 * be opened nor a thread started later.
 */
import { stat } from "node:fs";
import { loadAddon } from "./addon.js";
import { type CallFilter, FOR_CLIENTS, FOR_DEVICES, lockSystemCalls } from "./locked-calls.js";
import { forbidCodeFromStrings } from "./v8.js";

/** "strict": no executable memory from now on; needs --jitless. */
export type LockProfile = "standard" | "strict";

/**
 * What a process is locked for. "device": it sends usbfs requests. "serve": it accepts clients on sockets that listen already, and
 * sets terminals. Besides that each can compute, use the descriptors that it has, and receive more.
 */
export type LockPurpose = "device" | "serve";

interface CommonOptions {
  readonly profile: LockProfile;
  /** The Unix socket over which descriptors come. */
  readonly passFd: number;
}

export interface DeviceLockOptions extends CommonOptions {
  readonly purpose: "device";
  /** The number that the device's descriptor will have, or the first of several. */
  readonly deviceFd: number;
  /** Default 1. */
  readonly deviceCount?: number;
}

export interface ServeLockOptions extends CommonOptions {
  readonly purpose: "serve";
}

export type LockOptions = DeviceLockOptions | ServeLockOptions;

/** @throws SystemCallError, AddonError; the process is not locked then. */
export async function lockProcess(options: LockOptions): Promise<void> {
  loadAddon();
  await prepareToLock();
  lockSystemCalls(filterOf(options));
}

/** The filter as the addon takes it. */
export function filterOf(options: LockOptions): CallFilter {
  const common = { strict: options.profile === "strict", passFd: options.passFd };
  if (options.purpose === "serve") return { ...common, purpose: FOR_CLIENTS, deviceFd: -1, deviceCount: 0 };
  return { ...common, purpose: FOR_DEVICES, deviceFd: options.deviceFd, deviceCount: options.deviceCount ?? 1 };
}

/** Everything before the filter. */
export async function prepareToLock(): Promise<void> {
  // Node would start its inspector, which needs a thread: the attempt would end the process.
  process.on("SIGUSR1", () => {});
  await startPoolThreads();
  touchLazyParts();
  forbidCodeFromStrings();
}

/** libuv starts all of its pool threads with the first piece of work. */
async function startPoolThreads(): Promise<void> {
  await new Promise((resolve) => stat("/", resolve));
}

/**
 * libc opens the time zone, Node the log streams. ICU keeps its data in the program; to have
 * looked at it once costs a process 8 MiB.
 */
function touchLazyParts(): void {
  new Date().toString();
  new TextDecoder("utf-8").decode(new TextEncoder().encode("a"));
  process.stdout.cork();
  process.stdout.uncork();
  process.stderr.cork();
  process.stderr.uncork();
}
