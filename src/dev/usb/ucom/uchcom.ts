/**
 * Serial chips of WCH: CH340, CH341, and the CH343 type (CH343, CH9102).
 *
 * Facts: Linux ch341 and FreeBSD uchcom (requests and registers; the data sheets print none). One port on one interface; the
 * CH343 type has its bulk endpoints on a second one.
 */
import type { LineSettings, ModemLine, ModemLines, OutputLines } from "../../../rump/devsw.js";
import { type Attachment, type ControlRequest, defineDriver, type InPipe, type OutPipe } from "../usbdi.js";
import {
  type ChipLimits,
  type ChipOpen,
  type ChipSink,
  COMMON_LIMITS,
  type SerialChip,
  type SerialPipes,
} from "./chip.js";
import { ChipRequests } from "./control.js";
import { attachUcom } from "./ucom.js";
import { CH_MAX_BAUD, CH_MIN_BAUD, type ChPrescalers, chRate } from "./uchcom-baud.js";
import { UCHCOM_MATCH } from "./uchcom-match.js";

type Pipes = {
  readonly bulkIn: InPipe | undefined;
  readonly bulkOut: OutPipe | undefined;
  readonly interruptIn: InPipe | undefined;
};

const DATA_ENDPOINTS = { bulkIn: { type: "bulk", dir: "in" }, bulkOut: { type: "bulk", dir: "out" } } as const;
const SPEC = "WCH requests as in Linux ch341";
/** bRequest. SERIAL_INIT with values sets line and rate in one on the CH343 type. */
const REQUEST = {
  GET_VERSION: 0x5f,
  READ_REGISTERS: 0x95,
  WRITE_REGISTERS: 0x9a,
  SERIAL_INIT: 0xa1,
  SET_LINES: 0xa4,
  CH343_WRITE: 0xa8,
} as const;
/** Registers are read and written in pairs: the second in the high byte. */
const REGISTER = {
  BREAK: 0x05,
  STATUS: 0x06,
  STATUS_2: 0x07,
  PRESCALER: 0x12,
  DIVISOR: 0x13,
  LINE: 0x18,
  LINE_2: 0x25,
  FLOW: 0x27,
};
const pair = (first: number, second: number): number => first | (second << 8);
/** What was received is sent at once, not when 32 bytes are there. */
const SEND_AT_ONCE = 0x80;
const LINE_BITS = { RECEIVE: 0x80, TRANSMIT: 0x40, MARK_SPACE: 0x20, EVEN: 0x10, PARITY: 0x08, TWO_STOP: 0x04 };
const PARITY: Readonly<Record<LineSettings["parity"], number>> = {
  none: 0,
  odd: LINE_BITS.PARITY,
  even: LINE_BITS.PARITY | LINE_BITS.EVEN,
  mark: LINE_BITS.PARITY | LINE_BITS.MARK_SPACE,
  space: LINE_BITS.PARITY | LINE_BITS.MARK_SPACE | LINE_BITS.EVEN,
};
const BREAK_OFF = 0x01;
const OUTPUT = { DTR: 0x20, RTS: 0x40 };
/** Inverted in the register and in the notification. */
const MODEM_BITS: readonly (readonly [ModemLine, number])[] = [
  ["cts", 0x01],
  ["dsr", 0x02],
  ["ri", 0x04],
  ["dcd", 0x08],
];
const MIN_NOTIFICATION_BYTES = 4;
const NOTIFICATION_STATUS = 2;
/** SERIAL_INIT on the CH343 type, low byte: the bits that FreeBSD calls T, CL and CT. */
const CH343_SET_ALL = 0x08 | 0x04 | 0x80;
const CH343_BREAK = { ON: 0x80, OFF: 0x90 };
/** From this version on the lines have a request of their own, received bytes can be sent at once, and parity can be set. */
const VERSION = { LINES: 0x20, AFTER_AT_ONCE: 0x27, LINE_REGISTER: 0x30 };
const TRANSMIT_BUFFER_BYTES = 32;

/** What the chip said of itself. */
interface ChType {
  readonly kind: "ch341" | "ch343";
  readonly version: number;
  readonly prescalers: ChPrescalers;
  readonly canBreak: boolean;
}

