/**
 * Line settings as termios(3) has them.
 *
 * Values and layouts: Linux asm-generic/termbits.h and ioctls.h, as x86_64 and aarch64 have them.
 */
import { raw, record, u32le, u8, viewOf } from "../../../bytes.js";
import type { DataBits, FlowControl, LineSettings, Parity, StopBits } from "../../../rump/devsw.js";

const SPEC = "asm-generic/termbits.h";
const MODES = { iflag: u32le, oflag: u32le, cflag: u32le, lflag: u32le, line: u8, controlChars: raw(19) };

/** struct termios, of TCGETS and TCSETS: rates that have a code. */
export const termiosRecord = record("termios", SPEC, MODES);
/** struct termios2, of TCGETS2 and TCSETS2: any rate. */
export const termios2Record = record("termios2", SPEC, { ...MODES, ispeed: u32le, ospeed: u32le });
export type Termios = ReturnType<typeof termios2Record.decode>;

export const TCFLSH = 0x540b;
export const TIOCEXCL = 0x540c;
export const TIOCNXCL = 0x540d;
export const TIOCPKT = 0x5420;
export const TCGETS2 = 0x802c542a;
export const TCSETS2 = 0x402c542b;
/** The argument of TCFLSH: what was received and not read. */
export const TCIFLUSH = 0;

/** The argument of a request that wants a pointer to an int. */
export function intArgument(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setInt32(0, value, true);
  return bytes;
}

const IGNCR = 0x80;
const ICRNL = 0x100;
const IUCLC = 0x200;
const IXON = 0x400;
const IXOFF = 0x1000;
const INLCR = 0x40;
const ISTRIP = 0x20;

const CBAUD = 0x100f;
const BOTHER = 0x1000;
const CSIZE = 0x30;
const CSTOPB = 0x40;
const CREAD = 0x80;
const PARENB = 0x100;
const PARODD = 0x200;
const HUPCL = 0x400;
const CLOCAL = 0x800;
const CIBAUD = 0x100f0000;
const CMSPAR = 0x40000000;
const CRTSCTS = 0x80000000;

const ISIG = 0x1;
const ICANON = 0x2;
const ECHO = 0x8;
const ECHONL = 0x40;
/** Input is not worked on by the line discipline: somebody else does it. A change of settings is then told in packet mode. */
export const EXTPROC = 0x10000;

/** Places in `controlChars`. */
export const VTIME = 5;
export const VMIN = 6;
export const VSTART = 8;
export const VSTOP = 9;
/** INIT_C_CC of the kernel: ^C ^\ DEL ^U ^D, VTIME 0, VMIN 1, -, ^Q ^S ^Z, -, ^R ^O ^W ^V. */
const CONTROL_CHARS = [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0];

/** Rates that have a code. B0, which hangs up, is among them. */
const BAUD_CODES: readonly (readonly [code: number, baud: number])[] = [
  [0x0, 0],
  [0x1, 50],
  [0x2, 75],
  [0x3, 110],
  [0x4, 134],
  [0x5, 150],
  [0x6, 200],
  [0x7, 300],
  [0x8, 600],
  [0x9, 1200],
  [0xa, 1800],
  [0xb, 2400],
  [0xc, 4800],
  [0xd, 9600],
  [0xe, 19200],
  [0xf, 38400],
  [0x1001, 57600],
  [0x1002, 115200],
  [0x1003, 230400],
  [0x1004, 460800],
  [0x1005, 500000],
  [0x1006, 576000],
  [0x1007, 921600],
  [0x1008, 1000000],
  [0x1009, 1152000],
  [0x100a, 1500000],
  [0x100b, 2000000],
  [0x100c, 2500000],
  [0x100d, 3000000],
  [0x100e, 3500000],
  [0x100f, 4000000],
];
const DATA_BITS_FLAGS: readonly (readonly [flags: number, dataBits: DataBits])[] = [
  [0x00, 5],
  [0x10, 6],
  [0x20, 7],
  [0x30, 8],
];
const PARITY_MASK = PARENB | PARODD | CMSPAR;
const PARITY_FLAGS: readonly (readonly [flags: number, parity: Parity])[] = [
  [PARENB, "even"],
  [PARENB | PARODD, "odd"],
  [PARENB | CMSPAR, "space"],
  [PARENB | CMSPAR | PARODD, "mark"],
];

/** What the kernel's serial drivers begin with: 9600 8N1, hang-up on close; no echo, no lines, nothing changed on the way. */
export const FRESH_TERMIOS: Termios = {
  iflag: 0,
  oflag: 0,
  cflag: 0xd | CSIZE | CREAD | HUPCL | CLOCAL,
  lflag: 0,
  line: 0,
  controlChars: Uint8Array.from(CONTROL_CHARS),
  ispeed: 9600,
  ospeed: 9600,
};

