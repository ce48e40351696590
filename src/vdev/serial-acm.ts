/**
 * A CDC abstract control model as a device model. Written from CDC 1.2 and PSTN 1.2.
 *
 * Shapes: with a union descriptor, without one, everything on one interface, and several ports.
 */
import { viewOf } from "../bytes.js";
import type { SetupPacket } from "../dev/usb/usb.js";
import type { InterfaceDescription } from "./descriptor-set.js";
import type { ControlReply } from "./function.js";
import { requestKey, SerialModel, type SerialOptions, type SerialPort, when } from "./serial-model.js";
import type { UartError, UartInputs } from "./serial-uart.js";

export const ACM_SHAPES = ["union", "no-union", "one-interface"] as const;
export type AcmShape = (typeof ACM_SHAPES)[number];

export interface AcmOptions extends SerialOptions {
  /** Default "union". */
  readonly shape?: AcmShape;
  /** 1 to 4. */
  readonly ports?: number;
}

const IDS = { vendor: 0x1209, product: 0x0002 };
const OUT = 0x21 << 8;
const IN = 0xa1 << 8;
/** PSTN 1.2 Table 13. */
const REQUEST = { SET_LINE_CODING: 0x20, GET_LINE_CODING: 0x21, SET_CONTROL_LINE_STATE: 0x22, SEND_BREAK: 0x23 };
const LINE_CODING_BYTES = 7;
const SERIAL_STATE = 0x20;
const STATE_ERRORS: Readonly<Record<UartError, number>> = { break: 0x04, framing: 0x10, parity: 0x20, overrun: 0x40 };
const PARITIES = ["none", "odd", "even", "mark", "space"] as const;
const STOP_BITS = [1, 1.5, 2] as const;
/** bmCapabilities: line coding and state, break (PSTN 1.2 Table 4). */
const CAPABILITIES = 0x06;
const PACKET_BYTES = 64;
const NOTIFICATION_PACKET_BYTES = 16;
const BUFFER_BYTES = 512;

export class AcmModel extends SerialModel {
  readonly #shape: AcmShape;
  readonly #coding = new Map<number, Uint8Array>();
  readonly #breakTimers = new Map<number, { cancel: () => void }>();

  constructor(options: AcmOptions) {
    const { shape = "union", ports = 1 } = options;
    const layouts = Array.from({ length: ports }, (_, n) => ({
      bulkIn: 0x81 + 2 * n,
      bulkOut: 0x01 + 2 * n,
      interruptIn: 0x82 + 2 * n,
      transmitBytes: BUFFER_BYTES,
      receiveBytes: BUFFER_BYTES,
    }));
    super(
      {
        speed: "full",
        ...IDS,
        revision: 0x0100,
        deviceClass: shape === "one-interface" ? 0 : 0x02,
        manufacturer: "rumpusb",
        productName: "Modem",
        serial: "ACM1",
        interfaces: layouts.flatMap((layout, n) => interfacesOf(shape, n, layout)),
      },
      layouts,
      options,
    );
    this.#shape = shape;
  }

