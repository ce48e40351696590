/**
 * Calls whose arguments try to pass for those that are allowed, and ways of a call that others leave open.
 *
 * The kernel takes descriptors, requests and options as 32 bits and ignores the rest of the register; a filter that compared
 * all of it could be talked round with a high bit.
 */
import { type Act, nr, rawAct } from "./act.js";
import { usbfs } from "./device-calls.js";

const IOCTL = nr(16, 29);
const FCNTL = nr(72, 25);
const PRCTL = nr(157, 167);
const HIGH_BIT = 2 ** 32;
const TIOCSTI = 0x5412;
/** linux/fcntl.h. */
const F = { DUPFD: 0, OFD_SETLK: 37, SETLEASE: 1024, NOTIFY: 1026, DUPFD_CLOEXEC: 1030 };
/** linux/prctl.h. */
const PR = {
  SET_DUMPABLE: 4,
  SET_KEEPCAPS: 8,
  SET_TIMERSLACK: 29,
  SET_SECUREBITS: 28,
  SET_CHILD_SUBREAPER: 36,
  CAP_AMBIENT: 47,
  GET_SPECULATION_CTRL: 52,
  SET_SYSCALL_USER_DISPATCH: 59,
  SET_PTRACER: 0x59616d61,
};
const CAP_AMBIENT_CLEAR_ALL = 4;
const ANY_PROCESS = -1;
const PROT_ALL = 7;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const buffer = (): Uint8Array => new Uint8Array(512);

export const ARGUMENT_ACTS: readonly Act[] = [
  rawAct("device", "TIOCSTI with a high bit", IOCTL, () => [1, TIOCSTI + HIGH_BIT, "x"]),
  rawAct("device", "USBDEVFS_DISCONNECT with a high bit", IOCTL, ({ deviceFd }) => [
    deviceFd,
    usbfs(0, 22, 0) + HIGH_BIT,
    buffer(),
  ]),
  rawAct("device", "USBDEVFS_CONNECT, the device with a high bit", IOCTL, ({ deviceFd }) => [
    deviceFd + HIGH_BIT,
    usbfs(0, 23, 0),
    buffer(),
  ]),
  rawAct("device", "USBDEVFS_IOCTL as a 32-bit program makes it", IOCTL, ({ deviceFd }) => [
    deviceFd,
    usbfs(3, 18, 12),
    buffer(),
  ]),
  rawAct("device", "USBDEVFS_SUBMITURB as a 32-bit program makes it", IOCTL, ({ deviceFd }) => [
    deviceFd,
    usbfs(2, 10, 44),
    buffer(),
  ]),
  rawAct("device", "USBDEVFS_CONTROL on the channel", IOCTL, () => [3, usbfs(3, 0, 24), buffer()]),
  rawAct("kernel", "fcntl, duplicate, with a high bit", FCNTL, () => [3, F.DUPFD + HIGH_BIT, 0]),
  rawAct("kernel", "fcntl, duplicate and close on exec", FCNTL, () => [3, F.DUPFD_CLOEXEC, 0]),
  rawAct("kernel", "fcntl, lease", FCNTL, () => [3, F.SETLEASE, 0]),
  rawAct("kernel", "fcntl, watch a folder", FCNTL, () => [3, F.NOTIFY, 0]),
  rawAct("kernel", "fcntl, lock of the open file", FCNTL, () => [1, F.OFD_SETLK, buffer()]),
  rawAct("rights", "become dumpable, with a high bit", PRCTL, () => [PR.SET_DUMPABLE + HIGH_BIT, 1]),
  rawAct("rights", "prctl, let any process trace this one", PRCTL, () => [PR.SET_PTRACER, ANY_PROCESS, 0, 0, 0]),
  rawAct("rights", "prctl, keep capabilities", PRCTL, () => [PR.SET_KEEPCAPS, 1, 0, 0, 0]),
  rawAct("rights", "prctl, secure bits", PRCTL, () => [PR.SET_SECUREBITS, 0, 0, 0, 0]),
  rawAct("rights", "prctl, ambient capabilities", PRCTL, () => [PR.CAP_AMBIENT, CAP_AMBIENT_CLEAR_ALL, 0, 0, 0]),
  rawAct("rights", "prctl, adopt orphans", PRCTL, () => [PR.SET_CHILD_SUBREAPER, 1, 0, 0, 0]),
  rawAct("rights", "prctl, hand system calls to user space", PRCTL, () => [PR.SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0]),
  rawAct("rights", "prctl, speculation", PRCTL, () => [PR.GET_SPECULATION_CTRL, 0, 0, 0, 0]),
  rawAct("rights", "prctl, timer slack", PRCTL, () => [PR.SET_TIMERSLACK, 1, 0, 0, 0]),
  rawAct("processes", "tgkill, any process", nr(234, 131), () => [ANY_PROCESS, process.pid, 0]),
  rawAct("processes", "signal by a process's descriptor", nr(424, 424), () => [3, 0, 0, 0]),
  rawAct("processes", "reap a process's memory", nr(448, 448), () => [3, 0]),
  rawAct("sockets", "receive from the channel with its sender", nr(45, 207), () => [3, buffer(), 0, 0x42, 0, 0]),
  rawAct("sockets", "receive several messages", nr(299, 243), () => [3, buffer(), 0, 0x40, 0]),
  rawAct("sockets", "send several messages", nr(307, 269), () => [3, buffer(), 0, 0]),
  rawAct("sockets", "accept on the channel", nr(288, 242), () => [3, 0, 0, 0]),
  rawAct("memory", "splice from the channel", nr(275, 76), () => [3, 0, 1, 0, 1, 2]),
  rawAct("memory", "tee", nr(276, 77), () => [0, 1, 1, 2]),
  rawAct("memory", "copy between files", nr(326, 285), () => [0, 0, 1, 0, 1, 0]),
];

/** With --strict. */
export const STRICT_ARGUMENT_ACTS: readonly Act[] = [
  rawAct("memory", "map executable memory, with a high bit", nr(9, 222), () => [
    0,
    4096,
    PROT_ALL + HIGH_BIT,
    MAP_PRIVATE_ANONYMOUS,
    -1,
    0,
  ]),
];
