/**
 * USB modems and everything else that is a CDC abstract control model.
 *
 * Specs: CDC 1.2; PSTN 1.2 §3.6, §6.3, §6.5. A port is a control interface (class 02h/02h) with a data interface (class 0Ah)
 * that a union descriptor names. Also taken: no union (the next data interface), one interface with all endpoints, and
 * vendor-specific ones with bulk endpoints alone. Leaves alone: Ethernet, MBIM, OBEX.
 */
import { record, u32le, u8 } from "../../../bytes.js";
import type { LineSettings, OutputLines } from "../../../rump/devsw.js";
import { UnsupportedError } from "../errors.js";
import { type Attachment, type ControlRequest, defineDriver, type InPipe, type OutPipe } from "../usbdi.js";
import { type AcmFunction, acmFunctionOf, NotificationReader } from "./cdc.js";
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
import { type ModemQuirks, modemQuirksOf, UMODEM_MATCH } from "./umodem-match.js";

type Pipes = {
  readonly bulkIn: InPipe | undefined;
  readonly bulkOut: OutPipe | undefined;
  readonly interruptIn: InPipe | undefined;
};

const DATA_ENDPOINTS = { bulkIn: { type: "bulk", dir: "in" }, bulkOut: { type: "bulk", dir: "out" } } as const;
const CLASS_DATA = 0x0a;
/** bRequest, PSTN 1.2 Table 13. */
const REQUEST = { SET_LINE_CODING: 0x20, SET_CONTROL_LINE_STATE: 0x22, SEND_BREAK: 0x23 } as const;
/** PSTN 1.2 Table 17. */
const lineCoding = record("line coding", "PSTN 1.2 §6.3.11", {
  dwDTERate: u32le,
  bCharFormat: u8,
  bParityType: u8,
  bDataBits: u8,
});
const STOP_BITS: Readonly<Record<LineSettings["stopBits"], number>> = { 1: 0, 1.5: 1, 2: 2 };
const PARITY: Readonly<Record<LineSettings["parity"], number>> = { none: 0, odd: 1, even: 2, mark: 3, space: 4 };
/** wValue of SET_CONTROL_LINE_STATE, PSTN 1.2 Table 18. */
const LINE = { DTR: 1, RTS: 2 } as const;
/** wValue of SEND_BREAK: until it is ended (PSTN 1.2 §6.3.13). */
const BREAK_UNTIL_ENDED = 0xffff;
const TRANSMIT_BUFFER_BYTES = 512;

/** Class requests to the interface (USB 2.0 §9.3), as rows have them. */
const CLASS_OUT = { direction: "out", type: "class", recipient: "interface" } as const;

export const umodem = defineDriver({
  name: "umodem",
  match: UMODEM_MATCH,
  endpoints: {
    interruptIn: { type: "interrupt", dir: "in", optional: true },
    bulkIn: { type: "bulk", dir: "in", optional: true },
    bulkOut: { type: "bulk", dir: "out", optional: true },
  },
  requests: [
    { ...CLASS_OUT, request: REQUEST.SET_LINE_CODING, value: 0 },
    { ...CLASS_OUT, request: REQUEST.SET_CONTROL_LINE_STATE },
    { ...CLASS_OUT, request: REQUEST.SEND_BREAK },
  ],
  attach,
});

async function attach(at: Attachment<Pipes>): Promise<void> {
  const quirks = modemQuirksOf(at.identity.vendor, at.identity.product);
  if (quirks.isNoModem) throw new UnsupportedError("it says that it is a modem, and is none");
  const acm = acmFunctionOf(at.extraDescriptors, at.interfaceNumber);
  const pipes = await choosePipes(at, quirks.dataInterface ?? acm.dataInterface);
  attachUcom(at, new AcmPort(at, acm, quirks, pipes), pipes);
}

