/**
 * Serial chips of FTDI.
 *
 * Facts: AN232B-05, AN_120, AN232B-04 (latency and packets), data sheets; request numbers as libftdi and Linux ftdi_sio
 * have them. Each packet of the IN endpoint begins with two status bytes, also when it carries nothing.
 * Drives: every interface of the chip, one port each. Leaves alone: MPSSE, FIFO and bit-bang modes.
 */
import { hex16 } from "../../../bytes.js";
import type { FlushQueue, LineError, LineSettings, ModemLine, ModemLines, OutputLines } from "../../../rump/devsw.js";
import { UnsupportedError } from "../errors.js";
import { type Attachment, type ControlRequest, defineDriver, type InPipe, type OutPipe } from "../usbdi.js";
import { type ChipLimits, type ChipOpen, type ChipSink, COMMON_LIMITS, type SerialChip } from "./chip.js";
import { ChipRequests } from "./control.js";
import { attachUcom } from "./ucom.js";
import { FTDI_FALLBACK, type FtdiChip, ftdiChipOf, ftdiDivisor, ftdiMaxBaud, ftdiMinBaud } from "./uftdi-chips.js";
import { isJtag, UFTDI_MATCH } from "./uftdi-match.js";

type Pipes = { readonly bulkIn: InPipe; readonly bulkOut: OutPipe };

const SPEC = "FTDI AN232B-05";
/** bRequest. */
const REQUEST = {
  RESET: 0,
  MODEM_CTRL: 1,
  SET_FLOW_CTRL: 2,
  SET_BAUD_RATE: 3,
  SET_DATA: 4,
  GET_MODEM_STATUS: 5,
  SET_LATENCY_TIMER: 9,
} as const;
/** wValue of RESET. The receive and transmit buffers are the chip's: what the host sent is in the latter. */
const RESET = { SIO: 0, PURGE_RX: 1, PURGE_TX: 2 } as const;
/** MODEM_CTRL: the high byte says which lines are set to the low byte. */
const LINE = { DTR: 1, RTS: 2 } as const;
/** SET_FLOW_CTRL: the high byte of wIndex. */
const FLOW: Readonly<Record<LineSettings["flowControl"], number>> = { none: 0, rtsCts: 1, xonXoff: 4 };
const XON_XOFF = 0x1311;
const PARITY: Readonly<Record<LineSettings["parity"], number>> = { none: 0, odd: 1, even: 2, mark: 3, space: 4 };
const STOP_BITS: Readonly<Record<LineSettings["stopBits"], number>> = { 1: 0, 1.5: 1, 2: 2 };
const SET_BREAK = 1 << 14;

/** The first status byte: lines; the second: line status, as a 16550 has it. */
const STATUS_BYTES = 2;
const MODEM_BITS: readonly (readonly [ModemLine, number])[] = [
  ["cts", 0x10],
  ["dsr", 0x20],
  ["ri", 0x40],
  ["dcd", 0x80],
];
const ERROR_BITS: readonly (readonly [LineError, number])[] = [
  ["overrun", 0x02],
  ["parity", 0x04],
  ["framing", 0x08],
  ["break", 0x10],
];
/** TEMT: the holding register and the shift register are empty. */
const TRANSMITTER_EMPTY = 0x40;
/** What the chip starts with. */
const DEFAULT_LATENCY_MS = 16;

/** Vendor requests to the device (USB 2.0 §9.3), as rows have them. */
const VENDOR_IN = { direction: "in", type: "vendor", recipient: "device" } as const;
const VENDOR_OUT = { direction: "out", type: "vendor", recipient: "device" } as const;

export const uftdi = defineDriver({
  name: "uftdi",
  match: UFTDI_MATCH,
  endpoints: { bulkIn: { type: "bulk", dir: "in" }, bulkOut: { type: "bulk", dir: "out" } },
  requests: [
    { ...VENDOR_OUT, request: REQUEST.RESET, value: RESET.SIO },
    { ...VENDOR_OUT, request: REQUEST.RESET, value: RESET.PURGE_RX },
    { ...VENDOR_OUT, request: REQUEST.RESET, value: RESET.PURGE_TX },
    { ...VENDOR_OUT, request: REQUEST.MODEM_CTRL },
    { ...VENDOR_OUT, request: REQUEST.SET_FLOW_CTRL },
    { ...VENDOR_OUT, request: REQUEST.SET_BAUD_RATE },
    { ...VENDOR_OUT, request: REQUEST.SET_DATA },
    { ...VENDOR_IN, request: REQUEST.GET_MODEM_STATUS, value: 0 },
    { ...VENDOR_OUT, request: REQUEST.SET_LATENCY_TIMER },
  ],
  attach,
});

async function attach(at: Attachment<Pipes>): Promise<void> {
  const { revision, serial } = at.identity;
  if (isJtag(at.identity, at.interfaceNumber)) throw new UnsupportedError("this port is JTAG");
  const known = ftdiChipOf(revision, serial);
  if (known === undefined)
    at.log("warn", `bcdDevice ${hex16(revision)} is no chip that is known; taken for ${FTDI_FALLBACK.name}`);
  const ports = at.siblings.length + 1;
  attachUcom(at, new FtdiPort(at, known ?? FTDI_FALLBACK, ports), at.pipes);
}

