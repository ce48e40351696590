/**
 * The ioctls of a tty (ioctl_tty(2), Linux asm-generic/ioctls.h): for each how many bytes of the program's memory it reads and
 * writes, and what it does. What is not in the table is ENOTTY, whatever sizes a program claims.
 */
import { raw, record, u16le, u32le, viewOf } from "../../../bytes.js";
import type { FlushQueue, ModemLine, ModemLines, OutputLines } from "../../../rump/devsw.js";
import { termios2Record, termiosRecord, withSpeedsFromCodes } from "../tty/termios.js";
import { CallError } from "./call-error.js";
import type { OpenLine } from "./open-line.js";

export interface IoctlCall {
  readonly line: OpenLine;
  /** The argument where it is a number; the low 32 bits. */
  readonly argument: number;
  /** As many bytes as the table says. */
  readonly input: Uint8Array;
  readonly signal: AbortSignal;
}

export interface TtyIoctl {
  readonly inBytes: number;
  readonly outBytes: number;
  /** @returns `outBytes` bytes, or nothing where that is 0. @throws CallError, DeviceError */
  run(call: IoctlCall): Uint8Array | Promise<Uint8Array | void> | void;
}

const INT_BYTES = 4;

/** struct serial_struct of 64-bit programs (linux/serial.h); pointers are padding here. */
const serialStruct = record("serial_struct", "linux/serial.h", {
  type: u32le,
  line: u32le,
  port: u32le,
  irq: u32le,
  flags: u32le,
  xmitFifoSize: u32le,
  customDivisor: u32le,
  baudBase: u32le,
  closeDelay: u16le,
  ioType: u16le,
  hub6: u32le,
  closingWait: u16le,
  closingWait2: u16le,
  addresses: raw(28),
});
const ASYNC_LOW_LATENCY = 0x2000;
const PORT_16550A = 4;
/** closing_wait: 30 s, in hundredths; close_delay: half a second. */
const CLOSING_WAIT = 3000;
const CLOSE_DELAY = 50;

/** struct serial_icounter_struct. */
const icounter = record("serial_icounter_struct", "linux/serial.h", {
  cts: u32le,
  dsr: u32le,
  rng: u32le,
  dcd: u32le,
  rx: u32le,
  tx: u32le,
  frame: u32le,
  overrun: u32le,
  parity: u32le,
  brk: u32le,
  bufOverrun: u32le,
  reserved: raw(36),
});

/** TIOCM_* */
const OUTPUT_BITS: readonly (readonly [keyof OutputLines, number])[] = [
  ["dtr", 0x002],
  ["rts", 0x004],
];
const MODEM_BITS: readonly (readonly [ModemLine, number])[] = [
  ["cts", 0x020],
  ["dcd", 0x040],
  ["ri", 0x080],
  ["dsr", 0x100],
];

/** tcflush(3) and tcflow(3). */
const FLUSH_QUEUES: readonly FlushQueue[] = ["in", "out", "both"];
const TCOOFF = 0;
const TCOON = 1;
const TCIOFF = 2;
const TCION = 3;

/** tcsendbreak(3): a quarter of a second; TCSBRKP counts tenths. */
const BREAK_MS = 250;
const BREAK_UNIT_MS = 100;
const MAX_BREAK_MS = 30_000;

type When = "now" | "drained" | "flushed";

export const TTY_IOCTLS: ReadonlyMap<number, TtyIoctl> = new Map<number, TtyIoctl>([
  [0x5401, { inBytes: 0, outBytes: termiosRecord.size, run: ({ line }) => termiosRecord.encode(line.termios) }],
  [0x5402, settingTermios("now")],
  [0x5403, settingTermios("drained")],
  [0x5404, settingTermios("flushed")],
  [0x802c542a, { inBytes: 0, outBytes: termios2Record.size, run: ({ line }) => termios2Record.encode(line.termios) }],
  [0x402c542b, settingTermios2("now")],
  [0x402c542c, settingTermios2("drained")],
  [0x402c542d, settingTermios2("flushed")],
  [0x5409, ofNumber((call) => (call.argument === 0 ? sendBreak(call, BREAK_MS) : call.line.drain(call.signal)))],
  [0x5425, ofNumber((call) => sendBreak(call, Math.max(0, call.argument) * BREAK_UNIT_MS || BREAK_MS))],
  [0x5427, ofNumber(({ line }) => line.setBreak(true))],
  [0x5428, ofNumber(({ line }) => line.setBreak(false))],
  [0x540a, ofNumber(flow)],
  [0x540b, ofNumber(({ line, argument }) => line.flush(oneOf(FLUSH_QUEUES, argument)))],
  // TIOCEXCL, TIOCNXCL: a second program is refused in any case.
  [0x540c, ofNumber(() => undefined)],
  [0x540d, ofNumber(() => undefined)],
  [0x80045440, answeringInt(() => 1)],
  [0x5411, answeringInt(({ line }) => line.outBytes)],
  [0x541b, answeringInt(({ line }) => line.inBytes)],
  // TIOCGWINSZ: rows and columns that nobody knows.
  [0x5413, { inBytes: 0, outBytes: 8, run: () => new Uint8Array(8) }],
  [0x5415, answeringInt(async ({ line }) => modemBits(line.outputs, await line.askLines()))],
  [0x5416, settingLines((bits, bit) => (bits & bit) !== 0 || undefined)],
  [0x5417, settingLines((bits, bit) => ((bits & bit) !== 0 ? false : undefined))],
  [0x5418, settingLines((bits, bit) => (bits & bit) !== 0)],
  [0x545c, ofNumber(waitForLines)],
  [0x545d, { inBytes: 0, outBytes: icounter.size, run: ({ line }) => encodeCounters(line) }],
  [0x541e, { inBytes: 0, outBytes: serialStruct.size, run: ({ line }) => encodeSerial(line.lowLatency) }],
  [0x541f, { inBytes: serialStruct.size, outBytes: 0, run: setSerial }],
]);

