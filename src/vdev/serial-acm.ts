/**
 * A CDC abstract control model as a device model. Written from CDC 1.2 and PSTN 1.2.
 *
 * Shapes: with a union descriptor; without one, and call management names the data interface; without any functional
 * descriptor; everything on one interface. Each with several ports.
 */
import type { SetupPacket } from "../dev/usb/usb.js";
import type { InterfaceDescription } from "./descriptor-set.js";
import type { ControlReply } from "./function.js";
import { ACM_DESCRIPTORS, AcmLine, acmState, serialState } from "./serial-acm-line.js";
import { SerialModel, type SerialOptions, type SerialPort } from "./serial-model.js";

export const ACM_SHAPES = ["union", "no-union", "bare", "one-interface"] as const;
export type AcmShape = (typeof ACM_SHAPES)[number];

export interface AcmOptions extends SerialOptions {
  /** Default "union". */
  readonly shape?: AcmShape;
  /** 1 to 4. */
  readonly ports?: number;
}

const IDS = { vendor: 0x1209, product: 0x0002 };
const PACKET_BYTES = 64;
const NOTIFICATION_PACKET_BYTES = 16;
const BUFFER_BYTES = 512;

export class AcmModel extends SerialModel {
  readonly #lines: readonly AcmLine[];
  /** Interfaces of a port. */
  readonly #step: number;

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
    this.#step = shape === "one-interface" ? 1 : 2;
    this.#lines = this.ports.map(({ uart }) => new AcmLine(uart, this.clock));
  }

  protected override request(setup: SetupPacket, out: Uint8Array): ControlReply {
    // Of the control interface: the data interface has none.
    const line = setup.wIndex % this.#step === 0 ? this.#lines[setup.wIndex / this.#step] : undefined;
    return line?.request(setup, out) ?? "stalled";
  }

  protected override serveIn(port: SerialPort): void {
    this.servePlain(port);
  }

  protected override serveNotifications(port: SerialPort): void {
    const { inputs } = port.uart;
    this.serveStatus(port, acmState(inputs, []), (errors) =>
      serialState(port.index * this.#step, acmState(inputs, errors)),
    );
  }

  protected override onReset(): void {
    for (const line of this.#lines) line.reset();
    super.onReset();
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
  const comm: InterfaceDescription = {
    interfaceNumber: control,
    interfaceClass: 0x02,
    interfaceSubClass: 0x02,
    interfaceProtocol: 0x01,
    endpoints: shape === "one-interface" ? [notify, ...data] : [notify],
    extra: functionalDescriptors(shape, control),
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

function functionalDescriptors(shape: AcmShape, control: number): Uint8Array[] {
  const { header, acm, callManagement, union } = ACM_DESCRIPTORS;
  const rows: Readonly<Record<AcmShape, Uint8Array[]>> = {
    union: [header, callManagement(control + 1), acm, union(control, control + 1)],
    "no-union": [header, callManagement(control + 1), acm],
    bare: [],
    "one-interface": [header, acm],
  };
  return rows[shape];
}