class FtdiPort implements SerialChip {
  readonly limits: ChipLimits;
  readonly #chip: FtdiChip;
  readonly #requests: ChipRequests;
  /** Low byte of wIndex: 0 on chips with one port that do not look at it, else counted from 1. */
  readonly #port: number;
  #data = 8;

  constructor(at: Attachment<Pipes>, chip: FtdiChip, ports: number) {
    this.#chip = chip;
    this.#requests = new ChipRequests(at.control, SPEC);
    this.#port = chip.portInIndex ? at.interfaceNumber + 1 : 0;
    this.limits = {
      ...COMMON_LIMITS,
      dataBits: [7, 8],
      model: ports > 1 ? `${chip.name} port ${"ABCD"[at.interfaceNumber] ?? "?"}` : chip.name,
      minBaud: ftdiMinBaud,
      maxBaud: ftdiMaxBaud(chip),
      flowControls: ["none", "rtsCts", "xonXoff"],
      hasLatency: chip.hasLatency,
      transmitBufferBytes: chip.transmitBufferBytes,
      readPackets: 8,
      fillsPackets: true,
      idleBytes: STATUS_BYTES,
    };
  }

  nearestBaud(baud: number): number {
    return Math.round(ftdiDivisor(this.#chip, baud).baud);
  }

  /** RESET_SIO ends flow control too, lets the lines fall and empties the buffers (Linux ftdi_sio.h). */
  async open({ isResumed }: ChipOpen): Promise<void> {
    if (isResumed) return;
    await this.#out(REQUEST.RESET, RESET.SIO);
    await this.flush("both");
    if (this.#chip.hasLatency) await this.setLatency(DEFAULT_LATENCY_MS);
  }

  async close(): Promise<void> {
    await this.#out(REQUEST.SET_FLOW_CTRL, 0, FLOW.none << 8);
  }

  async setLine(settings: LineSettings): Promise<void> {
    const { encoded } = ftdiDivisor(this.#chip, settings.baud);
    const high = encoded >> 16;
    await this.#out(REQUEST.SET_BAUD_RATE, encoded & 0xffff, this.#chip.portInIndex ? high << 8 : high);
    this.#data = settings.dataBits | (PARITY[settings.parity] << 8) | (STOP_BITS[settings.stopBits] << 11);
    await this.#out(REQUEST.SET_DATA, this.#data);
    const { flowControl } = settings;
    await this.#out(REQUEST.SET_FLOW_CTRL, flowControl === "xonXoff" ? XON_XOFF : 0, FLOW[flowControl] << 8);
  }

  async setOutputs({ dtr, rts }: OutputLines): Promise<void> {
    const lines = (dtr ? LINE.DTR : 0) | (rts ? LINE.RTS : 0);
    await this.#out(REQUEST.MODEM_CTRL, ((LINE.DTR | LINE.RTS) << 8) | lines);
  }

  async setBreak(on: boolean): Promise<void> {
    await this.#out(REQUEST.SET_DATA, this.#data | (on ? SET_BREAK : 0));
  }

  async readLines(): Promise<ModemLines> {
    const [lines = 0] = await this.#modemStatus();
    return linesOf(lines);
  }

  async transmitQueue(): Promise<number> {
    const [, line = 0] = await this.#modemStatus();
    return (line & TRANSMITTER_EMPTY) === 0 ? 1 : 0;
  }

  async flush(queue: FlushQueue): Promise<void> {
    if (queue !== "out") await this.#out(REQUEST.RESET, RESET.PURGE_RX);
    if (queue !== "in") await this.#out(REQUEST.RESET, RESET.PURGE_TX);
  }

  async setLatency(latencyMs: number): Promise<number> {
    await this.#out(REQUEST.SET_LATENCY_TIMER, latencyMs);
    return latencyMs;
  }

  parseIn(packet: Uint8Array, sink: ChipSink): void {
    const [lines, line] = packet;
    // A packet of 0 or 1 bytes has no status; there is nothing in it that could be believed.
    if (lines === undefined || line === undefined) return;
    sink.lines(linesOf(lines));
    const data = packet.subarray(STATUS_BYTES);
    // The flags belong to a character: packets without one repeat those of the last (Linux ftdi_sio).
    if (data.length > 0) for (const [error, bit] of ERROR_BITS) if ((line & bit) !== 0) sink.error(error);
    sink.data(data);
  }

  async #modemStatus(): Promise<Uint8Array> {
    return await this.#requests.in(this.#request(REQUEST.GET_MODEM_STATUS, 0, 0), STATUS_BYTES);
  }

  async #out(request: number, value: number, index = 0): Promise<void> {
    await this.#requests.out(this.#request(request, value, index));
  }

  #request(request: number, value: number, index: number): ControlRequest {
    return { type: "vendor", recipient: "device", request, value, index: index | this.#port };
  }
}

function linesOf(status: number): ModemLines {
  const lines = { cts: false, dsr: false, dcd: false, ri: false };
  for (const [line, bit] of MODEM_BITS) lines[line] = (status & bit) !== 0;
  return lines;
}
