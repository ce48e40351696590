/**
 * CP210x chips as device models: CP2101 to CP2105, CP2108, CP2102N. Written from AN571, and AN205 for the rates of the first.
 */
import { viewOf } from "../bytes.js";
import type { SetupPacket } from "../dev/usb/usb.js";
import type { ControlReply } from "./function.js";
import { requestKey, SerialModel, type SerialOptions, type SerialPort, when } from "./serial-model.js";
import type { UartError, UartInputs, UartSettings } from "./serial-uart.js";

interface CpRow {
  readonly product: number;
  readonly partNumber: number;
  readonly ports: number;
  readonly maxBaud: number;
  /** Divides 24 MHz as it comes; the others know the rates of AN205. */
  readonly divides: boolean;
}

const PARTS = {
  cp2101: { product: 0xea60, partNumber: 0x01, ports: 1, maxBaud: 921_600, divides: false },
  cp2102: { product: 0xea60, partNumber: 0x02, ports: 1, maxBaud: 1_000_000, divides: false },
  cp2103: { product: 0xea60, partNumber: 0x03, ports: 1, maxBaud: 1_000_000, divides: false },
  cp2104: { product: 0xea60, partNumber: 0x04, ports: 1, maxBaud: 2_000_000, divides: true },
  cp2105: { product: 0xea70, partNumber: 0x05, ports: 2, maxBaud: 2_000_000, divides: true },
  cp2108: { product: 0xea71, partNumber: 0x08, ports: 4, maxBaud: 2_000_000, divides: false },
  cp2102n: { product: 0xea60, partNumber: 0x20, ports: 1, maxBaud: 3_000_000, divides: true },
} as const satisfies Readonly<Record<string, CpRow>>;

export type CpKind = keyof typeof PARTS;
export const CP_KINDS = Object.keys(PARTS).filter((name): name is CpKind => Object.hasOwn(PARTS, name));

const VENDOR = 0x10c4;
const OUT = 0x41 << 8;
const IN = 0xc1 << 8;
const DEVICE_IN = 0xc0 << 8;
/** AN571 Table 4. */
const REQUEST = {
  IFC_ENABLE: 0x00,
  SET_LINE_CTL: 0x03,
  GET_LINE_CTL: 0x04,
  SET_BREAK: 0x05,
  SET_MHS: 0x07,
  GET_MDMSTS: 0x08,
  GET_CHARS: 0x0e,
  GET_COMM_STATUS: 0x10,
  PURGE: 0x12,
  SET_FLOW: 0x13,
  GET_FLOW: 0x14,
  EMBED_EVENTS: 0x15,
  SET_CHARS: 0x19,
  GET_BAUDRATE: 0x1d,
  SET_BAUDRATE: 0x1e,
  VENDOR_SPECIFIC: 0xff,
};
const GET_PARTNUM = 0x370b;
const PARITIES = ["none", "odd", "even", "mark", "space"] as const;
const STOP_BITS = [1, 1.5, 2] as const;
/** Divided by four first, up to this rate. */
const PRESCALED_BAUD = 365;
const CLOCK_HZ = 24_000_000;
const COMM_STATUS_BYTES = 19;
const FLOW_BYTES = 16;
const CHARS_BYTES = 6;
const BUFFER_BYTES = 576;
const PACKET_BYTES = 64;
/** Embedded events (AN571 §5.21): the escape itself; line status with a character that is not escaped, without; modem status. */
const EVENT = { ESCAPE: 0, LINE_STATUS_AND_DATA: 1, LINE_STATUS: 2, MODEM_STATUS: 3 };
const ERROR_BITS: Readonly<Record<UartError, number>> = { overrun: 0x02, parity: 0x04, framing: 0x08, break: 0x10 };

/** What a port has been told to do. */
interface PortState {
  enabled: boolean;
  /** 0 = events are not embedded. */
  escape: number;
  /** Bytes and events that wait to be sent. */
  events: number[];
  /** As SET_FLOW and SET_CHARS had them last. */
  flow: Uint8Array;
  chars: Uint8Array;
}

function initialState(): PortState {
  return {
    enabled: false,
    escape: 0,
    events: [],
    flow: new Uint8Array(FLOW_BYTES),
    chars: new Uint8Array(CHARS_BYTES),
  };
}

export class Cp210xModel extends SerialModel {
  readonly #row: CpRow;
  readonly #states: PortState[];