/** Vendor requests to the device (USB 2.0 §9.3), as rows have them. */
const VENDOR_IN = { direction: "in", type: "vendor", recipient: "device" } as const;
const VENDOR_OUT = { direction: "out", type: "vendor", recipient: "device" } as const;
/** The pairs of registers that are read, and those that are written: wValue. */
const READ = [REGISTER.BREAK, pair(REGISTER.BREAK, REGISTER.LINE), pair(REGISTER.STATUS, REGISTER.STATUS_2)];
const WRITTEN = [
  pair(REGISTER.BREAK, REGISTER.LINE),
  pair(REGISTER.STATUS, REGISTER.STATUS),
  pair(REGISTER.PRESCALER, REGISTER.DIVISOR),
  pair(REGISTER.LINE, REGISTER.LINE_2),
  pair(REGISTER.FLOW, REGISTER.FLOW),
];

export const uchcom = defineDriver({
  name: "uchcom",
  match: UCHCOM_MATCH,
  endpoints: {
    bulkIn: { type: "bulk", dir: "in", optional: true },
    bulkOut: { type: "bulk", dir: "out", optional: true },
    interruptIn: { type: "interrupt", dir: "in", optional: true },
  },
  requests: [
    { ...VENDOR_IN, request: REQUEST.GET_VERSION, value: 0 },
    ...READ.map((value) => ({ ...VENDOR_IN, request: REQUEST.READ_REGISTERS, value })),
    ...WRITTEN.map((value) => ({ ...VENDOR_OUT, request: REQUEST.WRITE_REGISTERS, value })),
    { ...VENDOR_OUT, request: REQUEST.SERIAL_INIT },
    { ...VENDOR_OUT, request: REQUEST.SET_LINES },
    { ...VENDOR_OUT, request: REQUEST.CH343_WRITE, value: CH343_BREAK.ON },
    { ...VENDOR_OUT, request: REQUEST.CH343_WRITE, value: CH343_BREAK.OFF },
  ],
  attach,
});

async function attach(at: Attachment<Pipes>): Promise<void> {
  const requests = new ChipRequests(at.control, SPEC);
  const pipes = await choosePipes(at);
  const kind = pipes.bulkIn === at.pipes.bulkIn ? "ch341" : "ch343";
  const [version = 0] = await requests.in(vendor(REQUEST.GET_VERSION, 0, 0), 2);
  const type =
    kind === "ch343"
      ? ({ kind, version, prescalers: "ch343", canBreak: true } as const)
      : await ch341Type(requests, version);
  at.log("info", `${kind === "ch343" ? "CH343 type" : "CH340 or CH341"}, version ${version.toString(16)}h`);
  attachUcom(at, new ChPort(requests, type), pipes);
}

/** Some copies stall the register of the break; they lose bytes with the fast prescalers too (Linux ch341). */
async function ch341Type(requests: ChipRequests, version: number): Promise<ChType> {
  const canBreak = (await requests.tryIn(vendor(REQUEST.READ_REGISTERS, REGISTER.BREAK, 0), 2)) !== undefined;
  return { kind: "ch341", version, prescalers: canBreak ? "full" : "limited", canBreak };
}

/** @throws UnsupportedError when neither this interface nor the next has bulk endpoints. */
async function choosePipes(at: Attachment<Pipes>): Promise<SerialPipes> {
  const { bulkIn, bulkOut, interruptIn } = at.pipes;
  if (bulkIn !== undefined && bulkOut !== undefined) return { bulkIn, bulkOut, interruptIn };
  return { ...(await at.takeSibling(at.interfaceNumber + 1, DATA_ENDPOINTS)), interruptIn };
}

class ChPort implements SerialChip {
  readonly limits: ChipLimits;
  readonly setBreak?: (on: boolean) => Promise<void>;
  readonly #requests: ChipRequests;
  readonly #type: ChType;

