/**
 * Hands an NBD export to the kernel, which makes /dev/nbdN of it.
 *
 * The work is done by nbd-client(8): it shakes hands and gives the socket to the kernel, which from then on is the client.
 * That takes rights (CAP_SYS_ADMIN) and the kernel's nbd driver; every missing piece has an error of its own.
 */
import { execFile } from "node:child_process";
import { access, constants, readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { LinkSetupError, errnoOf } from "../errors.js";
import type { KernelNbdOptions } from "../link-rights.js";

export interface AttachedKernelNbd {
  /** Nothing where it is detached already. @throws LinkSetupError */
  detach(): Promise<void>;
}

/** What attaching needs of the machine. */
export interface KernelNbdHost {
  /** Runs a program to its end. Rejects with a system error when it cannot be started. */
  run(program: string, args: readonly string[]): Promise<ProgramResult>;
  /** Whether a file may be read and written. Rejects with a system error when not. */
  checkAccess(path: string): Promise<void>;
  /** The text of a file, undefined when there is none. */
  readText(path: string): Promise<string | undefined>;
  /** Whether this process has all rights. */
  readonly privileged: boolean;
}

export interface ProgramResult {
  readonly exitCode: number;
  readonly stderr: string;
}

const PROGRAM = "nbd-client";
const PROGRAM_MS = 15_000;
const STATE_MS = 5_000;
const STATE_POLL_MS = 50;
const MAX_SAID = 300;

/** `/dev/nbd7` → `nbd7`; undefined for anything else. */
function kernelNbdName(device: string): string | undefined {
  return /^\/dev\/(nbd\d{1,3})$/.exec(device)?.[1];
}

/**
 * Attaches the export to the device, and says so only when the kernel does.
 * @param host  Tests bring their own.
 * @throws LinkSetupError  LINK_USAGE, LINK_UNAVAILABLE (no nbd driver, no nbd-client), LINK_IN_USE, LINK_PERMISSION,
 *                         LINK_FAILED with what nbd-client said.
 */
export async function attachKernelNbd(
  { device, socketPath, exportName, blockBytes }: KernelNbdOptions,
  host: KernelNbdHost = realHost,
): Promise<AttachedKernelNbd> {
  const name = kernelNbdName(device);
  if (name === undefined) throw new LinkSetupError("LINK_USAGE", `${device}: /dev/nbd0, /dev/nbd1 … is needed`);
  await checkDevice(host, device, name);
  await runClient(host, device, "attach", [
    "-unix",
    socketPath,
    device,
    "-name",
    exportName,
    "-block-size",
    String(blockBytes),
  ]);
  await untilAttached(host, device, name, true);
  return {
    async detach() {
      // Somebody else may have detached it (nbd-client -d by hand, or the kernel after an error).
      if ((await ownerOf(host, name)) === undefined) return;
      await runClient(host, device, "detach", ["-d", device]);
      await untilAttached(host, device, name, false);
    },
  };
}

async function checkDevice(host: KernelNbdHost, device: string, name: string): Promise<void> {
  if ((await host.readText(`/sys/block/${name}/size`)) === undefined)
    throw new LinkSetupError(
      "LINK_UNAVAILABLE",
      `${device}: this kernel has no such device; load its driver: modprobe nbd`,
    );
  const owner = await ownerOf(host, name);
  if (owner !== undefined) throw new LinkSetupError("LINK_IN_USE", `${device} is in use: attached by process ${owner}`);
  try {
    await host.checkAccess(device);
  } catch (error) {
    const code = errnoOf(error) === "ENOENT" ? "LINK_UNAVAILABLE" : "LINK_PERMISSION";
    throw new LinkSetupError(code, `${device} cannot be opened for reading and writing: ${errnoOf(error)}`, {
      cause: error,
    });
  }
}

async function runClient(
  host: KernelNbdHost,
  device: string,
  what: "attach" | "detach",
  args: readonly string[],
): Promise<void> {
  let result: ProgramResult;
  try {
    result = await host.run(PROGRAM, args);
  } catch (error) {
    if (errnoOf(error) === "ENOENT")
      throw new LinkSetupError("LINK_UNAVAILABLE", `${PROGRAM} is not installed; it attaches ${device} to the kernel`, {
        cause: error,
      });
    throw new LinkSetupError("LINK_FAILED", `${PROGRAM} cannot be started`, { cause: error });
  }
  if (result.exitCode === 0) return;
  const said = oneLine(result.stderr) ?? "nothing";
  const rights = host.privileged ? "" : `; attaching ${device} needs root (CAP_SYS_ADMIN)`;
  throw new LinkSetupError(
    host.privileged ? "LINK_FAILED" : "LINK_PERMISSION",
    `${PROGRAM} could not ${what} ${device} (exit status ${result.exitCode}): ${said}${rights}`,
  );
}

/** The kernel shows /sys/block/nbdN/pid exactly while the device is attached. */
async function ownerOf(host: KernelNbdHost, name: string): Promise<string | undefined> {
  return (await host.readText(`/sys/block/${name}/pid`))?.trim();
}

/** nbd-client may leave a process behind that is not ready yet when the first one exits. */
async function untilAttached(host: KernelNbdHost, device: string, name: string, attached: boolean): Promise<void> {
  for (let waitedMs = 0; waitedMs <= STATE_MS; waitedMs += STATE_POLL_MS) {
    if (((await ownerOf(host, name)) !== undefined) === attached) return;
    await delay(STATE_POLL_MS);
  }
  const state = attached ? "not attached" : "still attached";
  throw new LinkSetupError(
    "LINK_FAILED",
    `${device} is ${state} ${STATE_MS} ms after ${PROGRAM} ended (/sys/block/${name}/pid)`,
  );
}

/** What a program said, in one line that a terminal can show. */
function oneLine(text: string): string | undefined {
  const lines = text.split("\n").map((line) => line.replaceAll(/[^\x20-\x7e]/g, " ").trim());
  return (
    lines
      .filter((line) => line !== "")
      .join("; ")
      .slice(0, MAX_SAID) || undefined
  );
}

const realHost: KernelNbdHost = {
  privileged: process.geteuid?.() === 0,
  run(program, args) {
    // Administrators' programs are not on every user's path.
    const env = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };
    return new Promise((resolve, reject) => {
      execFile(program, [...args], { env, timeout: PROGRAM_MS }, (error, _stdout, stderr) => {
        if (error === null) resolve({ exitCode: 0, stderr });
        else if (typeof error.code === "number") resolve({ exitCode: error.code, stderr });
        else reject(error);
      });
    });
  },
  checkAccess: (path) => access(path, constants.R_OK | constants.W_OK),
  async readText(path) {
    try {
      return await readFile(path, "utf8");
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  },
};
