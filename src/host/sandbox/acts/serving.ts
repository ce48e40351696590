/** What a process that serves clients must not do with what it was given: sockets that listen, a terminal's master, memory. */
import { constants, endianness } from "node:os";
import { getSystemErrorName } from "node:util";
import { type Act, type ActTools, nr, rawAct } from "./act.js";
import { usbfs } from "./device-calls.js";

const IOCTL = nr(16, 29);
const SETSOCKOPT = nr(54, 208);
const ACCEPT4 = nr(288, 242);
const SHUTDOWN = nr(48, 210);
const LISTEN = nr(50, 201);
const SOL_SOCKET = 1;
const NOBODY_WAITS = -constants.errno.EAGAIN;
const SHUT_RD = 0;
const AF_INET = 2;
const MSG_FASTOPEN = 0x20000000;
const PROT_READ_EXEC = 5;
const MAP_SHARED = 1;
const O_RDWR = 2;
/** Asks for a hole, and for the size to stay (linux/falloc.h). */
const FALLOC_HOLE = 3;
const F_ADD_SEALS = 1033;
const F_SEAL_WRITE = 8;
const BUFFER_BYTES = 512;
const buffer = (): Uint8Array => new Uint8Array(BUFFER_BYTES);

/** asm-generic/ioctls.h, linux/fuse.h. `argument`: a buffer where left out. */
const TERMINAL_REQUESTS: readonly (readonly [name: string, request: number, argument?: number | string])[] = [
  ["TIOCGPTPEER: open the other side", 0x5441, O_RDWR],
  ["TIOCSPTLCK: unlock the other side", 0x40045431],
  ["TIOCSTI: type into it", 0x5412, "x"],
  ["TIOCSCTTY: take it as one's own", 0x540e, 0],
  ["TIOCSPGRP: choose who gets its signals", 0x5410],
  ["TIOCSIG: send its programs a signal", 0x40045436, 2],
  ["TIOCSETD: another line discipline", 0x5423],
  ["TIOCCONS: take the console's output", 0x541d],
  ["TIOCLINUX: paste into the console", 0x541c, "\u0003"],
  ["TIOCVHANGUP: hang it up", 0x5437, 0],
  ["TIOCEXCL: keep others out", 0x540c, 0],
  ["TCFLSH: throw away what waits", 0x540b, 0],
  ["TCSETS: settings, the old way", 0x5402],
  ["TIOCSWINSZ: the window's size", 0x5414],
  ["FIOASYNC: signals from it", 0x5452],
];

/** linux/usbdevice_fs.h: some of those that a driver's process may make. */
const USBFS_REQUESTS: readonly (readonly [name: string, request: number])[] = [
  ["USBDEVFS_CONTROL", usbfs(3, 0, 24)],
  ["USBDEVFS_SUBMITURB", usbfs(2, 10, 56)],
  ["USBDEVFS_CLAIMINTERFACE", usbfs(2, 15, 4)],
  ["USBDEVFS_RESET", usbfs(0, 20, 0)],
];

/** asm-generic/socket.h, linux/in.h, linux/in6.h, linux/tcp.h. */
const SOCKET_OPTIONS: readonly (readonly [name: string, level: number, option: number])[] = [
  ["SO_DEBUG", SOL_SOCKET, 1],
  ["SO_REUSEADDR", SOL_SOCKET, 2],
  ["SO_DONTROUTE", SOL_SOCKET, 5],
  ["SO_RCVBUF", SOL_SOCKET, 8],
  ["SO_LINGER", SOL_SOCKET, 13],
  ["SO_REUSEPORT", SOL_SOCKET, 15],
  ["SO_PASSCRED", SOL_SOCKET, 16],
  ["SO_BINDTODEVICE", SOL_SOCKET, 25],
  ["SO_ATTACH_FILTER", SOL_SOCKET, 26],
  ["SO_MARK", SOL_SOCKET, 36],
  ["SO_ATTACH_BPF", SOL_SOCKET, 50],
  ["SO_ZEROCOPY", SOL_SOCKET, 60],
  ["IP_OPTIONS", 0, 4],
  ["IP_TRANSPARENT", 0, 19],
  ["IPT_SO_SET_REPLACE", 0, 64],
  ["IPV6_ADDRFORM", 41, 1],
  ["TCP_REPAIR", 6, 19],
  ["TCP_CONGESTION", 6, 13],
  ["TCP_FASTOPEN", 6, 23],
  ["TCP_ULP", 6, 31],
];