  constructor(requests: ChipRequests, type: ChType) {
    this.#requests = requests;
    this.#type = type;
    const fixedLine = type.kind === "ch341" && type.version < VERSION.LINE_REGISTER;
    this.limits = {
      ...COMMON_LIMITS,
      ...(fixedLine ? { dataBits: [8], parities: ["none"], stopBits: [1] } : { stopBits: [1, 2] }),
      model: type.kind === "ch343" ? "CH343" : "CH340/CH341",
      minBaud: CH_MIN_BAUD,
      maxBaud: CH_MAX_BAUD[type.prescalers],
      flowControls: type.kind === "ch341" ? ["none", "rtsCts"] : ["none"],
      canBreak: type.canBreak,
      transmitBufferBytes: TRANSMIT_BUFFER_BYTES,
      readPackets: 1,
    };
    if (type.canBreak) this.setBreak = (on) => (type.kind === "ch343" ? this.#breakCh343(on) : this.#breakCh341(on));
  }

  nearestBaud(baud: number): number {
    return Math.round(chRate(this.#type.prescalers, baud).baud);
  }

  async open({ isResumed }: ChipOpen): Promise<void> {
    if (!isResumed && this.#type.kind === "ch341") await this.#out(REQUEST.SERIAL_INIT, 0, 0);
  }

  async close(): Promise<void> {
    if (this.limits.flowControls.includes("rtsCts")) await this.#setFlow(false);
  }

  async setLine(settings: LineSettings): Promise<void> {
    const { prescaler, divisor } = chRate(this.#type.prescalers, settings.baud);
    const line =
      LINE_BITS.RECEIVE |
      LINE_BITS.TRANSMIT |
      PARITY[settings.parity] |
      (settings.stopBits === 2 ? LINE_BITS.TWO_STOP : 0) |
      (settings.dataBits - 5);
    if (this.#type.kind === "ch343") {
      await this.#out(REQUEST.SERIAL_INIT, pair(CH343_SET_ALL, line), pair(prescaler, divisor));
      return;
    }
    const { version } = this.#type;
    const atOnce = version > VERSION.AFTER_AT_ONCE ? SEND_AT_ONCE : 0;
    await this.#write(REGISTER.PRESCALER, REGISTER.DIVISOR, prescaler | atOnce, divisor);
    if (version >= VERSION.LINE_REGISTER) await this.#write(REGISTER.LINE, REGISTER.LINE_2, line, 0);
    await this.#setFlow(settings.flowControl === "rtsCts");
  }

  async setOutputs({ dtr, rts }: OutputLines): Promise<void> {
    const lines = ~((dtr ? OUTPUT.DTR : 0) | (rts ? OUTPUT.RTS : 0)) & 0xff;
    if (this.#type.kind === "ch343" || this.#type.version >= VERSION.LINES)
      await this.#out(REQUEST.SET_LINES, lines, 0);
    else await this.#write(REGISTER.STATUS, REGISTER.STATUS, lines, lines);
  }

  async readLines(): Promise<ModemLines> {
    const registers = pair(REGISTER.STATUS, REGISTER.STATUS_2);
    const [status = 0] = await this.#requests.in(vendor(REQUEST.READ_REGISTERS, registers, 0), 2);
    return linesOf(status);
  }

  parseIn(packet: Uint8Array, sink: ChipSink): void {
    sink.data(packet);
  }

  /** The CH341 sends four bytes and more, the lines in the third; the CH343 type has them in the last. */
  parseNotification(packet: Uint8Array, sink: ChipSink): void {
    if (packet.length < MIN_NOTIFICATION_BYTES) return;
    const status = this.#type.kind === "ch343" ? packet[packet.length - 1] : packet[NOTIFICATION_STATUS];
    if (status !== undefined) sink.lines(linesOf(status));
  }

  async #breakCh341(on: boolean): Promise<void> {
    const registers = pair(REGISTER.BREAK, REGISTER.LINE);
    const [register = 0, line = 0] = await this.#requests.in(vendor(REQUEST.READ_REGISTERS, registers, 0), 2);
    const [nextRegister, nextLine] = on
      ? [register & ~BREAK_OFF, line & ~LINE_BITS.TRANSMIT]
      : [register | BREAK_OFF, line | LINE_BITS.TRANSMIT];
    await this.#write(REGISTER.BREAK, REGISTER.LINE, nextRegister, nextLine);
  }

  async #breakCh343(on: boolean): Promise<void> {
    await this.#out(REQUEST.CH343_WRITE, on ? CH343_BREAK.ON : CH343_BREAK.OFF, 0);
  }

  async #setFlow(rtsCts: boolean): Promise<void> {
    const value = rtsCts ? 1 : 0;
    await this.#write(REGISTER.FLOW, REGISTER.FLOW, value, value);
  }

  async #write(first: number, second: number, firstValue: number, secondValue: number): Promise<void> {
    await this.#out(REQUEST.WRITE_REGISTERS, pair(first, second), pair(firstValue, secondValue));
  }

  async #out(request: number, value: number, index: number): Promise<void> {
    await this.#requests.out(vendor(request, value, index));
  }
}

function vendor(request: number, value: number, index: number): ControlRequest {
  return { type: "vendor", recipient: "device", request, value, index };
}

function linesOf(status: number): ModemLines {
  const lines = { cts: false, dsr: false, dcd: false, ri: false };
  for (const [line, bit] of MODEM_BITS) lines[line] = (~status & bit) !== 0;
  return lines;
}
