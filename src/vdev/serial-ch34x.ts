/**
 * WCH chips as device models: CH340, CH341 and the CH343 type. Written from what public drivers know of the registers (Linux
 * ch341, FreeBSD uchcom); the data sheets print none.
 */
import { REQUEST_TYPE, type SetupPacket } from "../dev/usb/usb.js";
import type { ControlReply } from "./function.js";
import { ACM_DESCRIPTORS, AcmLine, acmState, serialState } from "./serial-acm-line.js";
import { requestKey, SerialModel, type SerialOptions, type SerialPort, when } from "./serial-model.js";
import type { UartInputs, UartSettings } from "./serial-uart.js";

interface ChRow {
  readonly product: number;
  readonly revision: number;
  readonly version: number;
  readonly packetBytes: number;
  readonly isCh343: boolean;
  /** Copies without the register of the break. */
  readonly hasBreak: boolean;
}

const CHIPS = {
  ch340: { product: 0x7523, revision: 0x0263, version: 0x31, packetBytes: 32, isCh343: false, hasBreak: true },
  ch341: { product: 0x5523, revision: 0x0304, version: 0x30, packetBytes: 32, isCh343: false, hasBreak: true },
  hl340: { product: 0x7523, revision: 0x0263, version: 0x27, packetBytes: 32, isCh343: false, hasBreak: false },
  ch343: { product: 0x55d3, revision: 0x0440, version: 0x00, packetBytes: 64, isCh343: true, hasBreak: true },
} as const satisfies Readonly<Record<string, ChRow>>;

export type ChKind = keyof typeof CHIPS;
export const CH_KINDS = Object.keys(CHIPS).filter((name): name is ChKind => Object.hasOwn(CHIPS, name));

const VENDOR = 0x1a86;
const OUT = 0x40 << 8;
const IN = 0xc0 << 8;
const REQUEST = { VERSION: 0x5f, READ: 0x95, WRITE: 0x9a, INIT: 0xa1, LINES: 0xa4, CH343_WRITE: 0xa8 };
const REGISTER = { BREAK: 0x05, STATUS: 0x06, PRESCALER: 0x12, DIVISOR: 0x13, LINE: 0x18, FLOW: 0x27 };
const PARITIES = ["odd", "even", "mark", "space"] as const;
const CH343_DESCRIPTORS = [
  ACM_DESCRIPTORS.header,
  ACM_DESCRIPTORS.callManagement(1),
  // It has a break, and does not say so (Linux cdc-acm).
  Uint8Array.of(4, 0x24, 0x02, 0x02),
  ACM_DESCRIPTORS.union(0, 1),
];
const CLOCK_HZ = 48_000_000;
const BUFFER_BYTES = 256;

