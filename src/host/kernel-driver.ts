/**
 * Takes interfaces from kernel drivers, and sees to it that they go back.
 *
 * The keeper is a small program that holds the device open and waits for the end of its standard input, whose other end
 * is in this process: when this process ends, however it ends, the keeper gives the interfaces back. It is started
 * before anything is detached, so there is no moment at which a crash would leave the device without its driver.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { getSystemErrorName } from "node:util";
import type { Clock } from "../rumpuser/rumpuser.js";
import { HostError } from "./errors.js";
import { describeExit, type ProcessExit } from "./process-exit.js";
import { exitOf, started } from "./spawn.js";
import { waitAtMost } from "./waits.js";

/** Calls on a usbfs descriptor; 0 or a negative errno. */
export interface UsbfsCalls {
  detachKernelDriver(fd: number, interfaceNumber: number): number;
  /** Confines the descriptor to the interfaces of the mask, for ever. */
  dropPrivileges(fd: number, interfaceMask: number): number;
  /** The keeper's executable. */
  keeperPath(): string;
}

/** The keeper tries for ten seconds (the rump process may still hold the interface). */
const GIVE_BACK_MS = 12_000;
/** No driver was bound: somebody else was faster, and it is free all the same. */
const NOT_BOUND = "ENODATA";

export interface TakenInterfaces {
  /** Binds the kernel drivers again. @throws HostError KERNEL_DRIVER: not given back in time. */
  giveBack(): Promise<void>;
}

/**
 * @param fd  usbfs descriptor, open for reading and writing; the keeper gets a copy.
 * @throws HostError KERNEL_DRIVER; nothing is taken then.
 */
export async function takeInterfaces(
  device: string,
  fd: number,
  interfaceNumbers: readonly number[],
  calls: UsbfsCalls,
  clock: Clock,
): Promise<TakenInterfaces> {
  const keeper = spawn(calls.keeperPath(), interfaceNumbers.map(String), {
    stdio: ["pipe", "ignore", "inherit", fd],
    env: {},
    detached: true,
  });
  keeper.stdin?.on("error", () => {}); // it ended first: giveBack sees that
  const exited = exitOf(keeper);
  await started(keeper, "the keeper of the kernel driver");
  const taken = { giveBack: async () => await giveBack(device, keeper, exited, clock) };
  for (const interfaceNumber of interfaceNumbers) {
    const result = calls.detachKernelDriver(fd, interfaceNumber);
    if (result === 0 || getSystemErrorName(result) === NOT_BOUND) continue;
    await taken.giveBack();
    throw new HostError(
      "KERNEL_DRIVER",
      `${device}: cannot detach the kernel driver from interface ${interfaceNumber}: ${getSystemErrorName(result)}`,
    );
  }
  return taken;
}

async function giveBack(
  device: string,
  keeper: ChildProcess,
  exited: Promise<ProcessExit>,
  clock: Clock,
): Promise<void> {
  keeper.stdin?.end();
  const end = await waitAtMost(clock, GIVE_BACK_MS, exited);
  if (end?.value.code === 0) return;
  const how =
    end === undefined ? `not within ${GIVE_BACK_MS / 1000} s` : `keeper ended with ${describeExit(end.value)}`;
  throw new HostError(
    "KERNEL_DRIVER",
    `${device}: the kernel driver was not given back (${how}); plug the device in again to give it back`,
  );
}
