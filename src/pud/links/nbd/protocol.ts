/**
 * The numbers and records of the NBD protocol.
 *
 * Spec: "The NBD protocol" (doc/proto.md of the reference implementation); section names are quoted as they stand there.
 * All integers are big-endian. Only what this server speaks is listed; anything else is answered as unknown.
 */
import { record, u16be, u32be, u64be } from "../../../bytes.js";
import type { DeviceErrorCode } from "../../../rump/devsw.js";

/** "Newstyle negotiation": the two magic numbers of the greeting; the second one also opens every option. */
export const INIT_PASSWD = 0x4e42444d41474943n;
export const OPTION_MAGIC = 0x49484156454f5054n;
/** "Fixed newstyle negotiation": opens every option reply. */
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
/** "Request message", "Simple reply message", "Structured reply chunk message". */
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

/** "Handshake flags" and "Client flags": the same two bits both ways. */
export const HANDSHAKE_FLAG = { FIXED_NEWSTYLE: 1 << 0, NO_ZEROES: 1 << 1 } as const;

/** "Transmission flags". */
export const TRANSMISSION_FLAG = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_FAST_ZERO: 1 << 11,
} as const;

/** "Option types". */
export const OPTION = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 10,
  SET_META_CONTEXT: 11,
  EXTENDED_HEADERS: 12,
} as const;

const OPTION_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(OPTION).map(([name, code]) => [code, name]));

/** `NBD_OPT_GO`, or the bare number of an option that nobody has defined. */
export function optionName(option: number): string {
  const name = OPTION_NAMES.get(option);
  return name === undefined ? `option ${option}` : `NBD_OPT_${name}`;
}

/** "Option reply types"; errors have bit 31 set. */
export const OPTION_REPLY = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  ERR_UNSUP: 0x8000_0001,
  ERR_INVALID: 0x8000_0003,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_BLOCK_SIZE_REQD: 0x8000_0008,
  ERR_TOO_BIG: 0x8000_0009,
} as const;

/** Information types of NBD_REP_INFO. */
export const INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

/** "Request types". */
export const COMMAND = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, WRITE_ZEROES: 6 } as const;

/** "Command flags". */
export const COMMAND_FLAG = { FUA: 1 << 0, NO_HOLE: 1 << 1, DF: 1 << 2, FAST_ZERO: 1 << 4 } as const;

/** "Structured reply flags" and "Structured reply types"; errors have bit 15 set. */
export const REPLY_FLAG_DONE = 1;
export const REPLY_TYPE = { OFFSET_DATA: 1, ERROR: 0x8001 } as const;

/** "Error values": these numbers whatever the host's errno.h says. */
export const NBD_ERROR = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

export type NbdErrorName = keyof typeof NBD_ERROR;

/**
 * What a client is told of a device's failure; EIO of those that are not named. The protocol has eight words: a write-protected
 * medium is EPERM there, a device that has gone ends the export, and ENOTSUP is kept for NBD_CMD_FLAG_FAST_ZERO ("Error values").
 */
export const NBD_ERROR_OF: Partial<Readonly<Record<DeviceErrorCode, NbdErrorName>>> = {
  EINVAL: "EINVAL",
  EROFS: "EPERM",
  ENOSPC: "ENOSPC",
  ENODEV: "ESHUTDOWN",
  EOPNOTSUPP: "EINVAL",
  ENOMEM: "ENOMEM",
};

/** "Conventions": no string is longer than this. */
export const MAX_STRING_BYTES = 4096;

export const greeting = record("greeting", "Newstyle negotiation", {
  initPasswd: u64be,
  optionMagic: u64be,
  handshakeFlags: u16be,
});

export const optionHeader = record("option", "Newstyle negotiation", {
  magic: u64be,
  option: u32be,
  dataBytes: u32be,
});

export const optionReplyHeader = record("option reply", "Fixed newstyle negotiation", {
  magic: u64be,
  option: u32be,
  replyType: u32be,
  dataBytes: u32be,
});

/** Answer to NBD_OPT_EXPORT_NAME; 124 zeroes follow unless NO_ZEROES was negotiated. */
export const exportNameReply = record("NBD_OPT_EXPORT_NAME reply", "Newstyle negotiation", {
  exportBytes: u64be,
  transmissionFlags: u16be,
});
export const EXPORT_NAME_ZEROES = 124;

/** Begins NBD_REP_SERVER: the name follows, then a description to the end. */
export const serverName = record("NBD_REP_SERVER", "Option reply types", { nameBytes: u32be });

/** Begins NBD_INFO_NAME and NBD_INFO_DESCRIPTION: text follows to the end. */
export const infoText = record("NBD_INFO_NAME", "Option reply types", { infoType: u16be });

export const infoExport = record("NBD_INFO_EXPORT", "Option reply types", {
  infoType: u16be,
  exportBytes: u64be,
  transmissionFlags: u16be,
});

export const infoBlockSize = record("NBD_INFO_BLOCK_SIZE", "Option reply types", {
  infoType: u16be,
  minimumBytes: u32be,
  preferredBytes: u32be,
  maximumBytes: u32be,
});

/** One request, taken apart. The cookie comes back in the answer as it was; nobody looks into it. */
export interface RequestHeader {
  readonly magic: number;
  readonly flags: number;
  readonly type: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Exact below 2^53; above that only "far beyond any export" is left of it, which is all that is asked of it. */
  readonly offset: number;
  readonly lengthBytes: number;
}

/** "Request message": magic, flags, type, cookie, offset, length. */
export const REQUEST_BYTES = 28;

/** Reads a request of REQUEST_BYTES at `at`. Written out, without 64-bit integers: this is done for every request. */
export function readRequest(view: DataView, at: number): RequestHeader {
  return {
    magic: view.getUint32(at),
    flags: view.getUint16(at + 4),
    type: view.getUint16(at + 6),
    cookieHigh: view.getUint32(at + 8),
    cookieLow: view.getUint32(at + 12),
    offset: view.getUint32(at + 16) * 0x1_0000_0000 + view.getUint32(at + 20),
    lengthBytes: view.getUint32(at + 24),
  };
}
