/**
 * Serial chips of Silicon Labs: CP2101 to CP2105, CP2108, CP2102N.
 *
 * Facts: AN571 (CP210x virtual COM port interface), AN205 (rates). One interface for each port. Lines and line errors come
 * between the received bytes, so that nothing has to be asked for while a port is open.
 */
import { record, u32le, u8, viewOf } from "../../../bytes.js";
import type { FlushQueue, LineSettings, ModemLines, OutputLines } from "../../../rump/devsw.js";
import { type Attachment, type ControlRequest, defineDriver, type InPipe, type OutPipe } from "../usbdi.js";
import { type ChipLimits, type ChipOpen, type ChipSink, COMMON_LIMITS, type SerialChip } from "./chip.js";
import { ChipRequests } from "./control.js";
import { XOFF, XON } from "./soft-flow.js";
import { attachUcom } from "./ucom.js";
import { cpLines, EVENT_ESCAPE, EventDecoder } from "./uslsa-events.js";
import { USLSA_MATCH } from "./uslsa-match.js";
import { type CpPart, cpPartOf, cpRate } from "./uslsa-parts.js";

type Pipes = { readonly bulkIn: InPipe; readonly bulkOut: OutPipe };

const SPEC = "AN571";
/** bRequest, AN571 Table 4. */
const REQUEST = {
  IFC_ENABLE: 0x00,
  SET_LINE_CTL: 0x03,
  SET_BREAK: 0x05,
  SET_MHS: 0x07,
  GET_MDMSTS: 0x08,
  GET_COMM_STATUS: 0x10,
  PURGE: 0x12,
  SET_FLOW: 0x13,
  EMBED_EVENTS: 0x15,
  SET_CHARS: 0x19,
  SET_BAUDRATE: 0x1e,
  VENDOR_SPECIFIC: 0xff,
} as const;
const GET_PARTNUM = 0x370b;
const CP2102 = 0x02;
const PARITY: Readonly<Record<LineSettings["parity"], number>> = { none: 0, odd: 1, even: 2, mark: 3, space: 4 };
const STOP_BITS: Readonly<Record<LineSettings["stopBits"], number>> = { 1: 0, 1.5: 1, 2: 2 };
const PLAIN_FRAMES = { dataBits: [8], parities: ["none", "odd", "even"], stopBits: [1] } as const;
/** SET_MHS: the high byte says which lines are set to the low byte. */
const LINE = { DTR: 1, RTS: 2 } as const;
/** PURGE: bits 0 and 2 the transmit queue, 1 and 3 the receive queue. */
const PURGE: Readonly<Record<FlushQueue, number>> = { out: 0x05, in: 0x0a, both: 0x0f };

/** AN571 §5.19, Tables 9 to 11. */
const flowRecord = record("flow control", "AN571 §5.19", {
  ulControlHandshake: u32le,
  ulFlowReplace: u32le,
  ulXonLimit: u32le,
  ulXoffLimit: u32le,
});
/** ulControlHandshake: bits 1..0 DTR, static; bit 3: CTS holds the transmitter. */
const CTS_HANDSHAKE = 1 << 3;
/** ulFlowReplace: who sends and obeys XON and XOFF; bits 7..6: RTS low, high, or driven by the receive queue. */
const AUTO_TRANSMIT = 1 << 0;
const AUTO_RECEIVE = 1 << 1;
const RTS_STATIC_SHIFT = 6;
const RTS_BY_QUEUE = 2 << RTS_STATIC_SHIFT;
const FLOW_LIMIT_BYTES = 128;

/** AN571 §5.25. */
const charsRecord = record("special characters", "AN571 §5.25", {
  bEofChar: u8,
  bErrorChar: u8,
  bBreakChar: u8,
  bEventChar: u8,
  bXonChar: u8,
  bXoffChar: u8,
});
/** AN571 §5.16: the serial status response. */
const COMM_STATUS_BYTES = 19;
const OUT_QUEUE_OFFSET = 12;

