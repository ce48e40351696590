/**
 * Serial chips of Prolific: PL2303 of the types 01, H, HX, TA, TB, HXD and HXN.
 *
 * Facts: Linux pl2303 and usb-serial-for-android (Prolific prints no registers). Line coding, lines and break are the
 * requests of CDC PSTN 1.2; flow control and start-up are vendor requests.
 */
import type { FlushQueue, LineError, LineSettings, ModemLine, OutputLines } from "../../../rump/devsw.js";
import { deviceDescriptor } from "../descriptors.js";
import { getDescriptor } from "../requests.js";
import { DESCRIPTOR } from "../usb.js";
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
import { STATUS_FIRST, UPLCOM_MATCH } from "./uplcom-match.js";
import { encodeLineCoding, PL_MIN_BAUD, plRate, type PlType, plTypeOf } from "./uplcom-types.js";

type Pipes = {
  readonly bulkIn: InPipe | undefined;
  readonly bulkOut: OutPipe | undefined;
  readonly interruptIn: InPipe | undefined;
};

const DATA_ENDPOINTS = { bulkIn: { type: "bulk", dir: "in" }, bulkOut: { type: "bulk", dir: "out" } } as const;
const SPEC = "PL2303 requests as in Linux pl2303";
/** bRequest: class requests of PSTN 1.2 Table 13, and vendor requests, which the HXN has under other numbers. */
const REQUEST = { SET_LINE_CODING: 0x20, SET_CONTROL_LINE_STATE: 0x22, SEND_BREAK: 0x23 } as const;
const VENDOR = { OLD: { read: 0x01, write: 0x01 }, HXN: { read: 0x81, write: 0x80 } } as const;
/** Old chips read a register at this offset; the status that HXN types do not have. */
const READ_OFFSET = 0x80;
const OLD_STATUS = 0x8080;
const LINE = { DTR: 1, RTS: 2 } as const;
const BREAK_ON = 0xffff;
const PARITY: Readonly<Record<LineSettings["parity"], number>> = { none: 0, odd: 1, even: 2, mark: 3, space: 4 };
const STOP_BITS: Readonly<Record<LineSettings["stopBits"], number>> = { 1: 0, 1.5: 1, 2: 2 };

/** Where flow control is, by the register set. */
const FLOW: Readonly<
  Record<
    PlType["registers"],
    { register: number; mask: number } & Readonly<Record<LineSettings["flowControl"], number>>
  >
> = {
  legacy: { register: 0x00, mask: 0xf0, none: 0x00, rtsCts: 0x40, xonXoff: 0x00 },
  hx: { register: 0x00, mask: 0xf0, none: 0x00, rtsCts: 0x60, xonXoff: 0xc0 },
  hxn: { register: 0x0a, mask: 0x1c, none: 0x1c, rtsCts: 0x18, xonXoff: 0x0c },
};
/** Registers that empty a pipe: of the HX in and out, and the one of the HXN with a bit for each. */
const RESET_IN = 0x08;
const RESET_OUT = 0x09;
const HXN_RESET = { register: 0x07, IN: 0x02, OUT: 0x01 } as const;

/** What Prolific's own driver sends at the start, except to the HXN: registers read, and registers written. */
const START_UP: readonly (readonly ["read", number] | readonly ["write", number, number])[] = [
  ["read", 0x8484],
  ["write", 0x0404, 0],
  ["read", 0x8484],
  ["read", 0x8383],
  ["read", 0x8484],
  ["write", 0x0404, 1],
  ["read", 0x8484],
  ["read", 0x8383],
  ["write", 0, 1],
  ["write", 1, 0],
];
const START_UP_LAST = { register: 2, legacy: 0x24, hx: 0x44 } as const;

/** The notification has 10 bytes, the status in the ninth; some send the status alone. */
const STATUS_OFFSET = 8;
const MODEM_BITS: readonly (readonly [ModemLine, number])[] = [
  ["dcd", 0x01],
  ["dsr", 0x02],
  ["ri", 0x08],
  ["cts", 0x80],
];
const ERROR_BITS: readonly (readonly [LineError, number])[] = [
  ["break", 0x04],
  ["framing", 0x10],
  ["parity", 0x20],
  ["overrun", 0x40],
];
const TRANSMIT_BUFFER_BYTES = 256;

