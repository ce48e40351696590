/**
 * What a USB/IP server exports: device models by bus id, each for one importer at a time.
 */
import { viewOf } from "../bytes.js";
import { DESCRIPTOR, TRANSFER_TYPES } from "../dev/usb/usb.js";
import {
  BUS_ID_BYTES,
  devidOf,
  exportedDevice,
  exportedInterface,
  SPEED_CODES,
  zeroTerminated,
} from "../dev/usbip/wire.js";
import type { TransferType } from "../rumpuser/rumpuser.js";
import type { DeviceModel } from "./model.js";

/** "1-1", "2-1.4": bus number, then the ports on the way, as Linux writes it. */
const BUS_ID = /^[1-9][0-9]{0,2}-[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,5}$/;

/** Bounds the reply to OP_REQ_DEVLIST; a bus has 127 addresses (USB 2.0 §9.4.6). */
const MAX_EXPORTS = 127;

/** A bus id that cannot be exported. */
export class ExportError extends Error {
  readonly code: "EXPORT_BUS_ID" | "EXPORT_TAKEN" | "EXPORT_LIMIT";

  constructor(code: "EXPORT_BUS_ID" | "EXPORT_TAKEN" | "EXPORT_LIMIT", message: string) {
    super(message);
    this.name = "ExportError";
    this.code = code;
  }
}

/** A connection that has imported a device. */
export interface Importer {
  /** Ends the connection: the device has gone. */
  end(reason: string): void;
}

/** One exported device. */
export interface Export {
  readonly busId: string;
  readonly model: DeviceModel;
  /** What every URB for this device carries. */
  readonly devid: number;
  /** The device as OP_REP_IMPORT tells of it. */
  readonly device: Uint8Array;
  /** Its interfaces, as OP_REP_DEVLIST adds them. */
  readonly interfaces: Uint8Array;
  /** By endpoint address, out of all alternate settings; the protocol does not carry the type. */
  readonly endpointTypes: ReadonlyMap<number, TransferType>;
  importer: Importer | undefined;
}

export class ExportTable {
  readonly #exports = new Map<string, Export>();
  #lastDevnum = 0;

  /** In the order in which they were plugged. */
  list(): readonly Export[] {
    return [...this.#exports.values()];
  }

  find(busId: string): Export | undefined {
    return this.#exports.get(busId);
  }

  /**
   * Exports a model, until it unplugs itself or `unplug` is called. The model stays its maker's: it is not closed.
   * @throws ExportError not a bus id, bus id in use, too many
   */
  plug(busId: string, model: DeviceModel): void {
    if (!BUS_ID.test(busId) || busId.length >= BUS_ID_BYTES)
      throw new ExportError("EXPORT_BUS_ID", `"${busId}" is no bus id: BUS-PORT[.PORT…] such as 1-1 or 1-1.2`);
    if (this.#exports.has(busId)) throw new ExportError("EXPORT_TAKEN", `bus id ${busId} is exported already`);
    if (this.#exports.size >= MAX_EXPORTS)
      throw new ExportError("EXPORT_LIMIT", `${MAX_EXPORTS} devices are exported, no more fit on a bus`);
    this.#lastDevnum = (this.#lastDevnum % 0xfffe) + 1;
    this.#exports.set(busId, describe(busId, model, this.#lastDevnum));
    model.onUnplug(() => {
      // By then another device may have the bus id.
      if (this.#exports.get(busId)?.model === model) this.unplug(busId, "the device was unplugged");
    });
  }

  /** Takes a device from the list and ends its importer's connection. @returns false when there is none. */
  unplug(busId: string, reason: string): boolean {
    const gone = this.#exports.get(busId);
    if (gone === undefined) return false;
    this.#exports.delete(busId);
    gone.importer?.end(reason);
    return true;
  }
}

function describe(busId: string, model: DeviceModel, devnum: number): Export {
  const descriptor = viewOf(model.deviceDescriptor);
  const { configurationValue, interfaces, endpointTypes } = readConfiguration(model.configurationDescriptor);
  const busnum = Number.parseInt(busId, 10);
  return {
    busId,
    model,
    devid: devidOf(busnum, devnum),
    device: exportedDevice.encode({
      path: zeroTerminated(`/sys/devices/platform/rumpusb/usb${busnum}/${busId}`, 256),
      busid: zeroTerminated(busId, BUS_ID_BYTES),
      busnum,
      devnum,
      speed: SPEED_CODES[model.speed],
      // Offsets of USB 2.0 Table 9-8.
      idVendor: descriptor.getUint16(8, true),
      idProduct: descriptor.getUint16(10, true),
      bcdDevice: descriptor.getUint16(12, true),
      bDeviceClass: descriptor.getUint8(4),
      bDeviceSubClass: descriptor.getUint8(5),
      bDeviceProtocol: descriptor.getUint8(6),
      bConfigurationValue: configurationValue,
      bNumConfigurations: descriptor.getUint8(17),
      bNumInterfaces: interfaces.length / exportedInterface.size,
    }),
    interfaces,
    endpointTypes,
    importer: undefined,
  };
}

/**
 * Reads what the protocol wants to know of a configuration. A model may lie in its descriptors on purpose, so what does
 * not fit ends the walk and is no error here (USB 2.0 §9.6.3, §9.6.5, §9.6.6).
 */
function readConfiguration(block: Uint8Array): {
  configurationValue: number;
  interfaces: Uint8Array;
  endpointTypes: Map<number, TransferType>;
} {
  const interfaces = new Map<number, Uint8Array>();
  const endpointTypes = new Map<number, TransferType>();
  for (let at = 0; at + 2 <= block.length; ) {
    const length = block[at] ?? 0;
    if (length < 2 || at + length > block.length) break;
    const field = (offset: number): number => (offset < length ? (block[at + offset] ?? 0) : 0);
    const interfaceNumber = field(2);
    if (field(1) === DESCRIPTOR.INTERFACE && !interfaces.has(interfaceNumber))
      interfaces.set(
        interfaceNumber,
        exportedInterface.encode({
          bInterfaceClass: field(5),
          bInterfaceSubClass: field(6),
          bInterfaceProtocol: field(7),
          padding: 0,
        }),
      );
    if (field(1) === DESCRIPTOR.ENDPOINT) endpointTypes.set(field(2), TRANSFER_TYPES[field(3) & 3] ?? "bulk");
    at += length;
  }
  // bNumInterfaces has eight bits.
  const told = [...interfaces.values()].slice(0, 255);
  const bytes = new Uint8Array(told.length * exportedInterface.size);
  told.forEach((one, index) => bytes.set(one, index * exportedInterface.size));
  return { configurationValue: block[5] ?? 0, interfaces: bytes, endpointTypes };
}
