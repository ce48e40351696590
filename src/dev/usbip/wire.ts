/**
 * USB/IP protocol 1.1.1: what goes over the wire.
 *
 * Spec: Linux Documentation/usb/usbip_protocol.rst, "Message Format". Everything is big-endian, but for the setup packet,
 * which stays as USB has it. A connection starts with operations (list, import), each 8 bytes and a body; after an
 * import it carries 48-byte URB headers, each followed by the payload where there is one.
 */
import { type Field, raw, record, u8, u16be, u32be } from "../../bytes.js";
import type { Speed, TransferStatus } from "../../rumpuser/rumpuser.js";

const SPEC = "usbip_protocol, Message Format";

/** Signed, in two's complement: a status below 0 is an errno. */
const i32be: Field<number> = {
  bytes: 4,
  read: (b, at) => u32be.read(b, at) | 0,
  write: (b, at, n) => u32be.write(b, at, n),
};

/** "Protocol Version": 1.1.1. */
export const USBIP_VERSION = 0x0111;

/** TCP port that IANA and Linux's usbipd use. */
export const USBIP_PORT = 3240;

export const OP_CODE = {
  REQ_IMPORT: 0x8003,
  REP_IMPORT: 0x0003,
  REQ_DEVLIST: 0x8005,
  REP_DEVLIST: 0x0005,
} as const;

/** Status of OP_REP_IMPORT. The document knows 0 and 1; the others are what Linux's usbip tools send and print. */
export const OP_STATUS = {
  OK: 0,
  REFUSED: 1,
  DEVICE_BUSY: 2,
  DEVICE_ERROR: 3,
  NO_DEVICE: 4,
  ERROR: 5,
} as const;

/** What every operation starts with. `status` is 0 in a request. */
export const opHeader = record("operation header", SPEC, { version: u16be, code: u16be, status: u32be });

/** Bytes of a bus id with its closing zero. */
export const BUS_ID_BYTES = 32;

/** Body of OP_REQ_IMPORT. */
export const importRequest = record("OP_REQ_IMPORT", SPEC, { busid: raw(BUS_ID_BYTES) });

/** Body of OP_REP_DEVLIST; the devices follow. */
export const devlistReply = record("OP_REP_DEVLIST", SPEC, { deviceCount: u32be });

/** A device as OP_REP_IMPORT and OP_REP_DEVLIST tell of it; in the list its interfaces follow. */
export const exportedDevice = record("exported device", SPEC, {
  path: raw(256),
  busid: raw(BUS_ID_BYTES),
  busnum: u32be,
  devnum: u32be,
  speed: u32be,
  idVendor: u16be,
  idProduct: u16be,
  bcdDevice: u16be,
  bDeviceClass: u8,
  bDeviceSubClass: u8,
  bDeviceProtocol: u8,
  bConfigurationValue: u8,
  bNumConfigurations: u8,
  bNumInterfaces: u8,
});
export type ExportedDevice = ReturnType<typeof exportedDevice.decode>;

/** One interface of a device in OP_REP_DEVLIST. */
export const exportedInterface = record("exported interface", SPEC, {
  bInterfaceClass: u8,
  bInterfaceSubClass: u8,
  bInterfaceProtocol: u8,
  padding: u8,
});

/** Speed codes: Linux enum usb_device_speed. 4 is wireless USB, which nothing here speaks. */
export const SPEED_CODES: Readonly<Record<Speed, number>> = { low: 1, full: 2, high: 3, super: 5, superPlus: 6 };

/** @returns undefined for a code that names no speed of ours. */
export function speedOfCode(code: number): Speed | undefined {
  return (Object.keys(SPEED_CODES) as Speed[]).find((speed) => SPEED_CODES[speed] === code);
}

export const COMMAND = { SUBMIT: 1, UNLINK: 2, RET_SUBMIT: 3, RET_UNLINK: 4 } as const;

export const DIRECTION = { OUT: 0, IN: 1 } as const;

/** transfer_flags of CMD_SUBMIT, from the kernel's include/uapi/linux/usbip.h. */
export const TRANSFER_FLAG = { ZERO_PACKET: 0x0040, DIR_IN: 0x0200 } as const;

/** "number_of_packets … shall be set to 0xffffffff if not ISO transfer"; Linux's vhci_hcd sends 0. Both mean none. */
export const NOT_ISOCHRONOUS = [0, -1] as const;

/** An isochronous packet descriptor follows the payload once per packet. Not supported: read over and refused. */
export const ISO_PACKET_BYTES = 16;

const basicHeader = { command: u32be, seqnum: u32be, devid: u32be, direction: u32be, ep: u32be } as const;

export const cmdSubmit = record("USBIP_CMD_SUBMIT", SPEC, {
  ...basicHeader,
  transferFlags: u32be,
  transferBufferLength: u32be,
  startFrame: i32be,
  numberOfPackets: i32be,
  interval: i32be,
  setup: raw(8),
});
export const retSubmit = record("USBIP_RET_SUBMIT", SPEC, {
  ...basicHeader,
  status: i32be,
  actualLength: u32be,
  startFrame: i32be,
  numberOfPackets: i32be,
  errorCount: i32be,
  padding: raw(8),
});
export const cmdUnlink = record("USBIP_CMD_UNLINK", SPEC, { ...basicHeader, unlinkSeqnum: u32be, padding: raw(24) });
export const retUnlink = record("USBIP_RET_UNLINK", SPEC, { ...basicHeader, status: i32be, padding: raw(24) });

