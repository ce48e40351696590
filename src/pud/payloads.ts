/**
 * Payloads of announcements: fixed-width records, text padded with zeroes or, where it ends a frame, as long as it is.
 *
 * The decoders run in the host on bytes that a hostile process may have written: they return values that are safe to
 * use and to print, or throw a LinkError.
 */
import { concat, raw, record, u8, u16le, u32le } from "../bytes.js";
import type { Disk, DiskInfo } from "../rump/devsw.js";
import type { LogEntry, LogLevel } from "../rumpuser/rumpuser.js";
import { LinkError } from "./errors.js";
import { DEVICE_KIND_NUMBERS, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, PUD_VERSION, u53le } from "./frames.js";
import { decodeText, encodeText } from "./text.js";

const NAME_BYTES = 16;
const STRING_BYTES = 128;

/** Becomes part of node names, and so of file names: nothing but letters and digits. */
const CLASS_NAME = /^[a-z][A-Za-z]{0,14}$/;
const DRIVER_NAME = /^[a-z][A-Za-z0-9]{0,14}$/;

export const helloRecord = record("HELLO", "pud frames", { version: u32le, reserved: u32le });

export function encodeHello(): Uint8Array {
  return helloRecord.encode({ version: PUD_VERSION, reserved: 0 });
}

/** @throws LinkError PUD_VERSION */
export function decodeHello(payload: Uint8Array): void {
  const { version } = helloRecord.decode(payload);
  if (version !== PUD_VERSION)
    throw new LinkError("PUD_VERSION", `HELLO: the rump process speaks version ${version}, the host ${PUD_VERSION}`);
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
});

/** @throws LinkError PUD_NAME: the host would refuse it. */
export function encodeDevice(device: DeviceAnnouncement): Uint8Array {
  checkName("driver", device.driver, DRIVER_NAME);
  return deviceRecord.encode({
    ...device,
    driver: encodeText(device.driver, NAME_BYTES),
    reserved: new Uint8Array(0),
    manufacturer: encodeText(device.manufacturer, STRING_BYTES),
    productName: encodeText(device.productName, STRING_BYTES),
    serial: encodeText(device.serial, STRING_BYTES),
  });
}

/** @throws LinkError PUD_NAME */
export function decodeDevice(payload: Uint8Array): DeviceAnnouncement {
  const { vendor, product, revision, interfaceNumber, ...texts } = deviceRecord.decode(payload);
  return {
    driver: checkedName("driver", texts.driver, DRIVER_NAME),
    vendor,
    product,
    revision,
    interfaceNumber,
    manufacturer: decodeText(texts.manufacturer),
    productName: decodeText(texts.productName),
    serial: decodeText(texts.serial),
  };
}

/** A device node as the rump process describes it. */
export interface NodeAnnouncement {
  /** "sd". */
  readonly className: string;
  /** Counts the nodes of one class in one rump process, from 0: the same node has it again after a restart. */
  readonly unit: number;
  readonly kind: "disk";
  readonly info: DiskInfo;
}

export const nodeRecord = record("NODE", "pud frames", {
  className: raw(NAME_BYTES),
  kind: u8,
  flags: u8,
  unit: u16le,
  blockBytes: u32le,
  maxTransferBytes: u32le,
  reserved: u32le,
  blockCount: u53le,
  model: raw(64),
});

/** Bits of `flags` in NODE, by the field of DiskInfo that they carry. */
const NODE_FLAGS = {
  readOnly: 0x01,
  removable: 0x02,
  volatileCache: 0x04,
  canTrim: 0x08,
  canWriteZeroes: 0x10,
} as const satisfies Partial<Record<keyof DiskInfo, number>>;

const BLOCK_SIZES: readonly number[] = [512, 1024, 2048, 4096];

/** @throws LinkError PUD_NAME, PUD_GEOMETRY: the driver describes a disk that the host would refuse. */
export function encodeNode(className: string, unit: number, disk: Disk): Uint8Array {
  const { info } = disk;
  const maxTransferBytes = Math.min(info.maxTransferBytes, MAX_PAYLOAD_BYTES);
  checkName("class", className, CLASS_NAME);
  checkGeometry({ ...info, maxTransferBytes });
  let flags = 0;
  for (const [key, bit] of Object.entries(NODE_FLAGS)) if (info[key as keyof typeof NODE_FLAGS]) flags |= bit;
  return nodeRecord.encode({
    className: encodeText(className, NAME_BYTES),
    kind: DEVICE_KIND_NUMBERS[disk.kind],
    flags,
    unit,
    blockBytes: info.blockBytes,
    maxTransferBytes,
    reserved: 0,
    blockCount: info.blockCount,
    model: encodeText(info.model, 64),
  });
}