/** Has pointers in it: other sizes for a 32-bit program. */
export const ONLY_64_BIT: ReadonlySet<number> = new Set([0x541e, 0x541f]);

function ofNumber(run: (call: IoctlCall) => Promise<void> | void): TtyIoctl {
  return { inBytes: 0, outBytes: 0, run };
}

function answeringInt(value: (call: IoctlCall) => number | Promise<number>): TtyIoctl {
  const run = async (call: IoctlCall): Promise<Uint8Array> => {
    const bytes = new Uint8Array(INT_BYTES);
    viewOf(bytes).setInt32(0, await value(call), true);
    return bytes;
  };
  return { inBytes: 0, outBytes: INT_BYTES, run };
}

/** Before other settings: what was written goes out, what was received and not read goes away. */
async function before(when: When, { line, signal }: IoctlCall): Promise<void> {
  if (when !== "now") await line.drain(signal);
  if (when === "flushed") await line.flush("in");
}

function settingTermios(when: When): TtyIoctl {
  const run = async (call: IoctlCall): Promise<void> => {
    await before(when, call);
    const { ispeed, ospeed } = call.line.termios;
    await call.line.setTermios(withSpeedsFromCodes({ ...termiosRecord.decode(call.input), ispeed, ospeed }));
  };
  return { inBytes: termiosRecord.size, outBytes: 0, run };
}

function settingTermios2(when: When): TtyIoctl {
  const run = async (call: IoctlCall): Promise<void> => {
    await before(when, call);
    await call.line.setTermios(withSpeedsFromCodes(termios2Record.decode(call.input)));
  };
  return { inBytes: termios2Record.size, outBytes: 0, run };
}

/** `to`: what becomes of a line whose bit is `bit`; undefined leaves it. */
function settingLines(to: (bits: number, bit: number) => boolean | undefined): TtyIoctl {
  const run = async ({ line, input }: IoctlCall): Promise<void> => {
    const bits = viewOf(input).getInt32(0, true);
    const wanted = OUTPUT_BITS.map(([name, bit]) => [name, to(bits, bit)] as const);
    const outputs = Object.fromEntries(wanted.filter(([, on]) => on !== undefined));
    if (Object.keys(outputs).length > 0) await line.setOutputs(outputs);
  };
  return { inBytes: INT_BYTES, outBytes: 0, run };
}

function modemBits(outputs: OutputLines, lines: ModemLines): number {
  const driven = OUTPUT_BITS.reduce((bits, [name, bit]) => (outputs[name] ? bits | bit : bits), 0);
  return MODEM_BITS.reduce((bits, [name, bit]) => (lines[name] ? bits | bit : bits), driven);
}

async function sendBreak({ line, signal }: IoctlCall, ms: number): Promise<void> {
  await line.drain(signal);
  await line.setBreak(true);
  try {
    await line.pause(Math.min(ms, MAX_BREAK_MS), signal);
  } finally {
    await line.setBreak(false);
  }
}

async function flow({ line, argument }: IoctlCall): Promise<void> {
  if (argument === TCOOFF || argument === TCOON) line.stopOutput(argument === TCOOFF);
  else if (argument === TCIOFF || argument === TCION) await line.sendFlowCharacter(argument === TCIOFF);
  else throw new CallError("EINVAL", `tcflow ${argument}`);
}

async function waitForLines({ line, argument, signal }: IoctlCall): Promise<void> {
  const lines = MODEM_BITS.filter(([, bit]) => (argument & bit) !== 0).map(([name]) => name);
  if (lines.length === 0) throw new CallError("EINVAL", `no line among 0x${argument.toString(16)}`);
  await line.untilLinesChange(lines, signal);
}

function encodeCounters(line: OpenLine): Uint8Array {
  const { changes, errors, receivedBytes, sentBytes } = line.counters;
  return icounter.encode({
    cts: changes.cts,
    dsr: changes.dsr,
    rng: changes.ri,
    dcd: changes.dcd,
    rx: receivedBytes,
    tx: sentBytes,
    frame: errors.framing,
    overrun: errors.overrun,
    parity: errors.parity,
    brk: errors.break,
    bufOverrun: 0,
    reserved: new Uint8Array(36),
  });
}

function encodeSerial(lowLatency: boolean): Uint8Array {
  return serialStruct.encode({
    type: PORT_16550A,
    line: 0,
    port: 0,
    irq: 0,
    flags: lowLatency ? ASYNC_LOW_LATENCY : 0,
    xmitFifoSize: 0,
    customDivisor: 0,
    baudBase: 0,
    closeDelay: CLOSE_DELAY,
    ioType: 0,
    hub6: 0,
    closingWait: CLOSING_WAIT,
    closingWait2: 0,
    addresses: new Uint8Array(28),
  });
}

/** Of all that only the latency can be set; a device that has none says so. */
async function setSerial({ line, input }: IoctlCall): Promise<void> {
  const low = (serialStruct.decode(input).flags & ASYNC_LOW_LATENCY) !== 0;
  if (low !== line.lowLatency) await line.setLowLatency(low);
}

function oneOf<T>(values: readonly T[], index: number): T {
  const value = values[index];
  if (value === undefined) throw new CallError("EINVAL", `no choice ${index} of ${values.length}`);
  return value;
}
