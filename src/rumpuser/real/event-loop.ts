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

/**
 * A descriptor that the loop neither reads nor waits to write to does not wake the process once more when it is ready, as libuv
 * otherwise has it (native/forget.cc). Without the addon it does.
 */
export function forgetDescriptor(fd: number): void {
  try {
    loadAddon().forget(fd);
  } catch (error) {
    if (!(error instanceof AddonError)) throw error;
  }
}
