/** Where a link listens: a Unix socket only its owner can open, or TCP on this machine alone. */
import { once } from "node:events";
import { access, chmod, lstat, unlink } from "node:fs/promises";
import { connect, isIPv4 } from "node:net";
import type { Server } from "node:net";
import { dirname } from "node:path";
import { errnoOf, LinkSetupError, messageOf } from "./errors.js";
import type { LinkSetupErrorCode } from "./errors.js";

export type ListenAddress = { readonly unix: string } | { readonly host: string; readonly port: number };

/** sun_path is 108 bytes with the final 0 (unix(7)). */
export const MAX_SOCKET_PATH_BYTES = 107;

const PRIVATE_FILE = 0o600;

/**
 * Reads and checks `unix:/PATH`, `tcp:PORT`, `HOST:PORT` or `[HOST]:PORT`.
 * @param refused  Makes the error of a text that is none of these.
 * @throws LinkSetupError LINK_USAGE
 */
export function parseAddress(text: string, refused: (why: string) => LinkSetupError): ListenAddress {
  const address = readAddress(text, refused);
  checkAddress(address);
  return address;
}

function readAddress(text: string, refused: (why: string) => LinkSetupError): ListenAddress {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (!path.startsWith("/")) throw refused("the path of a Unix socket is absolute");
    return { unix: path };
  }
  const match = /^(?:tcp|\[([0-9a-fA-F:]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) throw refused("an address ends with a port, which is a number");
  const [, ipv6, host, port] = match;
  return { host: ipv6 ?? host ?? "127.0.0.1", port: Number(port) };
}

/** `HOST:PORT` as URIs have it. @param port  The one that was bound, where the address leaves it to the system (0). */
export function hostAndPort({ host }: { readonly host: string }, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Makes the server listen. @throws LinkSetupError */
export async function listen(server: Server, address: ListenAddress): Promise<void> {
  if ("unix" in address) return await listenUnix(server, address.unix);
  const { host, port } = address;
  const listening = once(server, "listening");
  server.listen(port, host);
  await listening.catch(setupFailure(`${host} port ${port}`));
}

/**
 * Checks an address without touching anything.
 * @throws LinkSetupError LINK_USAGE
 */
export function checkAddress(address: ListenAddress): void {
  if ("unix" in address) {
    const bytes = Buffer.byteLength(address.unix);
    if (bytes === 0 || address.unix.includes("\0"))
      throw new LinkSetupError("LINK_USAGE", "socket path: empty or with a 0 byte");
    if (bytes > MAX_SOCKET_PATH_BYTES)
      throw new LinkSetupError(
        "LINK_USAGE",
        `socket path of ${bytes} bytes, at most ${MAX_SOCKET_PATH_BYTES} (unix(7)): ${address.unix}`,
      );
    return;
  }
  const { host, port } = address;
  if (!isLoopback(host))
    throw new LinkSetupError(
      "LINK_USAGE",
      `host ${host}: only loopback (127.0.0.0/8, ::1, localhost), for links have no login`,
    );
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new LinkSetupError("LINK_USAGE", `port ${port}: 0 to 65535`);
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}

async function listenUnix(server: Server, path: string): Promise<void> {
  const failed = setupFailure(path);
  // Asked here because libuv calls a missing folder EACCES. It is not made: whoever names it says whose it is.
  await access(dirname(path)).catch(failed);
  await removeStale(path);
  const listening = once(server, "listening");
  // The file must not be open to others even between bind and chmod; bind happens inside listen().
  const umask = process.umask(0o777 & ~PRIVATE_FILE);
  server.listen(path);
  process.umask(umask);
  await listening.catch(failed);
  await chmod(path, PRIVATE_FILE).catch(failed);
}

/**
 * Removes a socket file that nobody listens on any more, as a crash leaves it.
 * @throws LinkSetupError  LINK_IN_USE when somebody answers there, or when it is no socket.
 */
async function removeStale(path: string): Promise<void> {
  const failed = setupFailure(path);
  const found = await lstat(path).catch((error: unknown) => (errnoOf(error) === "ENOENT" ? undefined : failed(error)));
  if (found === undefined) return;
  if (!found.isSocket()) throw new LinkSetupError("LINK_IN_USE", `${path} exists and is no socket`);
  if (await answers(path)) throw new LinkSetupError("LINK_IN_USE", `${path} is in use: somebody listens there`);
  await unlink(path).catch(failed);
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

/** Turns what a system call threw into a LinkSetupError that names `where`. */
function setupFailure(where: string): (error: unknown) => never {
  return (error) => {
    const code = CODE_OF[errnoOf(error)] ?? "LINK_FAILED";
    throw new LinkSetupError(code, `cannot listen on ${where}: ${messageOf(error)}`, { cause: error });
  };
}
