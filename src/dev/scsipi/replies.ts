/**
 * What units answer: INQUIRY, REPORT LUNS, READ CAPACITY. SPC-4 §6.6, §6.33; SBC-3 §5.15, §5.16.
 *
 * A reply is a stranger's bytes: lengths in it are clipped to what arrived, strings are made printable.
 */
import { raw, record, u16be, u32be, u64be, u8 } from "../../bytes.js";

export const inquiryData = record("INQUIRY data", "SPC-4 §6.6.2", {
  peripheral: u8,
  removable: u8,
  version: u8,
  responseFormat: u8,
  additionalLength: u8,
  flags5: u8,
  flags6: u8,
  flags7: u8,
  vendor: raw(8),
  product: raw(16),
  revision: raw(4),
});

export interface Inquiry {
  /** Peripheral device type, SPC-4 Table 59. */
  readonly deviceType: number;
  /** Peripheral qualifier 0: a device of that type is there. */
  readonly connected: boolean;
  readonly removable: boolean;
  /** 05h = SPC-3, 06h = SPC-4. */
  readonly version: number;
  /** Vendor, product, revision; printable ASCII. */
  readonly model: string;
}

/** @throws RecordError on fewer than the 5 bytes that every unit owes. Missing strings are empty. */
export function parseInquiry(bytes: Uint8Array): Inquiry {
  const head = inquiryHead.decode(bytes);
  const padded = new Uint8Array(inquiryData.size);
  padded.set(bytes.subarray(0, inquiryData.size));
  const { vendor, product, revision } = inquiryData.decode(padded);
  return {
    deviceType: head.peripheral & 0x1f,
    connected: head.peripheral >> 5 === 0,
    removable: (head.removable & 0x80) !== 0,
    version: head.version,
    model: [vendor, product, revision].map(printable).filter(Boolean).join(" "),
  };
}
const inquiryHead = record("INQUIRY data", "SPC-4 §6.6.2", {
  peripheral: u8,
  removable: u8,
  version: u8,
  responseFormat: u8,
  additionalLength: u8,
});

/** SPC-4 Table 59, those that turn up behind USB. */
const DEVICE_TYPES: Readonly<Record<number, string>> = {
  0x00: "disk",
  0x01: "tape",
  0x03: "processor",
  0x05: "CD or DVD",
  0x07: "optical memory",
  0x08: "medium changer",
  0x0d: "enclosure services",
  0x0e: "simplified disk",
  0x1f: "no device",
};

/** `CD or DVD (type 05h)`. */
export function describeDeviceType(deviceType: number): string {
  const name = DEVICE_TYPES[deviceType] ?? "unlisted device";
  return `${name} (type ${deviceType.toString(16).padStart(2, "0").toUpperCase()}h)`;
}

const lunListHead = record("REPORT LUNS data", "SPC-4 §6.33", { listBytes: u32be, reserved4: u32be });
const lunEntry = record("LUN", "SAM-5 §4.7", { first: u16be, second: u16be, third: u16be, fourth: u16be });
/** Room for the header and sixteen units, the most that a bulk-only target has. */
export const LUN_LIST_BYTES = lunListHead.size + 16 * lunEntry.size;

/**
 * The units of the list that have a plain number (peripheral addressing, bus 0), in its order.
 * @throws RecordError when the header is not there.
 */
export function parseLunList(bytes: Uint8Array): number[] {
  const { listBytes } = lunListHead.decode(bytes);
  const end = Math.min(bytes.length, lunListHead.size + listBytes);
  const luns: number[] = [];
  for (let at = lunListHead.size; at + lunEntry.size <= end; at += lunEntry.size) {
    const { first, second, third, fourth } = lunEntry.decode(bytes, at);
    if (first <= 0xff && second === 0 && third === 0 && fourth === 0) luns.push(first);
  }
  return luns;
}

export const capacity10Data = record("READ CAPACITY(10) data", "SBC-3 §5.15", { lastBlock: u32be, blockBytes: u32be });
/** `lastBlock` of READ CAPACITY(10) when only READ CAPACITY(16) can tell. */
export const ASK_CAPACITY_16 = 0xffff_ffff;

export const capacity16Data = record("READ CAPACITY(16) data", "SBC-3 §5.16", {
  lastBlock: u64be,
  blockBytes: u32be,
  protection: u8,
  exponents: u8,
  provisioning: u16be,
});
/** Bit of `provisioning`: the unit can forget blocks (LBPME). */
export const LBPME = 0x8000;
/** The whole reply. */
export const CAPACITY_16_BYTES = 32;

/** ASCII from a device: everything that is not printable becomes a space, runs of spaces one, the ends none. */
export function printable(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => (b >= 0x20 && b <= 0x7e ? String.fromCharCode(b) : " "))
    .join("")
    .replace(/ +/g, " ")
    .trim();
}
