/**
 * PL2303 chips as device models, by type. Written from what public drivers know of the registers (Linux pl2303,
 * usb-serial-for-android), and PSTN 1.2 for line coding, lines and break.
 */
import { viewOf } from "../bytes.js";
import { DESCRIPTOR, REQUEST as STANDARD, type SetupPacket } from "../dev/usb/usb.js";
import type { ControlReply } from "./function.js";
import { requestKey, SerialModel, type SerialOptions, type SerialPort, when } from "./serial-model.js";
import type { UartError, UartInputs, UartSettings } from "./serial-uart.js";

interface PlRow {
  readonly product: number;
  readonly deviceClass: number;
  readonly bcdUSB: number;
  readonly revision: number;
  readonly packet0: number;
  readonly registers: "legacy" | "hx" | "hxn";
  readonly divisor: "quarters" | "halves" | "none";
  readonly maxBaud: number;
}

const OLD = { product: 0x2303, deviceClass: 0, packet0: 64, registers: "hx", divisor: "quarters" } as const;

const TYPES = {
  "pl2303-01": {
    ...OLD,
    deviceClass: 2,
    bcdUSB: 0x0110,
    revision: 0x0202,
    packet0: 8,
    registers: "legacy",
    maxBaud: 1_228_800,
  },
  "pl2303-h": { ...OLD, bcdUSB: 0x0110, revision: 0x0202, packet0: 8, registers: "legacy", maxBaud: 1_228_800 },
  "pl2303-hx": { ...OLD, bcdUSB: 0x0110, revision: 0x0300, maxBaud: 6_000_000 },
  "pl2303-ta": { ...OLD, bcdUSB: 0x0200, revision: 0x0300, divisor: "halves", maxBaud: 6_000_000 },
  "pl2303-tb": { ...OLD, product: 0x2304, bcdUSB: 0x0200, revision: 0x0500, divisor: "halves", maxBaud: 12_000_000 },
  "pl2303-hxd": { ...OLD, bcdUSB: 0x0110, revision: 0x0400, maxBaud: 12_000_000 },
  "pl2303-hxn": {
    ...OLD,
    product: 0x23a3,
    bcdUSB: 0x0200,
    revision: 0x0100,
    registers: "hxn",
    divisor: "none",
    maxBaud: 12_000_000,
  },
} as const satisfies Readonly<Record<string, PlRow>>;

export type PlKind = keyof typeof TYPES;
export const PL_KINDS = Object.keys(TYPES).filter((name): name is PlKind => Object.hasOwn(TYPES, name));

const VENDOR = 0x067b;
const CLASS_OUT = 0x21 << 8;
const CLASS_IN = 0xa1 << 8;
const VENDOR_OUT = 0x40 << 8;
const VENDOR_IN = 0xc0 << 8;
const REQUEST = { SET_LINE_CODING: 0x20, GET_LINE_CODING: 0x21, SET_CONTROL_LINE_STATE: 0x22, SEND_BREAK: 0x23 };
const REGISTER_REQUEST = { hxn: { read: 0x81, write: 0x80 }, old: { read: 0x01, write: 0x01 } };
const LINE_CODING_BYTES = 7;
const PARITIES = ["none", "odd", "even", "mark", "space"] as const;
const STOP_BITS = [1, 1.5, 2] as const;
const CLOCK_HZ = 384_000_000;
const FLOW_REGISTER = { legacy: 0x00, hx: 0x00, hxn: 0x0a };
/** Flow control by the bits of its register. */
const FLOWS: Readonly<Record<PlRow["registers"], Readonly<Record<number, UartSettings["flow"]>>>> = {
  legacy: { 0x00: "none", 0x40: "rtsCts" },
  hx: { 0x00: "none", 0x60: "rtsCts", 0xc0: "xonXoff" },
  hxn: { 0x1c: "none", 0x18: "rtsCts", 0x0c: "xonXoff" },
};
const FLOW_MASK = { legacy: 0xf0, hx: 0xf0, hxn: 0x1c };
const HXN_RESET = 0x07;
const NOTIFICATION_BYTES = 10;
const STATUS_OFFSET = 8;
const ERROR_BITS: Readonly<Record<UartError, number>> = { break: 0x04, framing: 0x10, parity: 0x20, overrun: 0x40 };
const PACKET_BYTES = 64;
const BUFFER_BYTES = 256;

export class Pl2303Model extends SerialModel {
  readonly #row: PlRow;
  readonly #registers = new Map<number, number>();
  #coding = Uint8Array.of(0x80, 0x25, 0, 0, 0, 0, 8);

  constructor(kind: PlKind, options: SerialOptions) {
    const row: PlRow = TYPES[kind];
    const layout = {
      bulkIn: 0x83,
      bulkOut: 0x02,
      interruptIn: 0x81,
      transmitBytes: BUFFER_BYTES,
      receiveBytes: BUFFER_BYTES,
    };
    super(
      {
        speed: "full",
        vendor: VENDOR,
        product: row.product,
        revision: row.revision,
        deviceClass: row.deviceClass,
        manufacturer: "Prolific Technology Inc.",
        productName: "USB-Serial Controller",
        interfaces: [
          {
            interfaceNumber: 0,
            interfaceClass: 0xff,
            interfaceSubClass: 0,
            interfaceProtocol: 0,
            endpoints: [
              {
                endpointAddress: layout.interruptIn,
                type: "interrupt",
                maxPacketBytes: NOTIFICATION_BYTES,
                bInterval: 1,
              },
              { endpointAddress: layout.bulkOut, type: "bulk", maxPacketBytes: PACKET_BYTES },
              { endpointAddress: layout.bulkIn, type: "bulk", maxPacketBytes: PACKET_BYTES },
            ],
          },
        ],
      },
      [layout],
      options,
    );
    this.#row = row;
  }