  constructor(kind: CpKind, options: SerialOptions) {
    const row: CpRow = PARTS[kind];
    const layouts = Array.from({ length: row.ports }, (_, n) => ({
      bulkIn: 0x81 + n,
      bulkOut: 0x01 + n,
      transmitBytes: BUFFER_BYTES,
      receiveBytes: BUFFER_BYTES,
    }));
    super(
      {
        speed: "full",
        vendor: VENDOR,
        product: row.product,
        revision: 0x0100,
        manufacturer: "Silicon Labs",
        productName: `${kind.toUpperCase()} USB to UART Bridge Controller`,
        serial: "0001",
        interfaces: layouts.map(({ bulkIn, bulkOut }, interfaceNumber) => ({
          interfaceNumber,
          interfaceClass: 0xff,
          interfaceSubClass: 0,
          interfaceProtocol: 0,
          endpoints: [
            { endpointAddress: bulkIn, type: "bulk", maxPacketBytes: PACKET_BYTES },
            { endpointAddress: bulkOut, type: "bulk", maxPacketBytes: PACKET_BYTES },
          ],
        })),
      },
      layouts,
      options,
    );
    this.#row = row;
    this.#states = layouts.map(initialState);
  }

  protected override request(setup: SetupPacket, out: Uint8Array): ControlReply {
    if (requestKey(setup) === (DEVICE_IN | REQUEST.VENDOR_SPECIFIC))
      return setup.wValue === GET_PARTNUM ? Uint8Array.of(this.#row.partNumber, 0) : "stalled";
    const port = this.ports[setup.wIndex];
    const state = this.#states[setup.wIndex];
    if (port === undefined || state === undefined) return "stalled";
    const { wValue } = setup;
    const { uart } = port;
    switch (requestKey(setup)) {
      case OUT | REQUEST.IFC_ENABLE:
        return when(wValue <= 1 && out.length === 0, () => enable(state, wValue === 1));
      case OUT | REQUEST.SET_LINE_CTL:
        return state.enabled && out.length === 0 ? this.#setLine(port, wValue) : "stalled";
      case OUT | REQUEST.SET_BAUDRATE:
        return state.enabled && out.length === 4 ? this.#setBaud(port, viewOf(out).getUint32(0, true)) : "stalled";
      case OUT | REQUEST.SET_BREAK:
        return when(wValue <= 1, () => uart.setBreak(wValue === 1));
      case OUT | REQUEST.SET_MHS:
        return when((wValue & ~0x0303) === 0, () => setLines(port, wValue));
      case OUT | REQUEST.PURGE:
        return when((wValue & ~0x0f) === 0, () => purge(port, state, wValue));
      case OUT | REQUEST.SET_FLOW:
        return out.length === FLOW_BYTES ? setFlow(port, state, out) : "stalled";
      case IN | REQUEST.GET_FLOW:
        return state.flow;
      case OUT | REQUEST.SET_CHARS:
        return when(out.length === CHARS_BYTES && out[4] === 0x11 && out[5] === 0x13, () => {
          state.chars = out.slice();
        });
      case IN | REQUEST.GET_CHARS:
        return state.chars;
      case IN | REQUEST.GET_LINE_CTL:
        return lineControl(uart.settings);
      case IN | REQUEST.GET_BAUDRATE:
        return u32(Math.round(uart.settings.baud));
      case OUT | REQUEST.EMBED_EVENTS:
        return when(wValue <= 0xff, () => {
          state.escape = wValue;
        });
      case IN | REQUEST.GET_MDMSTS:
        return Uint8Array.of(linesOf(uart.inputs));
      case IN | REQUEST.GET_COMM_STATUS:
        return setup.wLength === COMM_STATUS_BYTES ? commStatus(port) : "stalled";
      default:
        return "stalled";
    }
  }

  protected override serveIn(port: SerialPort): void {
    const state = this.#states[port.index];
    if (state === undefined || state.escape === 0) {
      port.errors = [];
      this.servePlain(port);
      return;
    }
    this.#queueEvents(port, state);
    for (let room = port.bulkIn.room; room !== undefined; room = port.bulkIn.room) {
      if (port.faults.take("zlp")) {
        port.bulkIn.sendZlp();
        continue;
      }
      // What has no room in this transfer goes with the next: a sequence may be cut.
      for (const byte of this.takeReceived(port, Math.max(0, room - state.events.length))) {
        const status = port.errors.length > 0 ? lineStatus(port.errors.splice(0)) : 0;
        if (status !== 0) state.events.push(state.escape, EVENT.LINE_STATUS_AND_DATA, status, byte);
        else if (byte === state.escape) state.events.push(byte, EVENT.ESCAPE);
        else state.events.push(byte);
      }
      this.#queueEvents(port, state);
      const bytes = state.events.splice(0, room);
      if (bytes.length === 0) return;
      port.bulkIn.send(Uint8Array.from(bytes), true);
      if (bytes.length % PACKET_BYTES === 0 && bytes.length < room) port.bulkIn.sendZlp();
    }
  }

  protected override onReset(): void {
    for (const state of this.#states) Object.assign(state, initialState());
    super.onReset();
  }

  #queueEvents(port: SerialPort, state: PortState): void {
    const lines = linesOf(port.uart.inputs);
    if (lines !== port.toldLines) state.events.push(state.escape, EVENT.MODEM_STATUS, lines);
    port.toldLines = lines;
    // With a character the status goes before it.
    if (port.uart.receive.length > 0) return;
    const status = lineStatus(port.errors.splice(0));
    if (status !== 0) state.events.push(state.escape, EVENT.LINE_STATUS, status);
  }

  /** SET_LINE_CTL: bits 15..8 data bits, 7..4 parity, 3..0 stop bits (AN571 §5.6). The first part has 8 data bits and 1 stop bit. */
  #setLine(port: SerialPort, wValue: number): ControlReply {
    const dataBits = wValue >> 8;
    const parity = PARITIES[(wValue >> 4) & 0x0f];
    const stopBits = STOP_BITS[wValue & 0x0f];
    const isPlain = dataBits === 8 && stopBits === 1 && parity !== "mark" && parity !== "space";
    const right = dataBits >= 5 && dataBits <= 8 && (isPlain || this.#row.partNumber !== PARTS.cp2101.partNumber);
    return when(right && parity !== undefined && stopBits !== undefined, () =>
      port.uart.configure({ dataBits, parity: parity ?? "none", stopBits: stopBits ?? 1 }),
    );
  }

  #setBaud(port: SerialPort, baud: number): ControlReply {
    const clock = baud <= PRESCALED_BAUD ? CLOCK_HZ / 4 : CLOCK_HZ;
    const made = this.#row.divides ? clock / Math.round(clock / baud) : baud;
    return when(baud > 0 && baud <= this.#row.maxBaud, () => port.uart.configure({ baud: made }));
  }
}

function lineStatus(errors: readonly UartError[]): number {
  return errors.reduce((status, error) => status | ERROR_BITS[error], 0);
}

function enable(state: PortState, enabled: boolean): void {
  state.enabled = enabled;
  if (!enabled) Object.assign(state, { escape: 0, events: [] });
}

/** GET_LINE_CTL (AN571 §5.7), as SET_LINE_CTL has it. */
function lineControl({ dataBits, parity, stopBits }: UartSettings): Uint8Array {
  const stop = STOP_BITS.findIndex((one) => one === stopBits);
  return Uint8Array.of((PARITIES.indexOf(parity) << 4) | stop, dataBits);
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value, true);
  return bytes;
}

