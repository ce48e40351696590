/**
 * The kernel's protocol of /dev/cuse: character devices whose calls a process answers.
 *
 * Structures and numbers: Linux uapi/linux/fuse.h, protocol 7.31; what CUSE makes of it: fs/fuse/cuse.c. The machine's own byte
 * order, which is little on x86_64 and aarch64.
 */
import { concat, type Field, raw, record, u16le, u32le } from "../../../bytes.js";

const SPEC = "linux/fuse.h";

const u64le: Field<bigint> = {
  bytes: 8,
  read: (b, at) => BigInt(u32le.read(b, at)) | (BigInt(u32le.read(b, at + 4)) << 32n),
  write: (b, at, n) => {
    u32le.write(b, at, Number(BigInt.asUintN(32, n)));
    u32le.write(b, at + 4, Number(BigInt.asUintN(32, n >> 32n)));
  },
};

export const FUSE_MAJOR = 7;
export const FUSE_MINOR = 31;
/** The most bytes of one read or write. */
export const MAX_DATA_BYTES = 64 * 1024;
/** What one request takes at most: headers, and the data of a write (FUSE_MIN_READ_BUFFER is less). */
export const MAX_REQUEST_BYTES = MAX_DATA_BYTES + 4096;

export const OPCODES = {
  open: 14,
  read: 15,
  write: 16,
  release: 18,
  interrupt: 36,
  ioctl: 39,
  poll: 40,
  init: 4096,
} as const;

export const CUSE_UNRESTRICTED_IOCTL = 1;
export const FOPEN_DIRECT_IO = 1;
export const FOPEN_NONSEEKABLE = 4;
export const FUSE_IOCTL_RETRY = 4;
export const FUSE_IOCTL_32BIT = 8;
export const FUSE_POLL_SCHEDULE_NOTIFY = 1;
const FUSE_NOTIFY_POLL = 1;

export const inHeader = record("fuse_in_header", SPEC, {
  len: u32le,
  opcode: u32le,
  unique: u64le,
  nodeid: u64le,
  uid: u32le,
  gid: u32le,
  pid: u32le,
  totalExtlen: u16le,
  padding: u16le,
});
const outHeader = record("fuse_out_header", SPEC, { len: u32le, error: u32le, unique: u64le });

export const initIn = record("cuse_init_in", SPEC, { major: u32le, minor: u32le, unused: u32le, flags: u32le });
const initOut = record("cuse_init_out", SPEC, {
  major: u32le,
  minor: u32le,
  unused: u32le,
  flags: u32le,
  maxRead: u32le,
  maxWrite: u32le,
  devMajor: u32le,
  devMinor: u32le,
  spare: raw(40),
});
export const openIn = record("fuse_open_in", SPEC, { flags: u32le, openFlags: u32le });
const openOut = record("fuse_open_out", SPEC, { fh: u64le, openFlags: u32le, padding: u32le });
/** fuse_read_in and fuse_write_in; the data of a write follows. */
export const transferIn = record("fuse_write_in", SPEC, {
  fh: u64le,
  offset: u64le,
  size: u32le,
  transferFlags: u32le,
  lockOwner: u64le,
  flags: u32le,
  padding: u32le,
});
const writeOut = record("fuse_write_out", SPEC, { size: u32le, padding: u32le });
export const ioctlIn = record("fuse_ioctl_in", SPEC, {
  fh: u64le,
  flags: u32le,
  cmd: u32le,
  arg: u64le,
  inSize: u32le,
  outSize: u32le,
});
const ioctlOut = record("fuse_ioctl_out", SPEC, { result: u32le, flags: u32le, inIovs: u32le, outIovs: u32le });
const ioctlIovec = record("fuse_ioctl_iovec", SPEC, { base: u64le, len: u64le });
export const pollIn = record("fuse_poll_in", SPEC, { fh: u64le, kh: u64le, flags: u32le, events: u32le });
const pollOut = record("fuse_poll_out", SPEC, { revents: u32le, padding: u32le });
export const interruptIn = record("fuse_interrupt_in", SPEC, { unique: u64le });
const pollWakeup = record("fuse_notify_poll_wakeup_out", SPEC, { kh: u64le });

export interface CuseRequest {
  readonly opcode: number;
  /** Names the request in its answer, and in an interrupt. */
  readonly unique: bigint;
  /** What follows the header; the receiver's. */
  readonly body: Uint8Array;
}

/** @throws RecordError when it is shorter than it says. */
export function decodeRequest(bytes: Uint8Array): CuseRequest {
  const { opcode, unique } = inHeader.decode(bytes);
  return { opcode, unique, body: bytes.slice(inHeader.size) };
}

export function encodeAnswer(unique: bigint, body: Uint8Array = new Uint8Array()): Uint8Array {
  return concat([outHeader.encode({ len: outHeader.size + body.length, error: 0, unique }), body]);
}

/** `errno`: positive. */
export function encodeError(unique: bigint, errno: number): Uint8Array {
  return outHeader.encode({ len: outHeader.size, error: -errno >>> 0, unique });
}

/** Tells the kernel that poll(2) has a new answer. */
export function encodePollWakeup(kh: bigint): Uint8Array {
  const body = pollWakeup.encode({ kh });
  return concat([outHeader.encode({ len: outHeader.size + body.length, error: FUSE_NOTIFY_POLL, unique: 0n }), body]);
}

/** The device: its name in /dev, any free number. */
export function encodeInit(minor: number, name: string): Uint8Array {
  const fixed = initOut.encode({
    major: FUSE_MAJOR,
    minor: Math.min(minor, FUSE_MINOR),
    unused: 0,
    flags: CUSE_UNRESTRICTED_IOCTL,
    maxRead: MAX_DATA_BYTES,
    maxWrite: MAX_DATA_BYTES,
    devMajor: 0,
    devMinor: 0,
    spare: new Uint8Array(40),
  });
  return concat([fixed, Buffer.from(`DEVNAME=${name}\0`)]);
}

export function encodeOpen(fh: bigint): Uint8Array {
  return openOut.encode({ fh, openFlags: FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE, padding: 0 });
}

export function encodeWritten(size: number): Uint8Array {
  return writeOut.encode({ size, padding: 0 });
}

export function encodePoll(revents: number): Uint8Array {
  return pollOut.encode({ revents, padding: 0 });
}

/** The result of an ioctl, with what it writes into the program's memory. */
export function encodeIoctl(data: Uint8Array = new Uint8Array()): Uint8Array {
  return concat([ioctlOut.encode({ result: 0, flags: 0, inIovs: 0, outIovs: 0 }), data]);
}

/** Asks for the same ioctl again, with so many bytes of the program's memory at `arg` to read and to write. */
export function encodeIoctlRetry(arg: bigint, inBytes: number, outBytes: number): Uint8Array {
  const iovecs = [inBytes, outBytes]
    .filter((bytes) => bytes > 0)
    .map((bytes) => ioctlIovec.encode({ base: arg, len: BigInt(bytes) }));
  const counts = { inIovs: inBytes > 0 ? 1 : 0, outIovs: outBytes > 0 ? 1 : 0 };
  return concat([ioctlOut.encode({ result: 0, flags: FUSE_IOCTL_RETRY, ...counts }), ...iovecs]);
}