  override get deviceDescriptor(): Uint8Array {
    return this.#described(super.deviceDescriptor);
  }

  protected override onControl(setup: SetupPacket, answer: () => ControlReply): ControlReply {
    const reply = answer();
    const isDevice = setup.bmRequestType === 0x80 && setup.bRequest === STANDARD.GET_DESCRIPTOR;
    return isDevice && setup.wValue >> 8 === DESCRIPTOR.DEVICE && reply !== "stalled" ? this.#described(reply) : reply;
  }

  protected override request(setup: SetupPacket, out: Uint8Array): ControlReply {
    const port = this.port(0);
    const { wValue, wIndex } = setup;
    const vendor = this.#row.registers === "hxn" ? REGISTER_REQUEST.hxn : REGISTER_REQUEST.old;
    switch (requestKey(setup)) {
      case VENDOR_IN | vendor.read:
        return setup.wLength === 1 ? this.#read(wValue) : "stalled";
      case VENDOR_OUT | vendor.write:
        return out.length === 0 ? this.#write(port, wValue, wIndex) : "stalled";
      case CLASS_OUT | REQUEST.SET_LINE_CODING:
        return this.#setCoding(port, out);
      case CLASS_IN | REQUEST.GET_LINE_CODING:
        return this.#coding;
      case CLASS_OUT | REQUEST.SET_CONTROL_LINE_STATE:
        return when(wValue <= 3, () => port.uart.setOutputs({ dtr: (wValue & 1) !== 0, rts: (wValue & 2) !== 0 }));
      case CLASS_OUT | REQUEST.SEND_BREAK:
        return when(wValue === 0 || wValue === 0xffff, () => port.uart.setBreak(wValue !== 0));
      default:
        return "stalled";
    }
  }

  protected override serveIn(port: SerialPort): void {
    this.servePlain(port);
  }

  protected override serveNotifications(port: SerialPort): void {
    const lines = linesOf(port.uart.inputs);
    this.serveStatus(port, lines, (errors) => {
      const notification = Uint8Array.of(0xa1, 0x20, 0, 0, 0, 0, 2, 0, lines, 0);
      for (const error of errors) notification[STATUS_OFFSET] = (notification[STATUS_OFFSET] ?? 0) | ERROR_BITS[error];
      return notification;
    });
  }

  protected override onReset(): void {
    this.#registers.clear();
    super.onReset();
  }

  /** bcdUSB and bMaxPacketSize0 as the type has them: drivers tell the types apart by these. */
  #described(descriptor: Uint8Array): Uint8Array {
    const described = descriptor.slice();
    const { bcdUSB, packet0 } = this.#row;
    described.set([bcdUSB & 0xff, bcdUSB >> 8].slice(0, Math.max(0, described.length - 2)), 2);
    if (described.length > 7) described[7] = packet0;
    return described;
  }

  #read(register: number): ControlReply {
    if (this.#row.registers === "hxn") return Uint8Array.of(this.#registers.get(register) ?? 0);
    const known = register === 0x8484 || register === 0x8383 || register === 0x8080 || (register & ~0x7f) === 0x80;
    return known ? Uint8Array.of(this.#registers.get(register & 0x7f) ?? 0) : "stalled";
  }

  #write(port: SerialPort, register: number, value: number): ControlReply {
    const { registers } = this.#row;
    if (value > 0xff || (register > 0xff && register !== 0x0404)) return "stalled";
    this.#registers.set(register & 0x7f, value);
    if (register === FLOW_REGISTER[registers]) return this.#setFlow(port, value & FLOW_MASK[registers]);
    const isReset = (bit: number): boolean =>
      registers === "hxn" ? register === HXN_RESET && (value & bit) !== 0 : register === (bit === 2 ? 0x08 : 0x09);
    if (isReset(2)) port.uart.receive.clear();
    if (isReset(1)) port.uart.transmit.clear();
    return new Uint8Array(0);
  }

  #setFlow(port: SerialPort, bits: number): ControlReply {
    const flow = FLOWS[this.#row.registers][bits];
    return when(flow !== undefined, () => port.uart.configure({ flow: flow ?? "none" }));
  }

  #setCoding(port: SerialPort, coding: Uint8Array): ControlReply {
    if (coding.length !== LINE_CODING_BYTES) return "stalled";
    const baud = this.#baudOf(viewOf(coding).getUint32(0, true));
    const stopBits = STOP_BITS[coding[4] ?? 255];
    const parity = PARITIES[coding[5] ?? 255];
    const dataBits = coding[6] ?? 0;
    const right = baud > 0 && baud <= this.#row.maxBaud && dataBits >= 5 && dataBits <= 8;
    return when(right && stopBits !== undefined && parity !== undefined, () => {
      this.#coding = Uint8Array.from(coding);
      port.uart.configure({ baud, dataBits, parity: parity ?? "none", stopBits: stopBits ?? 1 });
    });
  }

  #baudOf(encoded: number): number {
    if (encoded < 0x8000_0000) return encoded;
    const { divisor } = this.#row;
    const [mantissa, exponent] =
      divisor === "halves"
        ? [encoded & 0x7ff, (((encoded >> 13) & 7) << 1) | ((encoded >> 16) & 1)]
        : [encoded & 0x1ff, 2 * ((encoded >> 9) & 7)];
    return divisor === "none" || mantissa === 0 ? 0 : CLOCK_HZ / mantissa / 2 ** exponent;
  }
}

function linesOf({ cts, dsr, dcd, ri }: UartInputs): number {
  return (dcd ? 0x01 : 0) | (dsr ? 0x02 : 0) | (ri ? 0x08 : 0) | (cts ? 0x80 : 0);
}
