/**
 * pud frames: what travels between the host half of pud and a rump process.
 *
 * A frame is a header of 32 bytes, little-endian, and a payload whose bounds depend on the kind. Requests go to the rump
 * process and have an id; each gets exactly one REPLY with that id, in any order (those of TTY_WRITE in theirs). Everything
 * else is an announcement, or what an open line brings.
 * There are no pointers, no host structures and no lengths that depend on the machine.
 *
 * | field        | bytes | meaning                                                                             |
 * | magic        | 2     | 5055h ("UP" on the wire)                                                            |
 * | version      | 1     | of this protocol; frames of another version are refused                             |
 * | kind         | 1     | KINDS                                                                               |
 * | node         | 2     | which device node; numbers are given by the rump process, 0 = none                  |
 * | status       | 1     | REPLY, SHUTDOWN_DONE, TTY_CLOSED: 0 or a number of STATUS_NUMBERS; READ, WRITE: in  |
 * |              |       | which slot of the shared memory the data are, from 1; 0 = they come in frames       |
 * | flags        | 1     | requests: FLAG_CANCELLABLE; WRITE, WRITE_ZEROES: FLAG_FUA; TTY_DATA: FLAG_STATUS    |
 * | requestId    | 4     | requests, their REPLY, CANCEL (of the request meant), PING and PONG                 |
 * | payloadBytes | 4     | bytes that follow                                                                   |
 * | offset       | 8     | READ, WRITE, TRIM, WRITE_ZEROES: first block, from 0; TTY_WRITE: 0, or how many     |
 * |              |       | bytes of the same write came before                                                 |
 * | count        | 8     | READ, WRITE, TRIM, WRITE_ZEROES: blocks; TTY_GRANT: bytes; TTY_LATENCY: ms;         |
 * |              |       | TTY_BREAK: 1 = on, 0 = off; TTY_FLUSH: a number of FLUSH_NUMBERS                    |
 */
import { type Field, record, u8, u16le, u32le } from "../bytes.js";
import type { DeviceErrorCode, DeviceKind } from "../rump/devsw.js";

export const PUD_MAGIC = 0x5055;
export const PUD_VERSION = 1;

/** No payload is longer, whatever its kind. Also the upper bound of `maxTransferBytes` of a published disk. */
export const MAX_PAYLOAD_BYTES = 8 * 1024 * 1024;
/** Text that explains a failed request. */
export const MAX_REASON_BYTES = 512;
/** Text that explains a DEMOTION: with what is said around it, it fits into the mode of a DEVICE. */
export const MAX_DEMOTION_REASON_BYTES = 80;
/** Text of a log line or an error. */
export const MAX_MESSAGE_BYTES = 1024;

/** Bytes of a serial line in one frame, either way. */
export const MAX_TTY_BYTES = 64 * 1024;

/** Unanswered requests that the host keeps on one node at most, and the payload bytes (either way) they stand for. */
export const MAX_NODE_REQUESTS = 128;
export const MAX_NODE_BYTES = 32 * 1024 * 1024;
/** Nodes that one rump process may have. */
export const MAX_NODES = 64;

export const FLAG_FUA = 0x01;
/** CANCEL may follow. The driver is given a signal for these requests alone: one for each would be dear. */
export const FLAG_CANCELLABLE = 0x02;
/** A status comes before the data: what changed before they arrived. */
export const FLAG_STATUS = 0x04;

/**
 * 64 bits on the wire, a number here. Above 2^53 it is no longer exact, so whoever reads one checks it with
 * `Number.isSafeInteger` before using it.
 */
export const u53le: Field<number> = {
  bytes: 8,
  read: (b, at) => u32le.read(b, at) + u32le.read(b, at + 4) * 0x1_0000_0000,
  write: (b, at, n) => {
    u32le.write(b, at, n % 0x1_0000_0000);
    u32le.write(b, at + 4, Math.floor(n / 0x1_0000_0000));
  },
};

export const frameHeader = record("pud frame header", "pud frames", {
  magic: u16le,
  version: u8,
  kind: u8,
  node: u16le,
  status: u8,
  flags: u8,
  requestId: u32le,
  payloadBytes: u32le,
  offset: u53le,
  count: u53le,
});
export type FrameHeader = ReturnType<typeof frameHeader.decode>;
export const HEADER_BYTES = frameHeader.size;

/** The two ends of a channel. */
export type Side = "host" | "rump";

export interface Kind {
  readonly name: string;
  readonly number: number;
  /** The side that sends it. */
  readonly from: Side;
  readonly minPayloadBytes: number;
  readonly maxPayloadBytes: number;
}

function kind(name: string, number: number, from: Side, minPayloadBytes = 0, maxPayloadBytes = minPayloadBytes): Kind {
  return { name, number, from, minPayloadBytes, maxPayloadBytes };
}