  protected override request(setup: SetupPacket, out: Uint8Array): ControlReply {
    const step = this.#shape === "one-interface" ? 1 : 2;
    const port = setup.wIndex % step === 0 ? this.ports[setup.wIndex / step] : undefined;
    const { wValue } = setup;
    if (port === undefined) return "stalled";
    switch (requestKey(setup)) {
      case OUT | REQUEST.SET_LINE_CODING:
        return wValue === 0 ? this.#setCoding(port, out) : "stalled";
      case IN | REQUEST.GET_LINE_CODING:
        return this.#coding.get(port.index) ?? Uint8Array.of(0x80, 0x25, 0, 0, 0, 0, 8);
      case OUT | REQUEST.SET_CONTROL_LINE_STATE:
        return when(wValue <= 3 && out.length === 0, () =>
          port.uart.setOutputs({ dtr: (wValue & 1) !== 0, rts: (wValue & 2) !== 0 }),
        );
      case OUT | REQUEST.SEND_BREAK:
        return when(out.length === 0, () => this.#sendBreak(port, wValue));
      default:
        return "stalled";
    }
  }

  protected override serveIn(port: SerialPort): void {
    this.servePlain(port);
  }

  protected override serveNotifications(port: SerialPort): void {
    const { dcd, dsr, ri }: UartInputs = port.uart.inputs;
    const lines = (dcd ? 1 : 0) | (dsr ? 2 : 0) | (ri ? 8 : 0);
    this.serveStatus(port, lines, (errors) => {
      let state = lines;
      for (const error of errors) state |= STATE_ERRORS[error];
      const interfaceNumber = port.index * (this.#shape === "one-interface" ? 1 : 2);
      return Uint8Array.of(0xa1, SERIAL_STATE, 0, 0, interfaceNumber, 0, 2, 0, state, 0);
    });
  }

  protected override onReset(): void {
    for (const timer of this.#breakTimers.values()) timer.cancel();
    this.#breakTimers.clear();
    this.#coding.clear();
    super.onReset();
  }

  #setCoding(port: SerialPort, coding: Uint8Array): ControlReply {
    if (coding.length !== LINE_CODING_BYTES) return "stalled";
    const baud = viewOf(coding).getUint32(0, true);
    const stopBits = STOP_BITS[coding[4] ?? 255];
    const parity = PARITIES[coding[5] ?? 255];
    const dataBits = coding[6] ?? 0;
    const right = baud > 0 && dataBits >= 5 && dataBits <= 8 && stopBits !== undefined && parity !== undefined;
    return when(right, () => {
      this.#coding.set(port.index, coding.slice());
      port.uart.configure({ baud, dataBits, parity: parity ?? "none", stopBits: stopBits ?? 1 });
    });
  }

  /** For so many milliseconds; FFFFh until it is ended with 0 (PSTN 1.2 §6.3.13). */
  #sendBreak(port: SerialPort, durationMs: number): void {
    this.#breakTimers.get(port.index)?.cancel();
    this.#breakTimers.delete(port.index);
    port.uart.setBreak(durationMs > 0);
    if (durationMs > 0 && durationMs < 0xffff)
      this.#breakTimers.set(
        port.index,
        this.clock.startTimer(durationMs, () => port.uart.setBreak(false)),
      );
  }
}

interface Endpoints {
  readonly bulkIn: number;
  readonly bulkOut: number;
  readonly interruptIn: number;
}

function interfacesOf(shape: AcmShape, n: number, { bulkIn, bulkOut, interruptIn }: Endpoints): InterfaceDescription[] {
  const control = shape === "one-interface" ? n : 2 * n;
  const data = [
    { endpointAddress: bulkIn, type: "bulk", maxPacketBytes: PACKET_BYTES },
    { endpointAddress: bulkOut, type: "bulk", maxPacketBytes: PACKET_BYTES },
  ] as const;
  const notify = {
    endpointAddress: interruptIn,
    type: "interrupt",
    maxPacketBytes: NOTIFICATION_PACKET_BYTES,
    bInterval: 16,
  } as const;
  const header = Uint8Array.of(5, 0x24, 0x00, 0x20, 0x01);
  const acm = Uint8Array.of(4, 0x24, 0x02, CAPABILITIES);
  const union = Uint8Array.of(5, 0x24, 0x06, control, control + 1);
  const comm: InterfaceDescription = {
    interfaceNumber: control,
    interfaceClass: 0x02,
    interfaceSubClass: 0x02,
    interfaceProtocol: 0x01,
    endpoints: shape === "one-interface" ? [notify, ...data] : [notify],
    extra: shape === "union" ? [header, acm, union] : [header, acm],
  };
  if (shape === "one-interface") return [comm];
  const dataInterface = {
    interfaceNumber: control + 1,
    interfaceClass: 0x0a,
    interfaceSubClass: 0,
    interfaceProtocol: 0,
    endpoints: data,
  };
  return [comm, dataInterface];
}
