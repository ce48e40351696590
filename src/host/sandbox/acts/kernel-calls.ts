/** System calls by number, without Node or libc in between. The numbers are Linux's own and never change. */
import { type Act, nr, rawAct } from "./act.js";

const AT_FDCWD = -100;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_NETLINK = 16;
const AF_PACKET = 17;
const AF_ALG = 38;
const AF_VSOCK = 40;
const SOCK_STREAM = 1;
const SOCK_RAW = 3;
const CLONE = { NEWNS: 0x20000, NEWUSER: 0x10000000, NEWPID: 0x20000000, NEWNET: 0x40000000, THREAD: 0x3d0f00 };
const SOL_SOCKET = 1;
/** asm-generic/socket.h; since Linux 6.5. */
const SO_PEERPIDFD = 77;
const SIGCHLD = 17;
const SIGKILL = 9;
const PROT_ALL = 7;
const MAP_PRIVATE_ANONYMOUS = 0x22;
/** linux/prctl.h. */
const PR = { SET_PDEATHSIG: 1, SET_DUMPABLE: 4, SET_SECCOMP: 22, CAPBSET_DROP: 24, SET_MM: 35, SET_NO_NEW_PRIVS: 38 };
const PTRACE = { TRACEME: 0, PEEKDATA: 2, ATTACH: 16, SEIZE: 0x4206 };
const IPC_CREAT_PRIVATE_MODE = 0o1600;
const F = { DUPFD: 0, SETLK: 6, SETOWN: 8, SETSIG: 10, SETPIPE_SZ: 1031, ADD_SEALS: 1033 };
const buffer = (): Uint8Array => new Uint8Array(4096);