/** @throws UnsupportedError when no data interface can be found. */
async function choosePipes(at: Attachment<Pipes>, dataInterface: number | undefined): Promise<SerialPipes> {
  const { bulkIn, bulkOut, interruptIn } = at.pipes;
  if (bulkIn !== undefined && bulkOut !== undefined) return { bulkIn, bulkOut, interruptIn };
  const data = at.siblings.filter((one) => one.interfaceClass === CLASS_DATA).map((one) => one.interfaceNumber);
  const named = at.siblings.find((one) => one.interfaceNumber === dataInterface)?.interfaceNumber;
  const chosen = named ?? data.find((one) => one > at.interfaceNumber) ?? data[0];
  if (chosen === undefined) throw new UnsupportedError("no data interface (CDC 1.2 §3.3.1)");
  if (named === undefined) at.log("info", `no usable union descriptor (CDC 1.2 §5.2.3.2): data on interface ${chosen}`);
  return { ...(await at.takeSibling(chosen, DATA_ENDPOINTS)), interruptIn };
}

class AcmPort implements SerialChip {
  readonly limits: ChipLimits;
  readonly setBreak?: (on: boolean) => Promise<void>;
  readonly #at: Attachment<Pipes>;
  readonly #requests: ChipRequests;
  readonly #notifications = new NotificationReader();
  readonly #quirks: ModemQuirks;
  readonly #pipes: SerialPipes;
  #obeysLineCoding: boolean;

  constructor(at: Attachment<Pipes>, acm: AcmFunction, quirks: ModemQuirks, pipes: SerialPipes) {
    this.#at = at;
    this.#quirks = quirks;
    this.#pipes = pipes;
    this.#requests = new ChipRequests(at.control, "PSTN 1.2 §6.3");
    this.#obeysLineCoding = acm.hasLineCoding;
    this.limits = {
      ...COMMON_LIMITS,
      model: at.identity.productName === "" ? "CDC-ACM" : `CDC-ACM ${at.identity.productName}`,
      // Whatever the 32 bits hold; many devices have no UART behind them.
      minBaud: 1,
      maxBaud: 0xffff_ffff,
      flowControls: ["none"],
      modemLines: at.pipes.interruptIn === undefined ? [] : ["dsr", "dcd", "ri"],
      canBreak: acm.hasBreak,
      transmitBufferBytes: TRANSMIT_BUFFER_BYTES,
      // Many devices do not end a full packet with an empty one.
      readPackets: 1,
      ...(quirks.oneRead ? { maxReads: 1 } : {}),
    };
    if (acm.hasBreak)
      this.setBreak = (on) => this.#requests.out(this.#request(REQUEST.SEND_BREAK, on ? BREAK_UNTIL_ENDED : 0));
  }

  nearestBaud(baud: number): number {
    return baud;
  }

  async open({ isResumed }: ChipOpen): Promise<void> {
    if (isResumed || !this.#quirks.beginsHalted) return;
    await this.#pipes.bulkIn.clearHalt();
    await this.#pipes.bulkOut.clearHalt();
  }

  async close(): Promise<void> {
    return;
  }

  async setLine(settings: LineSettings): Promise<void> {
    if (!this.#obeysLineCoding) return;
    const coding = lineCoding.encode({
      dwDTERate: settings.baud,
      bCharFormat: STOP_BITS[settings.stopBits],
      bParityType: PARITY[settings.parity],
      bDataBits: settings.dataBits,
    });
    this.#obeysLineCoding = await this.#requests.tryOut(this.#request(REQUEST.SET_LINE_CODING, 0), coding);
    if (!this.#obeysLineCoding)
      this.#at.log("info", "SET_LINE_CODING stalled: the settings mean nothing to this device");
  }

  /** A device without lines may stall (PSTN 1.2 §6.3.12 is optional); nothing is lost then. */
  async setOutputs({ dtr, rts }: OutputLines): Promise<void> {
    if (this.#quirks.hasNoLines) return;
    const lines = (dtr ? LINE.DTR : 0) | (rts ? LINE.RTS : 0);
    await this.#requests.tryOut(this.#request(REQUEST.SET_CONTROL_LINE_STATE, lines));
  }

  parseIn(packet: Uint8Array, sink: ChipSink): void {
    sink.data(packet);
  }

  parseNotification(packet: Uint8Array, sink: ChipSink): void {
    this.#notifications.read(packet, sink);
  }

  #request(request: number, value: number): ControlRequest {
    return { type: "class", recipient: "interface", request, value, index: this.#at.interfaceNumber };
  }
}