/** @throws LinkError PUD_NAME, PUD_NODE (a kind that has no host half), PUD_GEOMETRY */
export function decodeNode(payload: Uint8Array): NodeAnnouncement {
  const node = nodeRecord.decode(payload);
  if (node.kind !== DEVICE_KIND_NUMBERS.disk)
    throw new LinkError("PUD_NODE", `NODE: device kind ${node.kind}, of which the host serves only 1 (disk)`);
  const info: DiskInfo = {
    blockBytes: node.blockBytes,
    blockCount: node.blockCount,
    readOnly: (node.flags & NODE_FLAGS.readOnly) !== 0,
    removable: (node.flags & NODE_FLAGS.removable) !== 0,
    volatileCache: (node.flags & NODE_FLAGS.volatileCache) !== 0,
    canTrim: (node.flags & NODE_FLAGS.canTrim) !== 0,
    canWriteZeroes: (node.flags & NODE_FLAGS.canWriteZeroes) !== 0,
    maxTransferBytes: node.maxTransferBytes,
    model: decodeText(node.model),
  };
  checkGeometry(info);
  return { className: checkedName("class", node.className, CLASS_NAME), unit: node.unit, kind: "disk", info };
}

function checkGeometry({ blockBytes, blockCount, maxTransferBytes }: DiskInfo): void {
  if (!BLOCK_SIZES.includes(blockBytes))
    throw new LinkError(
      "PUD_GEOMETRY",
      `disk with blocks of ${blockBytes} bytes; possible are ${BLOCK_SIZES.join(", ")}`,
    );
  if (!Number.isSafeInteger(blockCount) || blockCount < 0 || !Number.isSafeInteger(blockCount * blockBytes))
    throw new LinkError("PUD_GEOMETRY", `disk of ${blockCount} blocks of ${blockBytes} bytes; the limit is 2^53 bytes`);
  if (maxTransferBytes < blockBytes || maxTransferBytes > MAX_PAYLOAD_BYTES || maxTransferBytes % blockBytes !== 0)
    throw new LinkError(
      "PUD_GEOMETRY",
      `disk takes ${maxTransferBytes} bytes at most per request; possible are multiples of ${blockBytes} up to ${MAX_PAYLOAD_BYTES}`,
    );
}

const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

export const logRecord = record("LOG", "pud frames", { level: u8, reserved: raw(7), source: raw(32) });

export function encodeLog(entry: LogEntry): Uint8Array {
  return concat([
    logRecord.encode({
      level: LOG_LEVELS.indexOf(entry.level),
      reserved: new Uint8Array(0),
      source: encodeText(entry.source, 32),
    }),
    encodeText(entry.message, MAX_MESSAGE_BYTES),
  ]);
}

export function decodeLog(payload: Uint8Array): LogEntry {
  const { level, source } = logRecord.decode(payload);
  return {
    level: LOG_LEVELS[level] ?? "error",
    source: decodeText(source),
    message: decodeText(payload.subarray(logRecord.size)),
  };
}

export const errorRecord = record("ERROR", "pud frames", { code: raw(32) });

export function encodeError(code: string, message: string): Uint8Array {
  return concat([errorRecord.encode({ code: encodeText(code, 32) }), encodeText(message, MAX_MESSAGE_BYTES)]);
}

export function decodeError(payload: Uint8Array): { readonly code: string; readonly message: string } {
  return {
    code: decodeText(errorRecord.decode(payload).code),
    message: decodeText(payload.subarray(errorRecord.size)),
  };
}

function checkedName(what: string, field: Uint8Array, rule: RegExp): string {
  const name = decodeText(field);
  checkName(what, name, rule);
  return name;
}

function checkName(what: string, name: string, rule: RegExp): void {
  if (!rule.test(name))
    throw new LinkError("PUD_NAME", `${what} name ${JSON.stringify(name)} does not match ${rule.source}`);
}