/** Every URB header has this size. */
export const URB_HEADER_BYTES = 48;

/** The longest transfer that either end of ours takes part in. The protocol would allow 2 GiB. */
export const MAX_URB_BYTES = 16 << 20;

/**
 * Byte offsets in a URB header, for code that runs once per transfer and reads or writes just the fields it needs. The
 * records above say the same; a test compares them.
 */
export const AT = {
  COMMAND: 0,
  SEQNUM: 4,
  DEVID: 8,
  DIRECTION: 12,
  ENDPOINT: 16,
  TRANSFER_FLAGS: 20,
  STATUS: 20,
  UNLINK_SEQNUM: 20,
  TRANSFER_BUFFER_LENGTH: 24,
  ACTUAL_LENGTH: 24,
  NUMBER_OF_PACKETS: 32,
  INTERVAL: 36,
  SETUP: 40,
} as const;

/** "devid … ((busnum << 16) | devnum)", of the client's headers. */
export function devidOf(busnum: number, devnum: number): number {
  return ((busnum << 16) | devnum) >>> 0;
}

/**
 * URB status on the wire is a negative errno of Linux (Documentation/driver-api/usb/error-codes.rst). The first row of a
 * status is the one that is sent.
 */
export const STATUS_TABLE: readonly {
  readonly errno: number;
  readonly name: string;
  readonly status: TransferStatus;
}[] = [
  { errno: 0, name: "OK", status: "ok" },
  { errno: -32, name: "EPIPE", status: "stalled" },
  { errno: -104, name: "ECONNRESET", status: "cancelled" }, // unlinked
  { errno: -2, name: "ENOENT", status: "cancelled" }, // killed
  { errno: -108, name: "ESHUTDOWN", status: "disconnected" },
  { errno: -19, name: "ENODEV", status: "disconnected" },
  { errno: -75, name: "EOVERFLOW", status: "overflow" }, // babble
  { errno: -110, name: "ETIMEDOUT", status: "timedOut" },
  { errno: -71, name: "EPROTO", status: "error" }, // bit stuffing, no answer within the turn-around time
  { errno: -84, name: "EILSEQ", status: "error" }, // CRC
  { errno: -62, name: "ETIME", status: "error" }, // no answer within the turn-around time, other controllers
  { errno: -5, name: "EIO", status: "error" },
  { errno: -12, name: "ENOMEM", status: "error" },
  { errno: -22, name: "EINVAL", status: "error" },
  { errno: -90, name: "EMSGSIZE", status: "error" },
  { errno: -121, name: "EREMOTEIO", status: "error" }, // short, where short is not allowed: never asked for
];

const STATUS_BY_ERRNO = new Map(STATUS_TABLE.map((row) => [row.errno, row.status]));

/** An errno that the table does not name is an "error". */
export function statusOfErrno(errno: number): TransferStatus {
  return STATUS_BY_ERRNO.get(errno) ?? "error";
}

export function errnoOfStatus(status: TransferStatus): number {
  return STATUS_TABLE.find((row) => row.status === status)?.errno ?? ERRNO.EPROTO;
}

/** The errnos that are named in code. */
export const ERRNO = { ECONNRESET: -104, EPROTO: -71, ENOMEM: -12, EINVAL: -22, EMSGSIZE: -90 } as const;

/** A string closed by zero and filled up with zeroes. @throws RangeError when it does not fit. */
export function zeroTerminated(text: string, bytes: number): Uint8Array {
  const encoded = new TextEncoder().encode(text);
  if (encoded.length >= bytes || encoded.includes(0))
    throw new RangeError(`"${text}" does not fit ${bytes} bytes closed by a zero (${SPEC})`);
  const field = new Uint8Array(bytes);
  field.set(encoded);
  return field;
}

/** What stands before the first zero. */
export function textOf(field: Uint8Array): string {
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

/**
 * Memory for URB headers: 48 bytes each, cut from slabs, because a header must stay as it is until it is sent and small
 * typed arrays of their own are dear to make and to send.
 */
export class HeaderSlab {
  static readonly #HEADERS_PER_SLAB = 64;
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  #used = 0;

  /** The slab that was cut from last, and a view of it. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get view(): DataView {
    return this.#view;
  }

  /** @returns where in the slab there are 48 zero bytes that nobody else has. */
  cut(): number {
    if (this.#used + URB_HEADER_BYTES > this.#bytes.length) {
      this.#bytes = new Uint8Array(URB_HEADER_BYTES * HeaderSlab.#HEADERS_PER_SLAB);
      this.#view = new DataView(this.#bytes.buffer);
      this.#used = 0;
    }
    const at = this.#used;
    this.#used += URB_HEADER_BYTES;
    return at;
  }

  /** The same with an array and a view of its own. */
  take(): { readonly bytes: Uint8Array; readonly view: DataView } {
    const at = this.cut();
    const { buffer } = this.#bytes;
    return {
      bytes: new Uint8Array(buffer, at, URB_HEADER_BYTES),
      view: new DataView(buffer, at, URB_HEADER_BYTES),
    };
  }
}
