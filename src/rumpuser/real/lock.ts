/**
 * Locks this process: afterwards it can compute, use the descriptors that it has, and receive one more.
 *
 * The code and every thread must be there before. What Node, V8 and libc do lazily is done once here, because a file cannot
 * be opened nor a thread started later.
 */
import { stat } from "node:fs";
import { loadAddon } from "./addon.js";
import { lockSystemCalls } from "./locked-calls.js";
import { forbidCodeFromStrings } from "./v8.js";

/** "strict": no executable memory from now on; needs --jitless. */
export type LockProfile = "standard" | "strict";

export interface LockOptions {
  readonly profile: LockProfile;
  /** The number that the device's descriptor will have, or the first of several. */
  readonly deviceFd: number;
  /** Default 1. */
  readonly deviceCount?: number;
  /** The Unix socket over which it comes. */
  readonly passFd: number;
}

/** @throws SystemCallError, AddonError; the process is not locked then. */
export async function lockProcess({ profile, deviceFd, deviceCount = 1, passFd }: LockOptions): Promise<void> {
  loadAddon();
  await prepareToLock();
  lockSystemCalls(profile === "strict", deviceFd, deviceCount, passFd);
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