export const KERNEL_ACTS: readonly Act[] = [
  // sockets
  rawAct("sockets", "socket AF_INET", nr(41, 198), () => [AF_INET, SOCK_STREAM, 0]),
  rawAct("sockets", "socket AF_UNIX", nr(41, 198), () => [AF_UNIX, SOCK_STREAM, 0]),
  rawAct("sockets", "socket AF_NETLINK", nr(41, 198), () => [AF_NETLINK, SOCK_RAW, 15]),
  rawAct("sockets", "socket AF_PACKET", nr(41, 198), () => [AF_PACKET, SOCK_RAW, 0]),
  rawAct("sockets", "socket AF_ALG", nr(41, 198), () => [AF_ALG, 5, 0]),
  rawAct("sockets", "socket AF_VSOCK", nr(41, 198), () => [AF_VSOCK, SOCK_STREAM, 0]),
  rawAct("sockets", "socketpair", nr(53, 199), () => [AF_UNIX, SOCK_STREAM, 0, buffer()]),
  rawAct("sockets", "send a message with a descriptor", nr(46, 211), () => [3, buffer(), 0]),
  rawAct("sockets", "send a datagram", nr(44, 206), () => [3, "x", 1, 0, 0, 0]),
  rawAct("sockets", "receive a message on the channel", nr(47, 212), () => [3, buffer(), 0x40]),
  rawAct("sockets", "change a socket's options", nr(54, 208), () => [3, 1, 7, buffer(), 4]),
  rawAct("sockets", "a descriptor of the peer's process", nr(55, 209), () => [
    3,
    SOL_SOCKET,
    SO_PEERPIDFD,
    buffer(),
    new Uint8Array([4, 0, 0, 0]),
  ]),
  // processes
  rawAct("processes", "fork", nr(57)),
  rawAct("processes", "vfork", nr(58)),
  rawAct("processes", "clone a process", nr(56, 220), () => [SIGCHLD]),
  rawAct("processes", "clone3", nr(435, 435), () => [buffer(), 64]),
  rawAct("processes", "execve", nr(59, 221), () => [process.execPath, 0, 0]),
  rawAct("processes", "execveat", nr(322, 281), () => [AT_FDCWD, process.execPath, 0, 0, 0]),
  rawAct("processes", "kill the parent", nr(62, 129), () => [process.ppid, 0]),
  rawAct("processes", "tkill", nr(200, 130), () => [1, 0]),
  rawAct("processes", "tgkill another process", nr(234, 131), () => [process.pid + 1, process.pid + 1, SIGKILL]),
  rawAct("processes", "queue a signal", nr(129, 138), () => [1, 0, buffer()]),
  rawAct("processes", "open a process", nr(434, 434), () => [1, 0]),
  rawAct("processes", "take a process's descriptor", nr(438, 438), () => [3, 0, 0]),
  rawAct("processes", "ptrace, trace me", nr(101, 117), () => [PTRACE.TRACEME, 0, 0, 0]),
  rawAct("processes", "ptrace, attach to the parent", nr(101, 117), () => [PTRACE.ATTACH, process.ppid, 0, 0]),
  rawAct("processes", "ptrace, seize process 1", nr(101, 117), () => [PTRACE.SEIZE, 1, 0, 0]),
  rawAct("processes", "read another process's memory", nr(310, 270), () => [process.ppid, buffer(), 1, buffer(), 1, 0]),
  rawAct("processes", "write another process's memory", nr(311, 271), () => [
    process.ppid,
    buffer(),
    1,
    buffer(),
    1,
    0,
  ]),
  rawAct("processes", "compare processes", nr(312, 272), () => [1, process.pid, 0, 0, 0]),
  rawAct("processes", "wait for a process", nr(61, 260), () => [-1, 0, 1, 0]),
  rawAct("processes", "an interval timer", nr(38, 103), () => [0, buffer(), 0]),
  rawAct("processes", "a POSIX timer", nr(222, 107), () => [1, 0, buffer()]),
  // rights
  rawAct("rights", "new user namespace", nr(272, 97), () => [CLONE.NEWUSER]),
  rawAct("rights", "new mount namespace", nr(272, 97), () => [CLONE.NEWNS]),
  rawAct("rights", "new network namespace", nr(272, 97), () => [CLONE.NEWNET]),
  rawAct("rights", "clone into a user namespace", nr(56, 220), () => [CLONE.NEWUSER | SIGCHLD]),
  rawAct("rights", "clone a thread", nr(56, 220), () => [CLONE.THREAD, 0, 0, 0, 0]),
  rawAct("rights", "join a namespace", nr(308, 268), () => [3, 0]),
  rawAct("rights", "mount", nr(165, 40), () => ["none", "/", "tmpfs", 0, 0]),
  rawAct("rights", "unmount", nr(166, 39), () => ["/", 2]),
  rawAct("rights", "pivot_root", nr(155, 41), () => ["/", "/"]),
  rawAct("rights", "chroot", nr(161, 51), () => ["/"]),
  rawAct("rights", "open_tree", nr(428, 428), () => [AT_FDCWD, "/", 1]),
  rawAct("rights", "fsopen", nr(430, 430), () => ["tmpfs", 0]),
  rawAct("rights", "setresuid", nr(117, 147), () => [0, 0, 0]),
  rawAct("rights", "set capabilities", nr(126, 91), () => [buffer(), buffer()]),
  rawAct("rights", "become dumpable", nr(157, 167), () => [PR.SET_DUMPABLE, 1]),
  rawAct("rights", "outlive the parent", nr(157, 167), () => [PR.SET_PDEATHSIG, 0]),
  rawAct("rights", "prctl, no_new_privs", nr(157, 167), () => [PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]),
  rawAct("rights", "prctl, drop from the bounding set", nr(157, 167), () => [PR.CAPBSET_DROP, 0]),
  rawAct("rights", "prctl, change the memory map's borders", nr(157, 167), () => [PR.SET_MM, 1, 0, 0, 0]),
  rawAct("rights", "another filter by prctl", nr(157, 167), () => [PR.SET_SECCOMP, 1]),
  rawAct("rights", "another filter by seccomp", nr(317, 277), () => [1, 0, buffer()]),
  rawAct("rights", "a Landlock rule set", nr(444, 444), () => [0, 0, 1]),
  rawAct("rights", "a rule for a Landlock rule set", nr(445, 445), () => [3, 1, buffer(), 0]),
  rawAct("rights", "restrict oneself with another rule set", nr(446, 446), () => [3, 0]),
  rawAct("rights", "change a mount's attributes", nr(442, 442), () => [AT_FDCWD, "/", 0, buffer(), 32]),
  rawAct("rights", "move a mount", nr(429, 429), () => [AT_FDCWD, "/", AT_FDCWD, "/", 0]),
  rawAct("rights", "attributes of a security module", nr(459, 459), () => [100, buffer(), buffer(), 0]),
  rawAct("rights", "set attributes of a security module", nr(460, 460), () => [100, buffer(), 32, 0]),
  rawAct("rights", "raise a limit", nr(160, 164), () => [7, buffer()]),
  rawAct("rights", "another process's limits", nr(302, 261), () => [process.ppid, 7, 0, buffer()]),
  rawAct("rights", "another personality", nr(135, 92), () => [0x0040000]),
  rawAct("rights", "a session of its own", nr(112, 157)),
  // memory and things that outlive a process
  rawAct("memory", "shared memory, System V", nr(29, 194), () => [0, 4096, IPC_CREAT_PRIVATE_MODE]),
  rawAct("memory", "message queue, System V", nr(68, 186), () => [0, IPC_CREAT_PRIVATE_MODE]),
  rawAct("memory", "semaphores, System V", nr(64, 190), () => [0, 1, IPC_CREAT_PRIVATE_MODE]),
  rawAct("memory", "message queue, POSIX", nr(240, 180), () => ["rumpusb-act", 0o102, 0o600, 0]),
  rawAct("memory", "memory file", nr(319, 279), () => ["rumpusb-act", 0]),
  rawAct("memory", "secret memory", nr(447, 447), () => [0]),
  rawAct("memory", "page faults in user space", nr(323, 282), () => [1]),
  rawAct("memory", "lock all memory", nr(151, 230), () => [1]),
  rawAct("memory", "another process's memory advice", nr(440, 440), () => [3, buffer(), 1, 4, 0]),
  rawAct("memory", "move pages", nr(279, 239), () => [0, 0, 0, 0, 0, 0]),
  rawAct("memory", "memory policy", nr(238, 237), () => [0, 0, 0]),
  rawAct("memory", "seal memory", nr(462, 462), () => [0, 0, 0]),
  rawAct("memory", "attach shared memory", nr(30, 196), () => [0, 0, 0]),
  rawAct("memory", "a pipe", nr(293, 59), () => [buffer(), 0]),
  rawAct("memory", "pages into a pipe", nr(278, 75), () => [1, buffer(), 0, 0]),
  rawAct("memory", "splice", nr(275, 76), () => [0, 0, 1, 0, 1, 0]),
  rawAct("memory", "sendfile", nr(40, 71), () => [1, 0, 0, 1]),
  // the kernel's own interfaces
  rawAct("kernel", "keyring, session", nr(250, 219), () => [0, -3, 0]),
  rawAct("kernel", "keyring, new one", nr(250, 219), () => [1, "rumpusb-act"]),
  rawAct("kernel", "add a key", nr(248, 217), () => ["user", "rumpusb-act", "x", 1, -2]),
  rawAct("kernel", "request a key", nr(249, 218), () => ["user", "rumpusb-act", 0, -2]),
  rawAct("kernel", "io_uring", nr(425, 425), () => [1, buffer()]),
  rawAct("kernel", "enter an io_uring", nr(426, 426), () => [3, 0, 0, 0, 0, 0]),
  rawAct("kernel", "register with an io_uring", nr(427, 427), () => [3, 0, 0, 0]),
  rawAct("kernel", "close a range of descriptors", nr(436, 436), () => [1000, 1000, 0]),
  rawAct("kernel", "tell of a mount", nr(457, 457), () => [buffer(), buffer(), 512, 0]),
  rawAct("kernel", "list mounts", nr(458, 458), () => [buffer(), buffer(), 1, 0]),
  rawAct("kernel", "ports of the processor, all", nr(172), () => [0]),
  rawAct("kernel", "ports of the processor, one", nr(173), () => [0x80, 1, 0]),
  rawAct("kernel", "a local descriptor table", nr(154), () => [0, buffer(), 64]),
  rawAct("kernel", "BPF", nr(321, 280), () => [0, buffer(), 48]),
  rawAct("kernel", "performance counters", nr(298, 241), () => [buffer(), 0, -1, -1, 0]),
  rawAct("kernel", "load a module", nr(313, 273), () => [3, "", 0]),
  rawAct("kernel", "load a kernel", nr(246, 104), () => [0, 0, 0, 0]),
  rawAct("kernel", "kernel log", nr(103, 116), () => [10, 0, 0]),
  rawAct("kernel", "set the host name", nr(170, 161), () => ["x", 1]),
  rawAct("kernel", "set the clock", nr(227, 112), () => [0, buffer()]),
  rawAct("kernel", "watch files", nr(294, 26), () => [0]),
  rawAct("kernel", "watch a file system", nr(300, 262), () => [0, 0]),
  rawAct("kernel", "file handle", nr(303, 264), () => [AT_FDCWD, "/", buffer(), buffer(), 0]),
  rawAct("kernel", "open by file handle", nr(304, 265), () => [AT_FDCWD, buffer(), 0]),
  rawAct("kernel", "list an open folder", nr(217, 61), () => [3, buffer(), 4096]),
  rawAct("kernel", "signals as a descriptor", nr(289, 74), () => [-1, buffer(), 8, 0]),
  rawAct("kernel", "quota", nr(179, 60), () => [0, 0, 0, buffer()]),
  rawAct("kernel", "hang up the terminal", nr(153, 58)),
  rawAct("kernel", "a call of the x32 table", nr(0x40000000 + 39)),
  // descriptors
  rawAct("kernel", "duplicate a descriptor", nr(32, 23), () => [3]),
  rawAct("kernel", "duplicate over the device", nr(292, 24), ({ deviceFd }) => [3, deviceFd, 0]),
  rawAct("kernel", "fcntl, duplicate", nr(72, 25), () => [3, F.DUPFD, 0]),
  rawAct("kernel", "fcntl, own the signals", nr(72, 25), () => [3, F.SETOWN, 1]),
  rawAct("kernel", "fcntl, choose the signal", nr(72, 25), () => [3, F.SETSIG, SIGKILL]),
  rawAct("kernel", "fcntl, lock", nr(72, 25), () => [1, F.SETLK, buffer()]),
  rawAct("kernel", "fcntl, grow a pipe", nr(72, 25), () => [1, F.SETPIPE_SZ, 1 << 20]),
];

/** With --strict no memory becomes executable either. */
export const STRICT_ACTS: readonly Act[] = [
  rawAct("memory", "map executable memory", nr(9, 222), () => [0, 4096, PROT_ALL, MAP_PRIVATE_ANONYMOUS, -1, 0]),
  rawAct("memory", "make memory executable", nr(10, 226), () => [0, 4096, PROT_ALL]),
  rawAct("memory", "make memory executable by key", nr(329, 288), () => [0, 4096, PROT_ALL, -1]),
];