export class Ch34xModel extends SerialModel {
  readonly #row: ChRow;
  /** The CH343 type speaks CDC-ACM, too. */
  readonly #acm: AcmLine;
  readonly #registers = new Map<number, number>([
    [REGISTER.BREAK, 0xff],
    [REGISTER.LINE, 0xc3],
  ]);

  constructor(kind: ChKind, options: SerialOptions) {
    const row: ChRow = CHIPS[kind];
    const layout = {
      bulkIn: 0x82,
      bulkOut: 0x02,
      interruptIn: 0x81,
      transmitBytes: BUFFER_BYTES,
      receiveBytes: BUFFER_BYTES,
    };
    const data = [
      { endpointAddress: layout.bulkIn, type: "bulk", maxPacketBytes: row.packetBytes },
      { endpointAddress: layout.bulkOut, type: "bulk", maxPacketBytes: row.packetBytes },
    ] as const;
    const notify = { endpointAddress: layout.interruptIn, type: "interrupt", maxPacketBytes: 8, bInterval: 1 } as const;
    const vendorClass = { interfaceClass: 0xff, interfaceSubClass: 0x01, interfaceProtocol: 0x02 };
    const acmClass = { interfaceClass: 0x02, interfaceSubClass: 0x02, interfaceProtocol: 0x01 };
    const dataClass = { interfaceClass: 0x0a, interfaceSubClass: 0, interfaceProtocol: 0 };
    super(
      {
        speed: "full",
        vendor: VENDOR,
        product: row.product,
        revision: row.revision,
        productName: "USB Serial",
        interfaces: row.isCh343
          ? [
              {
                interfaceNumber: 0,
                ...acmClass,
                endpoints: [{ ...notify, maxPacketBytes: 16 }],
                extra: CH343_DESCRIPTORS,
              },
              { interfaceNumber: 1, ...dataClass, endpoints: data },
            ]
          : [{ interfaceNumber: 0, ...vendorClass, endpoints: [...data, notify] }],
      },
      [layout],
      options,
    );
    this.#row = row;
    this.#acm = new AcmLine(this.port(0).uart, this.clock);
  }

  protected override request(setup: SetupPacket, out: Uint8Array): ControlReply {
    const port = this.port(0);
    const { wValue, wIndex } = setup;
    if (this.#row.isCh343 && (setup.bmRequestType & REQUEST_TYPE.TYPE_MASK) === REQUEST_TYPE.CLASS)
      return setup.wIndex === 0 ? this.#acm.request(setup, out) : "stalled";
    if (out.length > 0) return "stalled";
    switch (requestKey(setup)) {
      case IN | REQUEST.VERSION:
        return Uint8Array.of(this.#row.version, 0);
      case IN | REQUEST.READ:
        return this.#read(port, wValue);
      case OUT | REQUEST.WRITE:
        return this.#row.isCh343 ? "stalled" : this.#write(port, wValue, wIndex);
      case OUT | REQUEST.INIT:
        return this.#init(port, wValue, wIndex);
      case OUT | REQUEST.LINES:
        return when(wIndex === 0, () => setLines(port, wValue));
      case OUT | REQUEST.CH343_WRITE:
        return when(this.#row.isCh343, () => port.uart.setBreak((wValue & 0x10) === 0));
      default:
        return "stalled";
    }
  }

  protected override serveIn(port: SerialPort): void {
    this.servePlain(port);
  }

  protected override serveNotifications(port: SerialPort): void {
    const lines = linesOf(port.uart.inputs);
    // There are no line errors in it that anybody knows of.
    port.errors = [];
    this.serveStatus(port, lines, () =>
      this.#row.isCh343
        ? serialState(0, acmState(port.uart.inputs, []), ~lines & 0xff)
        : Uint8Array.of(0x08, 0x7d, ~lines & 0xff, 0xee),
    );
  }

  protected override onReset(): void {
    this.#acm.reset();
    super.onReset();
  }

  #read(port: SerialPort, wValue: number): ControlReply {
    const registers = [wValue & 0xff, wValue >> 8];
    if (!this.#row.hasBreak && registers.includes(REGISTER.BREAK)) return "stalled";
    return Uint8Array.from(registers, (register) =>
      register === REGISTER.STATUS ? ~linesOf(port.uart.inputs) & 0xff : (this.#registers.get(register) ?? 0),
    );
  }

  #write(port: SerialPort, wValue: number, wIndex: number): ControlReply {
    for (const [register, value] of [
      [wValue & 0xff, wIndex & 0xff],
      [wValue >> 8, wIndex >> 8],
    ] as const)
      this.#registers.set(register, value);
    return this.#apply(port);
  }

  #init(port: SerialPort, wValue: number, wIndex: number): ControlReply {
    if (wValue === 0 && wIndex === 0) return when(!this.#row.isCh343, () => undefined);
    this.#registers.set(REGISTER.LINE, wValue >> 8);
    this.#registers.set(REGISTER.PRESCALER, wIndex & 0xff);
    this.#registers.set(REGISTER.DIVISOR, wIndex >> 8);
    return this.#apply(port);
  }

  #apply(port: SerialPort): ControlReply {
    const register = (number: number): number => this.#registers.get(number) ?? 0;
    const prescaler = register(REGISTER.PRESCALER);
    const divisor = 256 - register(REGISTER.DIVISOR);
    const fast = (prescaler & 4) !== 0;
    const clock = CLOCK_HZ / 2 ** (12 - 3 * (prescaler & 3) - (fast ? 1 : 0));
    if (fast && divisor < 9 && !this.#row.isCh343) return "stalled";
    return when(divisor >= 2, () => {
      port.uart.configure({
        baud: clock / divisor,
        ...lineOf(register(REGISTER.LINE)),
        flow: register(REGISTER.FLOW) === 1 ? "rtsCts" : "none",
      });
      port.uart.setBreak((register(REGISTER.BREAK) & 1) === 0);
    });
  }
}

function lineOf(line: number): Pick<UartSettings, "dataBits" | "parity" | "stopBits"> {
  const parity = (line & 0x08) === 0 ? "none" : PARITIES[(line >> 4) & 3];
  return { dataBits: 5 + (line & 3), parity: parity ?? "none", stopBits: (line & 0x04) === 0 ? 1 : 2 };
}

/** Inverted: a bit that is 0 raises the line. */
function setLines(port: SerialPort, wValue: number): void {
  port.uart.setOutputs({ dtr: (wValue & 0x20) === 0, rts: (wValue & 0x40) === 0 });
}

function linesOf({ cts, dsr, dcd, ri }: UartInputs): number {
  return (cts ? 1 : 0) | (dsr ? 2 : 0) | (ri ? 4 : 0) | (dcd ? 8 : 0);
}