function setLines(port: SerialPort, wValue: number): void {
  const mask = wValue >> 8;
  port.uart.setOutputs({
    ...((mask & 1) === 0 ? {} : { dtr: (wValue & 1) !== 0 }),
    ...((mask & 2) === 0 ? {} : { rts: (wValue & 2) !== 0 }),
  });
}

function purge(port: SerialPort, state: PortState, wValue: number): void {
  if ((wValue & 0x05) !== 0) port.uart.transmit.clear();
  if ((wValue & 0x0a) === 0) return;
  port.uart.receive.clear();
  state.events = [];
}

/** AN571 §5.19: CTS handshake, RTS by the queue, XON and XOFF. */
function setFlow(port: SerialPort, state: PortState, out: Uint8Array): ControlReply {
  const view = viewOf(out);
  const [handshake, replace] = [view.getUint32(0, true), view.getUint32(4, true)];
  const rts = (replace >> 6) & 3;
  const right = (handshake & 3) !== 3 && rts !== 3;
  return when(right, () => {
    state.flow = out.slice();
    const xonXoff = (replace & 3) === 3;
    port.uart.configure({ flow: (handshake & 8) !== 0 ? "rtsCts" : xonXoff ? "xonXoff" : "none" });
    port.uart.setOutputs({ dtr: (handshake & 3) === 1, rts: rts !== 0 });
  });
}

function commStatus(port: SerialPort): Uint8Array {
  const status = new Uint8Array(COMM_STATUS_BYTES);
  const view = viewOf(status);
  view.setUint32(8, port.uart.receive.length, true);
  view.setUint32(12, port.uart.transmit.length, true);
  return status;
}

function linesOf({ cts, dsr, dcd, ri }: UartInputs): number {
  return (cts ? 0x10 : 0) | (dsr ? 0x20 : 0) | (ri ? 0x40 : 0) | (dcd ? 0x80 : 0);
}
