/**
 * What a locked process may ask of the kernel, by number, on x86_64: written down apart from the filter, from what was measured
 * of Node, libuv and libusb.
 */
import type { LockPurpose } from "../../src/rumpuser/real/lock.js";

type Table = Readonly<Record<string, number>>;

/** Carried out whatever the arguments. */
export const ALLOWED: Table = {
  read: 0,
  write: 1,
  close: 3,
  fstat: 5,
  poll: 7,
  lseek: 8,
  munmap: 11,
  brk: 12,
  rt_sigaction: 13,
  rt_sigprocmask: 14,
  rt_sigreturn: 15,
  pread64: 17,
  readv: 19,
  writev: 20,
  sched_yield: 24,
  mremap: 25,
  madvise: 28,
  nanosleep: 35,
  getpid: 39,
  shutdown: 48,
  getsockname: 51,
  exit: 60,
  uname: 63,
  gettimeofday: 96,
  getrusage: 98,
  sigaltstack: 131,
  gettid: 186,
  time: 201,
  futex: 202,
  sched_getaffinity: 204,
  restart_syscall: 219,
  clock_gettime: 228,
  clock_getres: 229,
  clock_nanosleep: 230,
  exit_group: 231,
  epoll_wait: 232,
  epoll_ctl: 233,
  ppoll: 271,
  set_robust_list: 273,
  epoll_pwait: 281,
  eventfd2: 290,
  getrandom: 318,
  membarrier: 324,
  rseq: 334,
};

/** Carried out besides, by what the process is locked for. */
export const ALLOWED_FOR: Readonly<Record<LockPurpose, Table>> = {
  device: { timerfd_create: 283, timerfd_settime: 286 },
  serve: { getpeername: 52, accept4: 288 },
};

/** Answered 0, and not carried out. */
export const DONE_FOR: Readonly<Record<LockPurpose, Table>> = { device: {}, serve: { listen: 50 } };

/** Carried out for few options; for the others, and with zeroes, answered ENOPROTOOPT. */
export const NO_SUCH_OPTION: Table = { getsockopt: 55 };

/** Answered ENOENT: calls by path. */
export const NOTHING_THERE: Table = {
  open: 2,
  stat: 4,
  lstat: 6,
  access: 21,
  readlink: 89,
  statfs: 137,
  openat: 257,
  newfstatat: 262,
  readlinkat: 267,
  faccessat: 269,
  statx: 332,
  openat2: 437,
  faccessat2: 439,
};

/** Answered ENOSYS. */
export const NOT_IMPLEMENTED: Table = {
  io_uring_setup: 425,
  clone3: 435,
};

/** Carried out with some arguments; with zeroes, as the sweep has them, these are. */
export const ALLOWED_WITH_ZEROES: Table = { mmap: 9, mprotect: 10 };

/** Of Linux 6.14 and later: its own trampolines, which the kernel lets pass every filter and then refuses by itself. */
export const BEYOND_FILTERS: readonly number[] = [335, 336];

export const LAST_NUMBER = 470;

/** These would end the thread or wait; tried by themselves. */
export const ENDING: readonly number[] = [15, 60, 231];
