/**
 * FTDI chips as device models: FT232R, FT2232H, FT4232H, FT232H, FT230X.
 *
 * Written from AN232B-05 (divisors), AN_120 (high-speed reference), AN232B-04 (packets and latency), the data sheets.
 * Every packet to the host has two status bytes in front; the chip sends one when it is full, when a line changes, and when
 * the latency timer has run out. An error is in each until one has carried a character.
 */
import type { SetupPacket } from "../dev/usb/usb.js";
import type { Speed, Timer } from "../rumpuser/rumpuser.js";
import type { ControlReply } from "./function.js";
import { requestKey, SerialModel, type SerialOptions, type SerialPort, when } from "./serial-model.js";
import type { UartError, UartInputs, UartSettings } from "./serial-uart.js";

interface FtdiRow {
  readonly product: number;
  readonly revision: number;
  readonly ports: number;
  readonly speed: Speed;
  readonly maxPacketBytes: number;
  readonly transmitBytes: number;
  readonly receiveBytes: number;
  /** wIndex has the port in its low byte and divisor bits above. */
  readonly portInIndex: boolean;
}

const HIGH = { speed: "high", maxPacketBytes: 512, portInIndex: true } as const;

const CHIPS = {
  ft232r: {
    product: 0x6001,
    revision: 0x0600,
    ports: 1,
    speed: "full",
    maxPacketBytes: 64,
    transmitBytes: 256,
    receiveBytes: 128,
    portInIndex: false,
  },
  ft2232h: { ...HIGH, product: 0x6010, revision: 0x0700, ports: 2, transmitBytes: 4096, receiveBytes: 4096 },
  ft4232h: { ...HIGH, product: 0x6011, revision: 0x0800, ports: 4, transmitBytes: 2048, receiveBytes: 2048 },
  ft232h: { ...HIGH, product: 0x6014, revision: 0x0900, ports: 1, transmitBytes: 1024, receiveBytes: 1024 },
  ftx: {
    product: 0x6015,
    revision: 0x1000,
    ports: 1,
    speed: "full",
    maxPacketBytes: 64,
    transmitBytes: 512,
    receiveBytes: 512,
    portInIndex: true,
  },
} as const satisfies Readonly<Record<string, FtdiRow>>;

export type FtdiKind = keyof typeof CHIPS;
export const FTDI_KINDS = Object.keys(CHIPS).filter((name): name is FtdiKind => Object.hasOwn(CHIPS, name));

const VENDOR = 0x0403;
const OUT = 0x40 << 8;
const IN = 0xc0 << 8;
const REQUEST = {
  RESET: 0,
  MODEM_CTRL: 1,
  SET_FLOW: 2,
  SET_BAUD: 3,
  SET_DATA: 4,
  GET_STATUS: 5,
  SET_LATENCY: 9,
  GET_LATENCY: 10,
};
const STATUS_BYTES = 2;
const DEFAULT_LATENCY_MS = 16;
/** Bits 14 to 16 of the divisor (AN232B-05 §2.2): eighths by their code. */
const EIGHTHS_OF_CODE = [0, 4, 2, 1, 3, 5, 6, 7] as const;
const PARITIES = ["none", "odd", "even", "mark", "space"] as const;
const STOP_BITS = [1, 1.5, 2] as const;
const FLOWS: Readonly<Record<number, UartSettings["flow"]>> = { 0: "none", 1: "rtsCts", 4: "xonXoff" };
const XON_XOFF = 0x1311;
const ERROR_BITS: Readonly<Record<UartError, number>> = { overrun: 0x02, parity: 0x04, framing: 0x08, break: 0x10 };
/** The second status byte: the transmitter's registers are empty. */
const TRANSMITTER_EMPTY = 0x60;

export class FtdiModel extends SerialModel {
  readonly #row: FtdiRow;
  readonly #latencyMs: number[];
  readonly #timers = new Map<number, Timer>();
  /** Ports whose latency timer has run out. */
  readonly #late = new Set<number>();

