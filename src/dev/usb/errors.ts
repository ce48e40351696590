/**
 * What can go wrong between a driver and its device, by what the caller does next.
 *
 * | class            | means                                | who acts                                         |
 * | TransferError    | the bus gave up; `code` says how     | driver: recover, bounded; detach on DISCONNECTED |
 * | ProtocolError    | the device broke its specification   | driver: reset recovery                           |
 * | DescriptorError  | a descriptor cannot be                | explorer: skip the interface or the device       |
 * | UnsupportedError | a fine device, not for this driver   | autoconf: the next driver                        |
 */
import { hex } from "../../bytes.js";

export type TransferErrorCode =
  | "USB_TIMED_OUT"
  | "USB_CANCELLED"
  | "USB_DISCONNECTED"
  | "USB_OVERFLOW"
  | "USB_IO"
  | "USB_STALLED";

export class TransferError extends Error {
  readonly code: TransferErrorCode;

  constructor(code: TransferErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "TransferError";
    this.code = code;
  }
}

export class ProtocolError extends Error {
  readonly code = "USB_PROTOCOL";
  /** The section that was broken, `BOT 1.0 §6.3`. */
  readonly spec: string;
  /** What the device sent, as far as it matters. */
  readonly bytes: Uint8Array;

  constructor(message: string, spec: string, bytes: Uint8Array = new Uint8Array(0)) {
    super(bytes.length > 0 ? `${message} (${spec}); got ${hex(bytes)}` : `${message} (${spec})`);
    this.name = "ProtocolError";
    this.spec = spec;
    this.bytes = bytes;
  }
}

export class DescriptorError extends Error {
  readonly code = "USB_DESCRIPTOR";
  readonly bytes: Uint8Array;

  constructor(message: string, bytes: Uint8Array) {
    super(`${message}; got ${hex(bytes)}`);
    this.name = "DescriptorError";
    this.bytes = bytes;
  }
}

export class UnsupportedError extends Error {
  readonly code = "USB_UNSUPPORTED";

  constructor(message: string) {
    super(message);
    this.name = "UnsupportedError";
  }
}
