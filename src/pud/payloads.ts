/**
 * Payloads of announcements: fixed-width records, text padded with zeroes or, where it ends a frame, as long as it is.
 *
 * Here they are laid out and read; what writes them is in served-payloads.ts. The decoders run in the host on bytes that a
 * hostile process may have written: they return values that are safe to use and to print, or throw a LinkError.
 */
import { raw, record, u8, u16le, u32le } from "../bytes.js";
import type { DiskInfo, TtyInfo } from "../rump/devsw.js";
import type { LogEntry, LogLevel } from "../rumpuser/rumpuser.js";
import { decodeDiskInfo } from "./disk-payloads.js";
import { LinkError } from "./errors.js";
import { DEVICE_KIND_NUMBERS, PUD_VERSION } from "./frames.js";
import { decodeText } from "./text.js";
import { decodeTtyInfo } from "./tty-node-payload.js";

export const NAME_BYTES = 16;
export const STRING_BYTES = 128;

/** Becomes part of node names, and so of file names: nothing but letters and digits. */
export const CLASS_NAME = /^[a-z][A-Za-z]{0,14}$/;
export const DRIVER_NAME = /^[a-z][A-Za-z0-9]{0,14}$/;
export const MODE_NAME = /^[a-z]{1,15}$/;

export const helloRecord = record("HELLO", "pud frames", { version: u32le, memoryBytes: u32le });

/** @returns how many bytes of shared memory the process has mapped. @throws LinkError PUD_VERSION */
export function decodeHello(payload: Uint8Array): number {
  const { version, memoryBytes } = helloRecord.decode(payload);
  if (version !== PUD_VERSION)
    throw new LinkError("PUD_VERSION", `HELLO: the rump process speaks version ${version}, the host ${PUD_VERSION}`);
  return memoryBytes;
}

/** A driver that has attached, and the ids of what it drives. */
export interface DeviceAnnouncement {
  /** With its unit, "umass0": a letter, then letters and digits, at most 15. */
  readonly driver: string;
  readonly vendor: number;
  readonly product: number;
  /** bcdDevice. */
  readonly revision: number;
  readonly interfaceNumber: number;
  /** Cut to 128 bytes of UTF-8 each. */
  readonly manufacturer: string;
  readonly productName: string;
  readonly serial: string;
  /** How the driver drives it, where it has a choice: `overlap (default)`. */
  readonly mode?: string;
}

export const deviceRecord = record("DEVICE", "pud frames", {
  driver: raw(NAME_BYTES),
  vendor: u16le,
  product: u16le,
  revision: u16le,
  interfaceNumber: u8,
  reserved: raw(25),
  manufacturer: raw(STRING_BYTES),
  productName: raw(STRING_BYTES),
  serial: raw(STRING_BYTES),
  mode: raw(STRING_BYTES),
});

/** @throws LinkError PUD_NAME */
export function decodeDevice(payload: Uint8Array): DeviceAnnouncement {
  const { vendor, product, revision, interfaceNumber, ...texts } = deviceRecord.decode(payload);
  const mode = decodeText(texts.mode);
  return {
    driver: checkedName("driver", texts.driver, DRIVER_NAME),
    vendor,
    product,
    revision,
    interfaceNumber,
    manufacturer: decodeText(texts.manufacturer),
    productName: decodeText(texts.productName),
    serial: decodeText(texts.serial),
    ...(mode === "" ? {} : { mode }),
  };
}

/** The device went wrong as it was driven. */
export interface Demotion {
  /** In which mode it shall be driven by later processes. Which words mean something is the reader's to say. */
  readonly mode: string;
  /** Cut to MAX_DEMOTION_REASON_BYTES of UTF-8. */
  readonly reason: string;
}

export const demotionRecord = record("DEMOTION", "pud frames", { mode: raw(NAME_BYTES) });

/** @throws LinkError PUD_NAME */
export function decodeDemotion(payload: Uint8Array): Demotion {
  return {
    mode: checkedName("mode", demotionRecord.decode(payload).mode, MODE_NAME),
    reason: decodeText(payload.subarray(demotionRecord.size)),
  };
}

/** A device node as the rump process describes it. */
export type NodeAnnouncement = {
  /** "sd". */
  readonly className: string;
  /** Counts the nodes of one class in one rump process, from 0: the same node has it again after a restart. */
  readonly unit: number;
} & ({ readonly kind: "disk"; readonly info: DiskInfo } | { readonly kind: "tty"; readonly info: TtyInfo });

/** How the NODE of every kind of device begins. */
const nodeHead = record("NODE", "pud frames", { className: raw(NAME_BYTES), kind: u8, flags: u8, unit: u16le });

/** @throws LinkError PUD_NAME, PUD_NODE (a kind that has no host half), PUD_GEOMETRY, PUD_LINE */
export function decodeNode(payload: Uint8Array): NodeAnnouncement {
  const { kind, unit, className: name } = nodeHead.decode(payload);
  const className = checkedName("class", name, CLASS_NAME);
  switch (kind) {
    case DEVICE_KIND_NUMBERS.disk:
      return { className, unit, kind: "disk", info: decodeDiskInfo(payload) };
    case DEVICE_KIND_NUMBERS.tty:
      return { className, unit, kind: "tty", info: decodeTtyInfo(payload) };
    default:
      throw new LinkError("PUD_NODE", `NODE: device kind ${kind}, of which the host serves only 1 (disk) and 2 (tty)`);
  }
}

export const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

export const logRecord = record("LOG", "pud frames", { level: u8, reserved: raw(7), source: raw(32) });

export function decodeLog(payload: Uint8Array): LogEntry {
  const { level, source } = logRecord.decode(payload);
  return {
    level: LOG_LEVELS[level] ?? "error",
    source: decodeText(source),
    message: decodeText(payload.subarray(logRecord.size)),
  };
}

export const errorRecord = record("ERROR", "pud frames", { code: raw(32) });

export function decodeError(payload: Uint8Array): [code: string, message: string] {
  return [decodeText(errorRecord.decode(payload).code), decodeText(payload.subarray(errorRecord.size))];
}

function checkedName(what: string, field: Uint8Array, rule: RegExp): string {
  const name = decodeText(field);
  checkName(what, name, rule);
  return name;
}

/** @throws LinkError PUD_NAME */
export function checkName(what: string, name: string, rule: RegExp): void {
  if (!rule.test(name))
    throw new LinkError("PUD_NAME", `${what} name ${JSON.stringify(name)} does not match ${rule.source}`);
}
