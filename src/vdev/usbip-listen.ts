/** Where a USB/IP server listens: a Unix socket, or TCP on loopback. */
import { chmod, lstat, unlink } from "node:fs/promises";
import net from "node:net";
import { USBIP_PORT } from "../dev/usbip/wire.js";

export type ListenAddress = { readonly unix: string } | { readonly host: string; readonly port?: number };

/** sun_path of sockaddr_un holds 108 bytes with the closing zero (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

export type ListenErrorCode =
  | "LISTEN_PATH"
  | "LISTEN_IN_USE"
  | "LISTEN_NOT_A_SOCKET"
  | "LISTEN_REMOTE"
  | "LISTEN_FAILED";

/** The server cannot listen there. */
export class ListenError extends Error {
  readonly code: ListenErrorCode;

  constructor(code: ListenErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ListenError";
    this.code = code;
  }
}

/**
 * Starts listening. A Unix socket is made for its owner alone (0600); the file that a dead server has left is replaced.
 *
 * @param allowRemote  TCP addresses beyond loopback are refused without it: USB/IP has no authentication.
 * @returns the address with the port that was given.
 * @throws ListenError
 */
export async function listenOn(
  server: net.Server,
  address: ListenAddress,
  allowRemote: boolean,
): Promise<ListenAddress> {
  if ("unix" in address) {
    await listenOnPath(server, address.unix);
    return address;
  }
  const { host, port = USBIP_PORT } = address;
  if (!allowRemote && !isLoopback(host))
    throw new ListenError(
      "LISTEN_REMOTE",
      `${host} is not a loopback address; USB/IP has no authentication, so others must be asked for`,
    );
  await listening(server, { host, port }, `${host}:${port}`);
  const bound = server.address();
  return { host, port: typeof bound === "object" && bound !== null ? bound.port : port };
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (net.isIPv4(host) && host.startsWith("127."));
}

async function listenOnPath(server: net.Server, path: string): Promise<void> {
  const bytes = Buffer.byteLength(path);
  if (bytes === 0 || bytes > MAX_SOCKET_PATH_BYTES)
    throw new ListenError(
      "LISTEN_PATH",
      `the socket path has ${bytes} bytes, Linux takes 1 to ${MAX_SOCKET_PATH_BYTES}: ${path}`,
    );
  await removeDeadSocket(path);
  await listening(server, { path }, path);
  await chmod(path, 0o600);
}

/** A socket that refuses connections belongs to nobody any more. Anything else in its place is left alone. */
async function removeDeadSocket(path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new ListenError("LISTEN_FAILED", `cannot look at ${path}: ${error.message}`, { cause: error });
  });
  if (found === undefined) return;
  if (!found.isSocket()) throw new ListenError("LISTEN_NOT_A_SOCKET", `${path} exists and is not a socket`);
  const failure = await tryConnect(path);
  if (failure === undefined) throw new ListenError("LISTEN_IN_USE", `${path} is in use: a server answers there`);
  if (failure.code !== "ECONNREFUSED")
    throw new ListenError(
      "LISTEN_IN_USE",
      `${path} exists, and whether it is in use cannot be told: ${failure.message}`,
      {
        cause: failure,
      },
    );
  await unlink(path);
}

function tryConnect(path: string): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const probe = net.connect(path);
    probe.on("connect", () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.on("error", resolve);
  });
}

function listening(server: net.Server, options: net.ListenOptions, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      const inUse = error.code === "EADDRINUSE";
      reject(
        new ListenError(inUse ? "LISTEN_IN_USE" : "LISTEN_FAILED", `cannot listen on ${where}: ${error.message}`, {
          cause: error,
        }),
      );
    };
    server.once("error", failed);
    server.listen(options, () => {
      server.off("error", failed);
      resolve();
    });
  });
}