/** Class requests to the interface, vendor requests to the device (USB 2.0 §9.3), as rows have them. */
const CLASS_OUT = { direction: "out", type: "class", recipient: "interface" } as const;
const VENDOR_IN = { direction: "in", type: "vendor", recipient: "device" } as const;
const VENDOR_OUT = { direction: "out", type: "vendor", recipient: "device" } as const;
/** Every register that is read, and every one that is written: wValue of the vendor requests. */
const REGISTERS = {
  OLD: {
    read: [OLD_STATUS, 0x8383, 0x8484, FLOW.hx.register | READ_OFFSET],
    write: [0x0404, 0x0000, 0x0001, START_UP_LAST.register, RESET_IN, RESET_OUT],
  },
  HXN: { read: [FLOW.hxn.register], write: [FLOW.hxn.register, HXN_RESET.register] },
} as const;

export const uplcom = defineDriver({
  name: "uplcom",
  match: UPLCOM_MATCH,
  endpoints: {
    bulkIn: { type: "bulk", dir: "in", optional: true },
    bulkOut: { type: "bulk", dir: "out", optional: true },
    interruptIn: { type: "interrupt", dir: "in", optional: true },
  },
  requests: [
    { ...CLASS_OUT, request: REQUEST.SET_LINE_CODING, value: 0 },
    { ...CLASS_OUT, request: REQUEST.SET_CONTROL_LINE_STATE },
    { ...CLASS_OUT, request: REQUEST.SEND_BREAK },
    ...REGISTERS.OLD.read.map((value) => ({ ...VENDOR_IN, request: VENDOR.OLD.read, value })),
    ...REGISTERS.OLD.write.map((value) => ({ ...VENDOR_OUT, request: VENDOR.OLD.write, value })),
    ...REGISTERS.HXN.read.map((value) => ({ ...VENDOR_IN, request: VENDOR.HXN.read, value })),
    ...REGISTERS.HXN.write.map((value) => ({ ...VENDOR_OUT, request: VENDOR.HXN.write, value })),
  ],
  attach,
});

async function attach(at: Attachment<Pipes>): Promise<void> {
  const requests = new ChipRequests(at.control, SPEC);
  const descriptor = deviceDescriptor.decode(
    await requests.in(getDescriptor(DESCRIPTOR.DEVICE), deviceDescriptor.size),
  );
  const type = await plTypeOf(descriptor, async () => {
    const answer = await requests.tryIn(vendor(VENDOR.OLD.read, OLD_STATUS, 0), 1);
    return answer !== undefined;
  });
  const pipes = await choosePipes(at);
  const { identity } = at;
  const statusFirst = STATUS_FIRST.some((one) => one[0] === identity.vendor && one[1] === identity.product);
  attachUcom(at, new PlPort(requests, type, pipes, statusFirst ? 0 : STATUS_OFFSET), pipes);
}

/** The first chips have their bulk endpoints on a second interface. @throws UnsupportedError: there are none. */
async function choosePipes(at: Attachment<Pipes>): Promise<SerialPipes> {
  const { bulkIn, bulkOut, interruptIn } = at.pipes;
  if (bulkIn !== undefined && bulkOut !== undefined) return { bulkIn, bulkOut, interruptIn };
  return { ...(await at.takeSibling(at.interfaceNumber + 1, DATA_ENDPOINTS)), interruptIn };
}

class PlPort implements SerialChip {
  readonly limits: ChipLimits;
  readonly #requests: ChipRequests;
  readonly #type: PlType;
  readonly #pipes: SerialPipes;
  readonly #statusOffset: number;
  #isStarted = false;

  constructor(requests: ChipRequests, type: PlType, pipes: SerialPipes, statusOffset: number) {
    this.#requests = requests;
    this.#statusOffset = statusOffset;
    this.#type = type;
    this.#pipes = pipes;
    this.limits = {
      ...COMMON_LIMITS,
      model: `PL2303 ${type.name}`,
      minBaud: PL_MIN_BAUD,
      maxBaud: type.maxBaud,
      flowControls: type.registers === "legacy" ? ["none", "rtsCts"] : ["none", "rtsCts", "xonXoff"],
      modemLines: pipes.interruptIn === undefined ? [] : COMMON_LIMITS.modemLines,
      transmitBufferBytes: TRANSMIT_BUFFER_BYTES,
      readPackets: 4,
    };
  }

