/** What a process that is ours asks of Node's event loop. */
import { AddonError, loadAddon } from "./addon.js";

/**
 * The loop does not measure any more how long it waits, which costs every wait a system call and three clock readings
 * (native/idle_time.cc); `performance.eventLoopUtilization` has nothing to tell afterwards. Not for a process in which others run code.
 *
 * @returns false: it stays as it is. It does not measure, libuv is not as it is known, or the addon is not built.
 */
export function forgoIdleTime(): boolean {
  try {
    return loadAddon().forgoIdleTime();
  } catch (error) {
    if (error instanceof AddonError) return false;
    throw error;
  }
}
