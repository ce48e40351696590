/**
 * NODE of a tty. Sets of choices are bits, in the order of their tables. The decoder believes nothing: a choice that is in no
 * table, or a number that cannot be, is a LinkError.
 */
import { raw, record, u8, u16le, u32le } from "../bytes.js";
import { DATA_BITS, FLOW_CONTROLS, MODEM_LINES, PARITIES, STOP_BITS, type TtyInfo } from "../rump/devsw.js";
import { LinkError } from "./errors.js";
import { DEVICE_KIND_NUMBERS } from "./frames.js";
import { decodeText, encodeText } from "./text.js";

const MAX_BAUD = 0xffff_ffff;

/** As long as that of a disk, and beginning alike. */
export const ttyNodeRecord = record("NODE", "pud frames", {
  className: raw(16),
  kind: u8,
  flags: u8,
  unit: u16le,
  minBaud: u32le,
  maxBaud: u32le,
  dataBits: u8,
  parities: u8,
  stopBits: u8,
  flowControls: u8,
  modemLines: u8,
  reserved: raw(7),
  model: raw(64),
});

const CAN_BREAK = 0x01;
const HAS_LATENCY = 0x02;

/** @throws LinkError PUD_LINE: the driver describes a line that the host would refuse. */
export function encodeTtyNode(className: Uint8Array, unit: number, info: TtyInfo): Uint8Array {
  const { minBaud, maxBaud, canBreak, hasLatency, model } = info;
  checkInfo(info);
  return ttyNodeRecord.encode({
    className,
    kind: DEVICE_KIND_NUMBERS.tty,
    flags: (canBreak ? CAN_BREAK : 0) | (hasLatency ? HAS_LATENCY : 0),
    unit,
    minBaud,
    maxBaud,
    dataBits: bitsOf(DATA_BITS, info.dataBits),
    parities: bitsOf(PARITIES, info.parities),
    stopBits: bitsOf(STOP_BITS, info.stopBits),
    flowControls: bitsOf(FLOW_CONTROLS, info.flowControls),
    modemLines: bitsOf(MODEM_LINES, info.modemLines),
    reserved: new Uint8Array(0),
    model: encodeText(model, 64),
  });
}

/** @throws LinkError PUD_LINE */
export function decodeTtyInfo(payload: Uint8Array): TtyInfo {
  const node = ttyNodeRecord.decode(payload);
  const info: TtyInfo = {
    model: decodeText(node.model),
    minBaud: node.minBaud,
    maxBaud: node.maxBaud,
    dataBits: choicesOf("data bits", DATA_BITS, node.dataBits),
    parities: choicesOf("parities", PARITIES, node.parities),
    stopBits: choicesOf("stop bits", STOP_BITS, node.stopBits),
    flowControls: choicesOf("flow controls", FLOW_CONTROLS, node.flowControls),
    modemLines: choicesOf("modem lines", MODEM_LINES, node.modemLines),
    canBreak: (node.flags & CAN_BREAK) !== 0,
    hasLatency: (node.flags & HAS_LATENCY) !== 0,
  };
  checkInfo(info);
  return info;
}

function checkInfo({ minBaud, maxBaud, ...info }: TtyInfo): void {
  if (!isBaud(minBaud) || !isBaud(maxBaud) || minBaud > maxBaud)
    throw new LinkError("PUD_LINE", `serial line of ${minBaud} to ${maxBaud} baud; possible are 1 to ${MAX_BAUD}`);
  for (const key of ["dataBits", "parities", "stopBits", "flowControls"] as const)
    if (info[key].length === 0) throw new LinkError("PUD_LINE", `serial line with no choice of ${key}`);
}

export function isBaud(baud: number): boolean {
  return Number.isInteger(baud) && baud >= 1 && baud <= MAX_BAUD;
}

/** A bit for each of the chosen. */
export function bitsOf<T>(table: readonly T[], chosen: readonly T[]): number {
  return chosen.reduce((bits, one) => bits | (1 << table.indexOf(one)), 0);
}

/** @throws LinkError PUD_LINE */
export function choicesOf<T>(what: string, table: readonly T[], bits: number): T[] {
  if (bits >> table.length !== 0) throw new LinkError("PUD_LINE", `${what} ${bits.toString(2)}b: there is no such bit`);
  return table.filter((_, at) => (bits & (1 << at)) !== 0);
}