/**
 * Every kind of frame, with the bytes of its payload: those of its fixed part (a test holds them against payloads.ts), and the most.
 *
 * HELLO comes first, and says whether the process has mapped the memory that it was given (shared-memory.ts). What a READ or a
 * WRITE has in there comes in no frame: neither the WRITE nor the REPLY to the READ has a payload. DEVICE: a driver has
 * attached. DEMOTION: the device went wrong, and in which mode it shall be driven by
 * the processes after this one. NODE and NODE_GONE: a device node comes and goes; when NODE_GONE is
 * sent every request of that node has been answered, and those that cross it on the wire are answered ENODEV. READY:
 * exploring is done and nothing more will attach for now. CANCEL is not answered itself: the request it names is.
 * SHUTDOWN: answer what is in progress, flush, detach, say SHUTDOWN_DONE and end the stream. PING is answered with PONG.
 *
 * A serial line is opened by the REPLY to TTY_OPEN and closed by the REPLY to TTY_CLOSE, or by TTY_CLOSED: the device has gone
 * or failed. While it is open the rump process sends TTY_DATA, never more bytes than TTY_GRANT has allowed in all since it was
 * opened, and TTY_CHANGED. TTY_WRITEs are sent one after the other, and what goes on where one failed is not sent. The REPLY
 * to TTY_OPEN and TTY_CONFIGURE has the settings as the device makes them, to TTY_STATUS the status, to TTY_LATENCY the
 * milliseconds.
 */
export const KINDS = {
  hello: kind("HELLO", 0x01, "rump", 8),
  device: kind("DEVICE", 0x02, "rump", 560),
  node: kind("NODE", 0x03, "rump", 104),
  nodeGone: kind("NODE_GONE", 0x04, "rump", 0, MAX_REASON_BYTES),
  log: kind("LOG", 0x05, "rump", 40, 40 + MAX_MESSAGE_BYTES),
  error: kind("ERROR", 0x06, "rump", 32, 32 + MAX_MESSAGE_BYTES),
  ready: kind("READY", 0x07, "rump"),
  reply: kind("REPLY", 0x08, "rump", 0, MAX_PAYLOAD_BYTES),
  shutdownDone: kind("SHUTDOWN_DONE", 0x09, "rump", 0, MAX_REASON_BYTES),
  pong: kind("PONG", 0x0a, "rump"),
  ttyData: kind("TTY_DATA", 0x0b, "rump", 1, 40 + MAX_TTY_BYTES),
  ttyChanged: kind("TTY_CHANGED", 0x0c, "rump", 40),
  ttyClosed: kind("TTY_CLOSED", 0x0d, "rump", 0, MAX_REASON_BYTES),
  demotion: kind("DEMOTION", 0x0e, "rump", 16, 16 + MAX_DEMOTION_REASON_BYTES),
  read: kind("READ", 0x41, "host"),
  write: kind("WRITE", 0x42, "host", 0, MAX_PAYLOAD_BYTES),
  flush: kind("FLUSH", 0x43, "host"),
  trim: kind("TRIM", 0x44, "host"),
  writeZeroes: kind("WRITE_ZEROES", 0x45, "host"),
  cancel: kind("CANCEL", 0x46, "host"),
  shutdown: kind("SHUTDOWN", 0x47, "host"),
  ping: kind("PING", 0x48, "host"),
  ttyOpen: kind("TTY_OPEN", 0x51, "host", 12),
  ttyClose: kind("TTY_CLOSE", 0x52, "host"),
  ttyConfigure: kind("TTY_CONFIGURE", 0x53, "host", 8),
  ttyOutputs: kind("TTY_OUTPUTS", 0x54, "host", 4),
  ttyBreak: kind("TTY_BREAK", 0x55, "host"),
  ttyStatus: kind("TTY_STATUS", 0x56, "host"),
  ttyLatency: kind("TTY_LATENCY", 0x57, "host"),
  ttyWrite: kind("TTY_WRITE", 0x58, "host", 1, MAX_TTY_BYTES),
  ttyDrain: kind("TTY_DRAIN", 0x59, "host"),
  ttyFlush: kind("TTY_FLUSH", 0x5a, "host"),
  ttyGrant: kind("TTY_GRANT", 0x5b, "host"),
} as const satisfies Record<string, Kind>;

/** Kinds by their number on the wire. */
export const KIND_BY_NUMBER: ReadonlyMap<number, Kind> = new Map(Object.values(KINDS).map((k) => [k.number, k]));

/** `status` on the wire: the numbers of Linux's errno(3), which a reader of a dump knows. 0 = done. */
export const STATUS_NUMBERS = {
  EIO: 5,
  ENOMEM: 12,
  EBUSY: 16,
  ENODEV: 19,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  ESTALE: 116,
  ENOMEDIUM: 123,
  ECANCELED: 125,
} as const satisfies Record<DeviceErrorCode, number>;

export const STATUS_OK = 0;

const STATUS_CODES: ReadonlyMap<number, DeviceErrorCode> = new Map(
  Object.entries(STATUS_NUMBERS).map(([code, number]) => [number, code as DeviceErrorCode]),
);

/** The code of a status other than 0; undefined for a number that is in no table. */
export function deviceErrorCodeOf(status: number): DeviceErrorCode | undefined {
  return STATUS_CODES.get(status);
}

/** The kinds of devices that pud carries as numbers, for NODE. */
export const DEVICE_KIND_NUMBERS = { disk: 1, tty: 2 } as const satisfies Partial<Record<DeviceKind, number>>;