/** Vendor requests to the interface of a port (AN571 §5), as rows have them. */
const PORT_IN = { direction: "in", type: "vendor", recipient: "interface" } as const;
const PORT_OUT = { direction: "out", type: "vendor", recipient: "interface" } as const;

export const uslsa = defineDriver({
  name: "uslsa",
  match: USLSA_MATCH,
  endpoints: { bulkIn: { type: "bulk", dir: "in" }, bulkOut: { type: "bulk", dir: "out" } },
  requests: [
    { ...PORT_OUT, request: REQUEST.IFC_ENABLE },
    { ...PORT_OUT, request: REQUEST.SET_LINE_CTL },
    { ...PORT_OUT, request: REQUEST.SET_BREAK },
    { ...PORT_OUT, request: REQUEST.SET_MHS },
    { ...PORT_IN, request: REQUEST.GET_MDMSTS, value: 0 },
    { ...PORT_IN, request: REQUEST.GET_COMM_STATUS, value: 0 },
    { ...PORT_OUT, request: REQUEST.PURGE },
    { ...PORT_OUT, request: REQUEST.SET_FLOW, value: 0 },
    { ...PORT_OUT, request: REQUEST.EMBED_EVENTS, value: EVENT_ESCAPE },
    { ...PORT_OUT, request: REQUEST.SET_CHARS, value: 0 },
    { ...PORT_OUT, request: REQUEST.SET_BAUDRATE, value: 0 },
    // Other values reach pins and what the chip keeps; this one asks what it is.
    {
      direction: "in",
      type: "vendor",
      recipient: "device",
      request: REQUEST.VENDOR_SPECIFIC,
      value: GET_PARTNUM,
    },
  ],
  attach,
});

async function attach(at: Attachment<Pipes>): Promise<void> {
  const requests = new ChipRequests(at.control, SPEC);
  // Copies of the CP2102 that have no embedded events answer one byte where two are asked for; the real one answers two.
  const answer = await requests.tryIn(
    { type: "vendor", recipient: "device", request: REQUEST.VENDOR_SPECIFIC, value: GET_PARTNUM, index: 0 },
    2,
  );
  const partNumber = answer?.[0];
  const hasEvents = !(partNumber === CP2102 && answer?.length === 1);
  if (!hasEvents) at.log("info", "a CP2102 without embedded events: changes of modem lines are not reported");
  const part = cpPartOf(partNumber, at.interfaceNumber);
  attachUcom(at, new CpPort(at, requests, part, hasEvents), at.pipes);
}

class CpPort implements SerialChip {
  readonly limits: ChipLimits;
  readonly #requests: ChipRequests;
  readonly #interfaceNumber: number;
  readonly #part: CpPart;
  readonly #hasEvents: boolean;
  readonly #events = new EventDecoder();
  #embedded = false;
  #outputs: OutputLines = { dtr: false, rts: false };
  #flowControl: LineSettings["flowControl"] = "none";

  constructor(at: Attachment<Pipes>, requests: ChipRequests, part: CpPart, hasEvents: boolean) {
    this.#requests = requests;
    this.#interfaceNumber = at.interfaceNumber;
    this.#part = part;
    this.#hasEvents = hasEvents;
    this.limits = {
      ...COMMON_LIMITS,
      ...(part.plainFrames === true ? PLAIN_FRAMES : {}),
      model: at.siblings.length > 0 ? `${part.name} port ${at.interfaceNumber}` : part.name,
      minBaud: part.minBaud,
      maxBaud: part.maxBaud,
      flowControls: ["none", "rtsCts", "xonXoff"],
      modemLines: hasEvents ? COMMON_LIMITS.modemLines : [],
      transmitBufferBytes: part.transmitBufferBytes,
      readPackets: 4,
    };
  }