  nearestBaud(baud: number): number {
    return Math.round(plRate(this.#type, baud).baud);
  }

  /** The start-up ends flow control. It is done once, and not where a driver before has done it. */
  async open({ isResumed }: ChipOpen): Promise<void> {
    if (!isResumed) {
      if (!this.#isStarted) await this.#startUp();
      await this.flush("both");
    }
    this.#isStarted = true;
  }

  async close(): Promise<void> {
    await this.setBreak(false);
  }

  async setLine(settings: LineSettings): Promise<void> {
    const { parity, stopBits, dataBits } = settings;
    const { encoded } = plRate(this.#type, settings.baud);
    const coding = encodeLineCoding(encoded, STOP_BITS[stopBits], PARITY[parity], dataBits);
    await this.#requests.out(toInterface(REQUEST.SET_LINE_CODING, 0), coding);
    const flow = FLOW[this.#type.registers];
    await this.#update(flow.register, flow.mask, flow[settings.flowControl]);
  }

  async setOutputs({ dtr, rts }: OutputLines): Promise<void> {
    const lines = (dtr ? LINE.DTR : 0) | (rts ? LINE.RTS : 0);
    await this.#requests.out(toInterface(REQUEST.SET_CONTROL_LINE_STATE, lines));
  }

  async setBreak(on: boolean): Promise<void> {
    await this.#requests.out(toInterface(REQUEST.SEND_BREAK, on ? BREAK_ON : 0));
  }

  async flush(queue: FlushQueue): Promise<void> {
    const { registers } = this.#type;
    const [isIn, isOut] = [queue !== "out", queue !== "in"];
    if (registers === "hxn")
      return await this.#write(HXN_RESET.register, (isIn ? HXN_RESET.IN : 0) | (isOut ? HXN_RESET.OUT : 0));
    if (registers === "legacy") {
      // They have no such registers; a cleared halt makes them start anew.
      if (isOut) await this.#pipes.bulkOut.clearHalt();
      if (isIn) await this.#pipes.bulkIn.clearHalt();
      return;
    }
    if (isIn) await this.#write(RESET_IN, 0);
    if (isOut) await this.#write(RESET_OUT, 0);
  }

  parseIn(packet: Uint8Array, sink: ChipSink): void {
    sink.data(packet);
  }

  parseNotification(packet: Uint8Array, sink: ChipSink): void {
    const status = packet.length === 1 ? packet[0] : packet[this.#statusOffset];
    if (status === undefined) return;
    const lines = { cts: false, dsr: false, dcd: false, ri: false };
    for (const [line, bit] of MODEM_BITS) lines[line] = (status & bit) !== 0;
    sink.lines(lines);
    for (const [error, bit] of ERROR_BITS) if ((status & bit) !== 0) sink.error(error);
  }

  async #startUp(): Promise<void> {
    const { registers } = this.#type;
    if (registers === "hxn") return;
    for (const [kind, register, value] of START_UP) {
      if (kind === "read") await this.#requests.in(vendor(VENDOR.OLD.read, register, 0), 1);
      else await this.#write(register, value);
    }
    await this.#write(START_UP_LAST.register, START_UP_LAST[registers]);
  }

  async #update(register: number, mask: number, value: number): Promise<void> {
    const isNew = this.#type.registers === "hxn";
    const request = isNew ? VENDOR.HXN.read : VENDOR.OLD.read;
    const [old = 0] = await this.#requests.in(vendor(request, isNew ? register : register | READ_OFFSET, 0), 1);
    await this.#write(register, (old & ~mask) | (value & mask));
  }

  async #write(register: number, value: number): Promise<void> {
    const request = this.#type.registers === "hxn" ? VENDOR.HXN.write : VENDOR.OLD.write;
    await this.#requests.out(vendor(request, register, value));
  }
}

function vendor(request: number, value: number, index: number): ControlRequest {
  return { type: "vendor", recipient: "device", request, value, index };
}

function toInterface(request: number, value: number): ControlRequest {
  return { type: "class", recipient: "interface", request, value, index: 0 };
}