/** What a program asks of the line. */
export interface LineRequest {
  /** `baud` is 0 when the program hangs up (B0). */
  readonly settings: LineSettings;
  /** DTR and RTS fall at the last close. */
  readonly hangUpOnClose: boolean;
}

export function lineRequestOf(termios: Termios): LineRequest {
  const { cflag } = termios;
  const dataBits = valueOf(DATA_BITS_FLAGS, cflag & CSIZE) ?? 8;
  const settings = {
    baud: termios.ospeed,
    dataBits,
    parity: valueOf(PARITY_FLAGS, cflag & PARITY_MASK) ?? "none",
    stopBits: stopBitsOf(cflag, dataBits),
    flowControl: flowControlOf(termios),
  };
  return { settings, hangUpOnClose: (cflag & HUPCL) !== 0 };
}

/** One and a half stop bits exist with five data bits only, and two with the others. */
function stopBitsOf(cflag: number, dataBits: DataBits): StopBits {
  if ((cflag & CSTOPB) === 0) return 1;
  return dataBits === 5 ? 1.5 : 2;
}

function flowControlOf({ cflag, iflag }: Termios): FlowControl {
  if ((cflag & CRTSCTS) !== 0) return "rtsCts";
  return (iflag & (IXON | IXOFF)) === 0 ? "none" : "xonXoff";
}

/** The same modes with these settings; what is not named stays as it is. */
export function withLineSettings(termios: Termios, settings: Partial<LineSettings>): Termios {
  const changed = { ...termios };
  const { baud, dataBits, parity, stopBits, flowControl } = settings;
  if (baud !== undefined) {
    const code = BAUD_CODES.find(([, rate]) => rate === baud)?.[0] ?? BOTHER;
    // No input rate of its own (CIBAUD 0): it follows the output rate.
    changed.cflag = (changed.cflag & ~(CBAUD | CIBAUD)) | code;
    changed.ispeed = baud;
    changed.ospeed = baud;
  }
  if (dataBits !== undefined) changed.cflag = (changed.cflag & ~CSIZE) | flagsOf(DATA_BITS_FLAGS, dataBits);
  if (parity !== undefined) changed.cflag = (changed.cflag & ~PARITY_MASK) | flagsOf(PARITY_FLAGS, parity);
  if (stopBits !== undefined) changed.cflag = (changed.cflag & ~CSTOPB) | (stopBits === 1 ? 0 : CSTOPB);
  if (flowControl !== undefined) {
    changed.cflag = (changed.cflag & ~CRTSCTS) | (flowControl === "rtsCts" ? CRTSCTS : 0);
    changed.iflag = (changed.iflag & ~(IXON | IXOFF)) | (flowControl === "xonXoff" ? IXON | IXOFF : 0);
  }
  return unsigned(changed);
}

/** Whether the line discipline has work to do on input: lines, echo, signals, translation. */
export function processesInput({ iflag, lflag }: Termios): boolean {
  return (lflag & (ISIG | ICANON | ECHO | ECHONL)) !== 0 || (iflag & (ISTRIP | INLCR | IGNCR | ICRNL | IUCLC)) !== 0;
}

export function withExtproc(termios: Termios, on: boolean): Termios {
  return unsigned({ ...termios, lflag: on ? termios.lflag | EXTPROC : termios.lflag & ~EXTPROC });
}

/** Without what a line discipline would do: there is none. */
export function withoutDiscipline(termios: Termios): Termios {
  return { ...termios, iflag: termios.iflag & (IXON | IXOFF), oflag: 0, lflag: 0, line: 0 };
}

/** The rates as the codes say them; BOTHER leaves what stands in the speed fields (Linux tty_baudrate.c). */
export function withSpeedsFromCodes(termios: Termios): Termios {
  const baud = valueOf(BAUD_CODES, termios.cflag & CBAUD) ?? termios.ospeed;
  return { ...termios, ispeed: baud, ospeed: baud };
}

export function sameTermios(one: Termios, other: Termios): boolean {
  return Buffer.compare(termios2Record.encode(one), termios2Record.encode(other)) === 0;
}

function valueOf<T>(table: readonly (readonly [flags: number, value: T])[], flags: number): T | undefined {
  return table.find(([these]) => these === flags >>> 0 || these === flags)?.[1];
}

function flagsOf<T>(table: readonly (readonly [flags: number, value: T])[], value: T): number {
  return table.find(([, one]) => one === value)?.[0] ?? 0;
}

/** Bit operators give signed numbers; the fields are unsigned. */
function unsigned(termios: Termios): Termios {
  return { ...termios, iflag: termios.iflag >>> 0, cflag: termios.cflag >>> 0, lflag: termios.lflag >>> 0 };
}
