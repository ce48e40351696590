/**
 * Importing a device: the first exchange on a USB/IP connection (usbip_protocol, OP_REQ_IMPORT and OP_REP_IMPORT).
 */
import { hex } from "../../bytes.js";
import type { ByteStream, Clock, Speed } from "../../rumpuser/rumpuser.js";
import { RecordReader } from "./reader.js";
import {
  BUS_ID_BYTES,
  devidOf,
  exportedDevice,
  importRequest,
  OP_CODE,
  OP_STATUS,
  opHeader,
  speedOfCode,
  textOf,
  USBIP_VERSION,
  zeroTerminated,
} from "./wire.js";

/** A server that is there answers an import in milliseconds; Linux's may have to unbind a driver first. */
const IMPORT_TIMEOUT_MS = 5000;

export type UsbipErrorCode =
  | "USBIP_NO_DEVICE" // the server exports nothing by that bus id
  | "USBIP_BUSY" // somebody else has imported it
  | "USBIP_REFUSED" // the server says no, for a reason it does not name
  | "USBIP_VERSION" // the server speaks another version
  | "USBIP_PROTOCOL" // what came is not USB/IP
  | "USBIP_CLOSED" // the connection ended
  | "USBIP_TIMED_OUT";

/** A device could not be imported. */
export class UsbipError extends Error {
  readonly code: UsbipErrorCode;

  constructor(code: UsbipErrorCode, message: string) {
    super(message);
    this.name = "UsbipError";
    this.code = code;
  }
}

/** What the server says of the device it hands over. */
export interface ImportedDevice {
  readonly speed: Speed;
  /** Goes into the header of every URB. */
  readonly devid: number;
}

const REFUSALS: ReadonlyMap<number, { readonly code: UsbipErrorCode; readonly why: string }> = new Map([
  [OP_STATUS.DEVICE_BUSY, { code: "USBIP_BUSY", why: "it is imported by somebody else" }],
  [OP_STATUS.NO_DEVICE, { code: "USBIP_NO_DEVICE", why: "the server exports no such device" }],
]);

/**
 * Asks the server for the device with this bus id ("1-1"). The stream's listeners are replaced by others afterwards.
 *
 * @throws UsbipError; the stream is destroyed then.
 */
export function importDevice(
  stream: ByteStream,
  options: { readonly busId: string; readonly clock: Clock },
): Promise<ImportedDevice> {
  const { busId, clock } = options;
  return new Promise((resolve, reject) => {
    let request: Uint8Array;
    try {
      request = importRequest.encode({ busid: zeroTerminated(busId, BUS_ID_BYTES) });
    } catch (error) {
      stream.destroy();
      reject(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    const exchange = new ImportExchange(busId, {
      done(device) {
        timer.cancel();
        resolve(device);
      },
      failed(error) {
        timer.cancel();
        stream.destroy();
        reject(error);
      },
    });
    const timer = clock.startTimer(IMPORT_TIMEOUT_MS, () =>
      exchange.fail("USBIP_TIMED_OUT", `no answer from the server within ${IMPORT_TIMEOUT_MS} ms`),
    );
    stream.onClose((reason) => exchange.fail("USBIP_CLOSED", `the connection ended: ${reason}`));
    stream.onData((chunk) => exchange.push(chunk));
    stream.write([opHeader.encode({ version: USBIP_VERSION, code: OP_CODE.REQ_IMPORT, status: 0 }), request]);
  });
}

class ImportExchange {
  readonly #busId: string;
  readonly #outcome: { done(device: ImportedDevice): void; failed(error: UsbipError): void };
  readonly #reader: RecordReader;
  #received = 0;
  #device: ImportedDevice | undefined;
  #over = false;

  constructor(busId: string, outcome: { done(device: ImportedDevice): void; failed(error: UsbipError): void }) {
    this.#busId = busId;
    this.#outcome = outcome;
    this.#reader = new RecordReader(opHeader.size, exportedDevice.size, {
      onHeader: (_view, bytes) => {
        if (bytes.length === opHeader.size) this.#takeHeader(bytes);
        else this.#takeDevice(bytes);
        return undefined;
      },
      onPayload: () => undefined,
    });
  }

  /** The end of the exchange. A chunk that holds more than the answer is no answer. */
  push(chunk: Uint8Array): void {
    if (this.#over) return;
    this.#received += chunk.length;
    this.#reader.push(chunk);
    const expected = opHeader.size + exportedDevice.size;
    if (this.#device === undefined) return;
    if (this.#received > expected)
      this.fail("USBIP_PROTOCOL", `${this.#received - expected} bytes after the reply that nobody asked for`);
    if (this.#over) return;
    this.#over = true;
    this.#outcome.done(this.#device);
  }

  fail(code: UsbipErrorCode, why: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#reader.stop();
    this.#outcome.failed(new UsbipError(code, `importing ${this.#busId}: ${why}`));
  }

  #takeHeader(bytes: Uint8Array): void {
    const { version, code, status } = opHeader.decode(bytes);
    if (code !== OP_CODE.REP_IMPORT)
      return this.fail("USBIP_PROTOCOL", `the reply starts ${hex(bytes)}, which is no OP_REP_IMPORT`);
    if (version !== USBIP_VERSION)
      return this.fail(
        "USBIP_VERSION",
        `the server speaks version ${version.toString(16)}, this side ${USBIP_VERSION.toString(16)} (hex)`,
      );
    if (status !== OP_STATUS.OK) {
      const { code: errorCode, why } = REFUSALS.get(status) ?? {
        code: "USBIP_REFUSED" as const,
        why: `the server refuses with status ${status}`,
      };
      return this.fail(errorCode, why);
    }
    this.#reader.expect(exportedDevice.size);
  }

  #takeDevice(bytes: Uint8Array): void {
    const device = exportedDevice.decode(bytes);
    const speed = speedOfCode(device.speed);
    if (textOf(device.busid) !== this.#busId)
      return this.fail("USBIP_PROTOCOL", `the reply is about a device with bus id ${hex(device.busid)}`);
    if (speed === undefined) return this.fail("USBIP_PROTOCOL", `speed code ${device.speed} is none of USB's`);
    this.#reader.stop();
    this.#device = { speed, devid: devidOf(device.busnum, device.devnum) };
  }
}
