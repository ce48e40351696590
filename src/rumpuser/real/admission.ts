/**
 * Who is let in where this process may have no more descriptors. libuv keeps one in reserve, gives it up to send clients away, and makes it
 * anew by a path, which a locked process cannot (native/reserve.cc). So it is made anew here, wherever a descriptor comes in.
 */
import type net from "node:net";
import { loadAddon } from "./addon.js";

/**
 * For each client that a server accepts, before anything else is done with it.
 * @returns false: it had the last descriptor, and is sent away.
 */
export function admit(socket: net.Socket): boolean {
  return keepReserve(() => socket.destroy());
}

/**
 * Sees that the reserve is there after a descriptor came in.
 * @param giveUp  Closes that one, at once; the reserve takes its place.
 * @returns whether it could stay.
 */
export function keepReserve(giveUp: () => void): boolean {
  const addon = loadAddon();
  if (addon.keepReserve()) return true;
  giveUp();
  addon.keepReserve();
  return false;
}