/** sockaddr_in of 127.0.0.1 (ip(7)). */
function loopback(port: number): Uint8Array {
  const address = new Uint8Array(16);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_INET, endianness() === "LE");
  view.setUint16(2, port);
  address.set([127, 0, 0, 1], 4);
  return address;
}

/** Ends its listening, then tries to begin again: the kernel would (inet_listen), and choose a port where none is bound. */
function listenAgain({ probe, listenerFd }: ActTools): void {
  const call = ({ x64, arm64 = x64 }: typeof LISTEN): number => (process.arch === "arm64" ? arm64 : x64);
  const results = probe.calls([
    [call(SHUTDOWN), listenerFd, SHUT_RD],
    [call(LISTEN), listenerFd, 1],
    [call(ACCEPT4), listenerFd, 0, 0, 0],
  ]);
  // accept(2) of one that does not listen: EINVAL.
  if (results[2] !== NOBODY_WAITS) throw new Error(getSystemErrorName(results[2] ?? 0));
}

export const SERVING_ACTS: readonly Act[] = [
  ...TERMINAL_REQUESTS.map(([name, request, argument]) =>
    rawAct("device", `${name}, on a terminal's master`, IOCTL, ({ masterFd }) => [
      masterFd,
      request,
      argument ?? buffer(),
    ]),
  ),
  rawAct("device", "FUSE_DEV_IOC_CLONE: another way to a device of ours", IOCTL, ({ masterFd }) => [
    masterFd,
    0x8004e500,
    buffer(),
  ]),
  ...USBFS_REQUESTS.map(([name, request]) =>
    rawAct("device", `${name} on a descriptor that came`, IOCTL, ({ memoryFd }) => [memoryFd, request, buffer()]),
  ),
  ...SOCKET_OPTIONS.map(([name, level, option]) =>
    rawAct("sockets", `set ${name} of a socket that listens`, SETSOCKOPT, ({ listenerFd }) => [
      listenerFd,
      level,
      option,
      buffer(),
      BUFFER_BYTES,
    ]),
  ),
  rawAct("sockets", "accept on a terminal's master", ACCEPT4, ({ masterFd }) => [masterFd, 0, 0, 0]),
  rawAct("sockets", "accept, the old way", nr(43, 202), ({ listenerFd }) => [listenerFd, 0, 0]),
  rawAct("sockets", "bind a socket that listens", nr(49, 200), ({ listenerFd }) => [listenerFd, loopback(0), 16]),
  rawAct("sockets", "connect a socket that listens", nr(42, 203), ({ listenerFd }) => [listenerFd, loopback(1), 16]),
  rawAct("sockets", "connect by sending", nr(44, 206), ({ listenerFd }) => [
    listenerFd,
    "x",
    1,
    MSG_FASTOPEN,
    loopback(1),
    16,
  ]),
  rawAct("sockets", "send descriptors away where they came from", nr(46, 211), () => [4, buffer(), 0]),
  rawAct("memory", "shrink memory that is shared", nr(77, 46), ({ memoryFd }) => [memoryFd, 0]),
  rawAct("memory", "make a hole in memory that is shared", nr(285, 47), ({ memoryFd }) => [
    memoryFd,
    FALLOC_HOLE,
    0,
    4096,
  ]),
  rawAct("memory", "seal memory that is shared", nr(72, 25), ({ memoryFd }) => [memoryFd, F_ADD_SEALS, F_SEAL_WRITE]),
  rawAct("files", "watch one more file", nr(254, 27), ({ memoryFd }) => [memoryFd, "/", 2]),
  { name: "listen again", group: "sockets", attempt: listenAgain },
];

/** With --strict. */
export const STRICT_SERVING_ACTS: readonly Act[] = [
  rawAct("memory", "map shared memory executable", nr(9, 222), ({ memoryFd }) => [
    0,
    4096,
    PROT_READ_EXEC,
    MAP_SHARED,
    memoryFd,
    0,
  ]),
];
