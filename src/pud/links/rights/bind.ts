/** Sockets that listen, bound with the rights of this process. */
import { lookup } from "node:dns/promises";
import { lstatSync } from "node:fs";
import { access, lstat, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { listenTcp, listenUnix } from "../../../rumpuser/real/listening-socket.js";
import { checkAddress, type ListenAddress } from "../address.js";
import { errnoOf, LinkSetupError, messageOf } from "../errors.js";
import type { LinkSetupErrorCode } from "../errors.js";

export interface BoundSocket {
  /** The caller's. */
  readonly fd: number;
  readonly port?: number;
  /** Removes the file of a Unix socket, if it is still this one's. @throws LinkSetupError */
  removeFile(): Promise<void>;
}

/** @throws LinkSetupError */
export async function bindSocket(address: ListenAddress): Promise<BoundSocket> {
  checkAddress(address);
  return await ("unix" in address ? bindUnix(address.unix) : bindTcp(address.host, address.port));
}

async function bindTcp(host: string, port: number): Promise<BoundSocket> {
  try {
    const { address } = await lookup(host);
    return { ...listenTcp(address, port), removeFile: () => Promise.resolve() };
  } catch (error) {
    throw setupError(`${host} port ${port}`, error);
  }
}

async function bindUnix(path: string): Promise<BoundSocket> {
  try {
    // The folder is not made: whoever names it says whose it is.
    await access(dirname(path));
    await removeStale(path);
    const fd = listenUnix(path);
    const made = fileAt(path);
    return { fd, removeFile: () => removeSame(path, made) };
  } catch (error) {
    throw setupError(path, error);
  }
}

/** What tells a file from one that is put in its place: numbers of inodes are used again. */
function fileAt(path: string): string | undefined {
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}:${found.birthtimeNs}`;
}

async function removeSame(path: string, made: string | undefined): Promise<void> {
  try {
    if (made !== undefined && fileAt(path) === made) await unlink(path);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT")
      throw new LinkSetupError("LINK_FAILED", `${path} cannot be removed: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Removes a socket file that nobody listens on any more, as a crash leaves it.
 * @throws LinkSetupError  LINK_IN_USE when somebody answers there, or when it is no socket. Error of the system
 */
async function removeStale(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) !== "ENOENT") throw error;
  });
  if (found === undefined) return;
  if (!found.isSocket()) throw new LinkSetupError("LINK_IN_USE", `${path} exists and is no socket`);
  if (await answers(path)) throw new LinkSetupError("LINK_IN_USE", `${path} is in use: somebody listens there`);
  await unlink(path);
}

/** Whether somebody listens on a socket file; ECONNREFUSED is the kernel's word for nobody (connect(2)). */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", (error) => {
      if (errnoOf(error) === "ECONNREFUSED") resolve(false);
      else
        reject(
          new LinkSetupError("LINK_IN_USE", `${path} exists and cannot be asked: ${error.message}`, { cause: error }),
        );
    });
  });
}

const CODE_OF: Readonly<Record<string, LinkSetupErrorCode>> = {
  EADDRINUSE: "LINK_IN_USE",
  EACCES: "LINK_PERMISSION",
  EPERM: "LINK_PERMISSION",
  EROFS: "LINK_PERMISSION",
  ENOTDIR: "LINK_USAGE",
  EEXIST: "LINK_USAGE",
  ENOENT: "LINK_USAGE",
  EADDRNOTAVAIL: "LINK_UNAVAILABLE",
};

/** Names `where` in what a system call threw. */
function setupError(where: string, error: unknown): LinkSetupError {
  if (error instanceof LinkSetupError) return error;
  const code = CODE_OF[errnoOf(error)] ?? "LINK_FAILED";
  return new LinkSetupError(code, `cannot listen on ${where}: ${messageOf(error)}`, { cause: error });
}
