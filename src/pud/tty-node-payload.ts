/**
 * NODE of a tty. Sets of choices are bits, in the order of their tables. The decoder believes nothing: a choice that is in no
 * table, or a number that cannot be, is a LinkError.
 */
import { raw, record, u8, u16le, u32le } from "../bytes.js";
import { DATA_BITS, FLOW_CONTROLS, MODEM_LINES, PARITIES, STOP_BITS, type TtyInfo } from "../rump/devsw.js";
import { LinkError } from "./errors.js";
import { decodeText } from "./text.js";

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

export const CAN_BREAK = 0x01;
export const HAS_LATENCY = 0x02;

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

/** @throws LinkError PUD_LINE */
export function checkInfo({ minBaud, maxBaud, ...info }: TtyInfo): void {
  if (!isBaud(minBaud) || !isBaud(maxBaud) || minBaud > maxBaud)
    throw new LinkError("PUD_LINE", `serial line of ${minBaud} to ${maxBaud} baud; possible are 1 to ${MAX_BAUD}`);
  for (const key of ["dataBits", "parities", "stopBits", "flowControls"] as const)
    if (info[key].length === 0) throw new LinkError("PUD_LINE", `serial line with no choice of ${key}`);
}

export function isBaud(baud: number): boolean {
  return Number.isInteger(baud) && baud >= 1 && baud <= MAX_BAUD;
}

/** @throws LinkError PUD_LINE */
export function choicesOf<T>(what: string, table: readonly T[], bits: number): T[] {
  if (bits >> table.length !== 0) throw new LinkError("PUD_LINE", `${what} ${bits.toString(2)}b: there is no such bit`);
  return table.filter((_, at) => (bits & (1 << at)) !== 0);
}