  constructor(kind: FtdiKind, options: SerialOptions) {
    const row: FtdiRow = CHIPS[kind];
    const layouts = Array.from({ length: row.ports }, (_, n) => ({
      bulkIn: 0x81 + 2 * n,
      bulkOut: 0x02 + 2 * n,
      transmitBytes: row.transmitBytes,
      receiveBytes: row.receiveBytes,
    }));
    super(
      {
        speed: row.speed,
        vendor: VENDOR,
        product: row.product,
        revision: row.revision,
        manufacturer: "FTDI",
        productName: kind.toUpperCase(),
        serial: "FT000001",
        interfaces: layouts.map(({ bulkIn, bulkOut }, interfaceNumber) => ({
          interfaceNumber,
          interfaceClass: 0xff,
          interfaceSubClass: 0xff,
          interfaceProtocol: 0xff,
          endpoints: [
            { endpointAddress: bulkIn, type: "bulk", maxPacketBytes: row.maxPacketBytes },
            { endpointAddress: bulkOut, type: "bulk", maxPacketBytes: row.maxPacketBytes },
          ],
        })),
      },
      layouts,
      options,
    );
    this.#row = row;
    this.#latencyMs = layouts.map(() => DEFAULT_LATENCY_MS);
  }

  protected override request(setup: SetupPacket): ControlReply {
    const port = this.#portOf(setup.wIndex);
    const { wValue } = setup;
    if (port === undefined) return "stalled";
    switch (requestKey(setup)) {
      case OUT | REQUEST.RESET:
        return when(wValue <= 2, () => this.#resetPort(port, wValue));
      case OUT | REQUEST.MODEM_CTRL:
        return when((wValue & ~0x0303) === 0, () => setLines(port, wValue));
      case OUT | REQUEST.SET_FLOW: {
        const flow = FLOWS[setup.wIndex >> 8];
        return when(flow !== undefined && (flow !== "xonXoff" || wValue === XON_XOFF), () =>
          port.uart.configure({ flow: flow ?? "none" }),
        );
      }
      case OUT | REQUEST.SET_BAUD: {
        const baud = this.#baudOf(setup);
        return when(baud !== undefined, () => port.uart.configure({ baud: baud ?? 0 }));
      }
      case OUT | REQUEST.SET_DATA:
        return setData(port, wValue);
      case OUT | REQUEST.SET_LATENCY:
        return when(wValue >= 1 && wValue <= 255, () => {
          this.#latencyMs[port.index] = wValue;
        });
      case IN | REQUEST.GET_STATUS:
        return setup.wLength === STATUS_BYTES ? statusOf(port) : "stalled";
      case IN | REQUEST.GET_LATENCY:
        return Uint8Array.of(this.#latencyMs[port.index] ?? DEFAULT_LATENCY_MS);
      default:
        return "stalled";
    }
  }

  protected override serveIn(port: SerialPort): void {
    const payload = port.bulkIn.maxPacketBytes - STATUS_BYTES;
    const due = (): boolean =>
      this.#late.has(port.index) || port.uart.receive.length >= payload || linesOf(port.uart.inputs) !== port.toldLines;
    while (port.bulkIn.room !== undefined) {
      if (port.faults.take("zlp")) port.bulkIn.sendZlp();
      else if (port.faults.take("shortStatus")) port.bulkIn.send(statusOf(port).subarray(0, 1), true);
      else if (due()) this.#sendPacket(port);
      else break;
    }
    if (port.bulkIn.room !== undefined && !this.#timers.has(port.index)) this.#startLatency(port);
  }

  protected override onReset(): void {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    super.onReset();
  }

  #sendPacket(port: SerialPort): void {
    this.#late.delete(port.index);
    this.#stopLatency(port);
    const room = port.bulkIn.room ?? 0;
    const data = this.takeReceived(port, Math.max(0, Math.min(room, port.bulkIn.maxPacketBytes) - STATUS_BYTES));
    const packet = new Uint8Array(STATUS_BYTES + data.length);
    packet.set(statusOf(port));
    packet.set(data, STATUS_BYTES);
    port.toldLines = linesOf(port.uart.inputs);
    if (data.length > 0) port.errors = [];
    // Each packet ends as a packet ends: a full one leaves the transfer open.
    port.bulkIn.send(packet, true);
  }

  /** The timer measures the time since the last packet (AN232B-04, "Small amounts of data"). */
  #startLatency(port: SerialPort): void {
    const timer = this.clock.startTimer(this.#latencyMs[port.index] ?? DEFAULT_LATENCY_MS, () => {
      this.#timers.delete(port.index);
      // Sent there and not here: taking bytes may free the line, and what comes then is behind them.
      this.#late.add(port.index);
      this.onEndpointReady();
      this.#late.delete(port.index);
    });
    this.#timers.set(port.index, timer);
  }

