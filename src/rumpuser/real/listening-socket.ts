/** Sockets that listen, as descriptors: whoever gets one accepts on it, here or in another process. */
import { loadAddon, SystemCallError } from "./addon.js";

/** Clients that may wait to be accepted; as Node has it. The kernel cuts it at net.core.somaxconn (listen(2)). */
const BACKLOG = 511;

/** A Unix socket that only its owner may connect to. @returns its descriptor, the caller's. @throws SystemCallError, AddonError */
export function listenUnix(path: string): number {
  return checked(`bind to ${path}`, loadAddon().listenUnix(path, BACKLOG));
}

/**
 * @param address  Numeric, of IPv4 or IPv6.
 * @param port     0: the system chooses.
 * @returns the descriptor, the caller's, and the port that was bound.
 * @throws SystemCallError, AddonError
 */
export function listenTcp(address: string, port: number): { readonly fd: number; readonly port: number } {
  const bound = loadAddon().listenTcp(address, port, BACKLOG);
  if (typeof bound === "number") throw new SystemCallError(`bind to ${address} port ${port}`, bound);
  const [fd, boundPort] = bound;
  return { fd, port: boundPort };
}

/** Another descriptor of the same open file, the caller's. @throws SystemCallError, AddonError */
export function duplicate(fd: number): number {
  return checked(`dup of descriptor ${fd}`, loadAddon().duplicate(fd));
}

function checked(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, result);
  return result;
}
