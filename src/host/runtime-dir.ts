/**
 * The directory of sockets: `$XDG_RUNTIME_DIR/rumpusb`, or `/tmp/rumpusb-UID` where that is unset.
 *
 * Whoever can put files there can stand between a device and its user, so it must be a directory (no symbolic link) of
 * this user with mode 0700. In /tmp anybody may have made it before us: it is checked after it is made, never trusted.
 */
import { lstat, mkdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { errnoOf, HostError, messageOf } from "./errors.js";

/** sockaddr_un of Linux holds 108 bytes with the terminating zero. */
export const MAX_SOCKET_PATH_BYTES = 107;
/** Room for the longest socket name that goes into the directory. */
const LONGEST_NAME_BYTES = "/vdev-4194304-9999.sock".length;

/** Where the directory is by default. */
export function defaultRuntimeDir(env: NodeJS.ProcessEnv, uid: number): string {
  const base = env["XDG_RUNTIME_DIR"];
  return base !== undefined && isAbsolute(base) ? join(base, "rumpusb") : `/tmp/rumpusb-${uid}`;
}

export function runtimeDirOfUser(): string {
  return defaultRuntimeDir(process.env, process.getuid?.() ?? 0);
}

/**
 * Makes the directory, or checks the one that is there.
 *
 * @param uid  Owner it must have.
 * @throws HostError RUNTIME_DIR: a symbolic link, somebody else's, open to others, or too long for a socket's address.
 */
export async function ensureRuntimeDir(path: string, uid: number): Promise<void> {
  const bytes = Buffer.byteLength(path) + LONGEST_NAME_BYTES;
  if (bytes > MAX_SOCKET_PATH_BYTES)
    throw new HostError(
      "RUNTIME_DIR",
      `runtime directory ${path} is too long: its sockets need ${bytes} bytes, a Unix socket address has ${MAX_SOCKET_PATH_BYTES}`,
    );
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) !== "EEXIST")
      throw new HostError("RUNTIME_DIR", `cannot make the runtime directory ${path}: ${messageOf(error)}`, {
        cause: error,
      });
  }
  const found = await lstat(path);
  const problem = !found.isDirectory()
    ? `it is ${found.isSymbolicLink() ? "a symbolic link" : "not a directory"}`
    : found.uid !== uid
      ? `it belongs to user ${found.uid}, not ${uid}`
      : (found.mode & 0o077) !== 0
        ? `others may enter it (mode ${(found.mode & 0o777).toString(8)}, wanted 700)`
        : undefined;
  if (problem !== undefined) throw new HostError("RUNTIME_DIR", `runtime directory ${path} refused: ${problem}`);
}