  nearestBaud(baud: number): number {
    return Math.round(cpRate(this.#part, baud));
  }

  async open({ outputs, isResumed }: ChipOpen): Promise<void> {
    this.#outputs = outputs;
    if (!isResumed) {
      await this.#out(REQUEST.IFC_ENABLE, 1);
      await this.flush("both");
    }
    this.#events.reset();
    this.#embedded =
      this.#hasEvents && (await this.#requests.tryOut(this.#request(REQUEST.EMBED_EVENTS, EVENT_ESCAPE)));
  }

  /** RTS that the receive queue drives falls when that ends. */
  async close(): Promise<void> {
    this.#flowControl = "none";
    await this.#setFlow();
    await this.flush("both");
    await this.#out(REQUEST.IFC_ENABLE, 0);
  }

  async setLine(settings: LineSettings): Promise<void> {
    const rate = new Uint8Array(4);
    viewOf(rate).setUint32(0, settings.baud, true);
    await this.#out(REQUEST.SET_BAUDRATE, 0, rate);
    const { dataBits, parity, stopBits, flowControl } = settings;
    await this.#out(REQUEST.SET_LINE_CTL, (dataBits << 8) | (PARITY[parity] << 4) | STOP_BITS[stopBits]);
    this.#flowControl = flowControl;
    if (flowControl === "xonXoff") {
      const rest = { bEofChar: 0, bErrorChar: 0, bBreakChar: 0, bEventChar: 0 };
      await this.#out(REQUEST.SET_CHARS, 0, charsRecord.encode({ ...rest, bXonChar: XON, bXoffChar: XOFF }));
    }
    await this.#setFlow();
  }

  async setOutputs(outputs: OutputLines): Promise<void> {
    this.#outputs = outputs;
    const lines = (outputs.dtr ? LINE.DTR : 0) | (outputs.rts ? LINE.RTS : 0);
    const mask = LINE.DTR | (this.#flowControl === "rtsCts" ? 0 : LINE.RTS);
    await this.#out(REQUEST.SET_MHS, (mask << 8) | (lines & mask));
  }

  async setBreak(on: boolean): Promise<void> {
    await this.#out(REQUEST.SET_BREAK, on ? 1 : 0);
  }

  async readLines(): Promise<ModemLines> {
    const [status = 0] = await this.#requests.in(this.#request(REQUEST.GET_MDMSTS, 0), 1);
    return cpLines(status);
  }

  async transmitQueue(): Promise<number> {
    const status = await this.#requests.in(this.#request(REQUEST.GET_COMM_STATUS, 0), COMM_STATUS_BYTES);
    return viewOf(status).getUint32(OUT_QUEUE_OFFSET, true);
  }

  async flush(queue: FlushQueue): Promise<void> {
    await this.#out(REQUEST.PURGE, PURGE[queue]);
  }

  parseIn(packet: Uint8Array, sink: ChipSink): void {
    if (this.#embedded) this.#events.decode(packet, sink);
    else sink.data(packet);
  }

  async #setFlow(): Promise<void> {
    const byHardware = this.#flowControl === "rtsCts";
    const rts = byHardware ? RTS_BY_QUEUE : (this.#outputs.rts ? 1 : 0) << RTS_STATIC_SHIFT;
    const flow = flowRecord.encode({
      ulControlHandshake: (this.#outputs.dtr ? 1 : 0) | (byHardware ? CTS_HANDSHAKE : 0),
      ulFlowReplace: rts | (this.#flowControl === "xonXoff" ? AUTO_TRANSMIT | AUTO_RECEIVE : 0),
      ulXonLimit: FLOW_LIMIT_BYTES,
      ulXoffLimit: FLOW_LIMIT_BYTES,
    });
    await this.#out(REQUEST.SET_FLOW, 0, flow);
  }

  async #out(request: number, value: number, data?: Uint8Array): Promise<void> {
    await this.#requests.out(this.#request(request, value), data);
  }

  #request(request: number, value: number): ControlRequest {
    return { type: "vendor", recipient: "interface", request, value, index: this.#interfaceNumber };
  }
}
