/** Sockets that listen, as descriptors: whoever gets one accepts on it, here or in another process. */
import { loadAddon, SystemCallError } from "./addon.js";

/** Clients that may wait to be accepted. The kernel cuts it at net.core.somaxconn (listen(2)). */
const BACKLOG = 4096;

/** A Unix socket that only its owner may connect to. @returns its descriptor, the caller's. @throws SystemCallError, AddonError */
export function listenUnix(path: string): number {
  const fd = loadAddon().listenUnix(path, BACKLOG);
  if (fd < 0) throw new SystemCallError(`bind to ${path}`, fd);
  return fd;
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