  #stopLatency(port: SerialPort): void {
    this.#timers.get(port.index)?.cancel();
    this.#timers.delete(port.index);
  }

  #portOf(wIndex: number): SerialPort | undefined {
    const selector = wIndex & 0xff;
    // Chips with one port that do not look at the selector have a divisor bit there.
    if (!this.#row.portInIndex) return selector <= 1 ? this.ports[0] : undefined;
    return this.ports[this.ports.length === 1 && selector === 0 ? 0 : selector - 1];
  }

  /** @returns undefined for a divisor that the chip does not make. */
  #baudOf({ wValue, wIndex }: SetupPacket): number | undefined {
    const high = this.#row.portInIndex ? wIndex >> 8 : wIndex & 0xff;
    const fast = (high & 2) !== 0;
    if (high > 3 || (fast && this.#row.speed !== "high")) return undefined;
    const reference = fast ? 12_000_000 : 3_000_000;
    const integer = wValue & 0x3fff;
    const eighths = EIGHTHS_OF_CODE[(wValue >> 14) | ((high & 1) << 2)] ?? 0;
    if (integer === 0) return eighths === 0 ? reference : undefined;
    if (integer === 1) return eighths === 0 ? reference / 1.5 : undefined;
    return reference / (integer + eighths / 8);
  }

  /** 0 is more than both purges: flow control ends and the lines fall (Linux ftdi_sio.h). */
  #resetPort(port: SerialPort, what: number): void {
    const { uart } = port;
    if (what === 0) {
      uart.configure({ flow: "none" });
      uart.setOutputs({ dtr: false, rts: false });
    }
    if (what !== 2) uart.receive.clear();
    if (what !== 1) uart.transmit.clear();
    port.errors = [];
  }
}

function setLines(port: SerialPort, wValue: number): void {
  const [mask, lines] = [wValue >> 8, wValue & 0xff];
  port.uart.setOutputs({
    ...((mask & 1) === 0 ? {} : { dtr: (lines & 1) !== 0 }),
    ...((mask & 2) === 0 ? {} : { rts: (lines & 2) !== 0 }),
  });
}

/** SET_DATA: bits 7..0 data bits, 10..8 parity, 13..11 stop bits, 14 break. */
function setData(port: SerialPort, wValue: number): ControlReply {
  const dataBits = wValue & 0xff;
  const parity = PARITIES[(wValue >> 8) & 7];
  const stopBits = STOP_BITS[(wValue >> 11) & 7];
  const right = (dataBits === 7 || dataBits === 8) && (wValue & 0x8000) === 0;
  return when(right && parity !== undefined && stopBits !== undefined, () => {
    port.uart.configure({ dataBits, parity: parity ?? "none", stopBits: stopBits ?? 1 });
    port.uart.setBreak((wValue & 0x4000) !== 0);
  });
}

function linesOf({ cts, dsr, dcd, ri }: UartInputs): number {
  return (cts ? 0x10 : 0) | (dsr ? 0x20 : 0) | (ri ? 0x40 : 0) | (dcd ? 0x80 : 0);
}

function statusOf(port: SerialPort): Uint8Array {
  let line = port.uart.transmit.length === 0 ? TRANSMITTER_EMPTY : 0;
  for (const error of port.errors) line |= ERROR_BITS[error];
  return Uint8Array.of(linesOf(port.uart.inputs) | 1, line);
}
