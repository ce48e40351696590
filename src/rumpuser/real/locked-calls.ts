/** What the addon does for a rump process: it gets its device, locks itself, and dies with the host. */
import { loadAddon, SystemCallError } from "./addon.js";

/**
 * Waits for a descriptor on a Unix socket. `placeholder` (-1: none) is closed first, so that the descriptor which comes has
 * its number.
 * @returns the descriptor, the caller's.
 * @throws SystemCallError  EPIPE: the peer has gone; EBADMSG: something else came.
 */
export function receiveFd(socketFd: number, placeholder: number): number {
  const fd = loadAddon().recvFd(socketFd, placeholder);
  if (fd < 0) throw new SystemCallError(`recvmsg of a descriptor on ${socketFd}`, fd);
  return fd;
}

/**
 * Filters the system calls of every thread of this process, for ever (native/lock.cc). A call that is not on the list
 * kills the process.
 * @param strict       No executable memory either; needs --jitless.
 * @param deviceFd     The first of the descriptors that take usbfs requests.
 * @param deviceCount  How many there are.
 * @param passFd       The one socket from which a descriptor may be received.
 * @throws SystemCallError  ESRCH: a thread has a filter of its own; ENOSYS: no table for this architecture.
 */
export function lockSystemCalls(strict: boolean, deviceFd: number, deviceCount: number, passFd: number): void {
  const rc = loadAddon().lock(strict, deviceFd, deviceCount, passFd);
  if (rc < 0) throw new SystemCallError("seccomp", rc);
}

/** SIGKILL for this process when the one that started it ends, whatever ends it. @throws SystemCallError */
export function dieWithParent(): void {
  const rc = loadAddon().dieWithParent();
  if (rc < 0) throw new SystemCallError("prctl PR_SET_PDEATHSIG", rc);
}

/**
 * Forgets the pages of Node.js itself. Most were needed at its start alone; those that are needed come back one by one, from the
 * memory that all processes of this program share.
 */
export function dropCode(): void {
  loadAddon().dropCode();
}

/** Random bytes, as good as those of node:crypto, which costs a process 2 MiB. @throws SystemCallError */
export function fillRandom(bytes: Uint8Array): void {
  const rc = loadAddon().fillRandom(bytes);
  if (rc < 0) throw new SystemCallError("getrandom", rc);
}
