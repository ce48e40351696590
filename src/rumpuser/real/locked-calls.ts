/** What the addon does for a process without rights: it gets descriptors, locks itself, and dies with the host. */
import { closeSync } from "node:fs";
import { constants } from "node:os";
import { loadAddon, SystemCallError } from "./addon.js";
import { keepReserve } from "./admission.js";

const NEGATIVE_EMFILE = -constants.errno.EMFILE;

/**
 * Waits for a descriptor on a Unix socket. `placeholder` (-1: none) is closed first, so that the descriptor which comes has
 * its number.
 * @returns the descriptor, the caller's.
 * @throws SystemCallError  EPIPE: the peer has gone; EBADMSG: something else came; EMFILE: this process may have no more, and what came is
 *   closed.
 */
export function receiveFd(socketFd: number, placeholder: number): number {
  const fd = loadAddon().recvFd(socketFd, placeholder);
  if (fd < 0) throw new SystemCallError(`recvmsg of a descriptor on ${socketFd}`, fd);
  if (placeholder < 0 && !keepReserve(() => closeSync(fd)))
    throw new SystemCallError(`a descriptor on ${socketFd}`, NEGATIVE_EMFILE);
  return fd;
}

/** What a process is locked for, as native/lock.cc numbers it. */
export const FOR_DEVICES = 0;
export const FOR_CLIENTS = 1;

/** What a locked process may do besides computing and using the descriptors that it has. */
export interface CallFilter {
  readonly purpose: typeof FOR_DEVICES | typeof FOR_CLIENTS;
  /** No executable memory either; needs --jitless. */
  readonly strict: boolean;
  /** The one socket from which a descriptor may be received. */
  readonly passFd: number;
  /** For devices: the first of the descriptors that take usbfs requests. */
  readonly deviceFd: number;
  /** How many there are. */
  readonly deviceCount: number;
}

/**
 * Filters the system calls of every thread of this process, for ever (native/lock.cc). A call that is not on the list
 * kills the process.
 * @throws SystemCallError  ESRCH: a thread has a filter of its own; ENOSYS: no table for this architecture.
 */
export function lockSystemCalls({ purpose, strict, passFd, deviceFd, deviceCount }: CallFilter): void {
  const rc = loadAddon().lock(purpose, strict, passFd, deviceFd, deviceCount);
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
