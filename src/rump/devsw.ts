/**
 * The device switch: what a finished device can do, by kind.
 *
 * A class driver publishes one of these; a link serves one of these; neither knows the other. `disk` is complete; the
 * other kinds are drafts that fix the shape (NetBSD bdevsw/cdevsw), and get their details with their first driver.
 */

export type DeviceKind = Device["kind"];

/** Whatever a driver may publish. */
export type Device = Disk | Tty | Input | Net | Printer | Hci | Audio | Midi | Video | Char;

export interface DiskInfo {
  /** 512, 1024, 2048 or 4096. */
  readonly blockBytes: number;
  /** Blocks on the medium; `blockBytes * blockCount` stays below 2^53. */
  readonly blockCount: number;
  readonly readOnly: boolean;
  readonly removable: boolean;
  /** The device has a volatile cache: an acknowledged write is safe only after `flush`. */
  readonly volatileCache: boolean;
  readonly canTrim: boolean;
  readonly canWriteZeroes: boolean;
  /** The most bytes that make one command; longer requests are split by whoever issues them. */
  readonly maxTransferBytes: number;
  /** Vendor, product, revision as the device prints them, made safe for a terminal. */
  readonly model: string;
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
}

export interface WriteOptions extends RequestOptions {
  /** Resolve only when the data is on the medium, not in a cache (FUA). */
  readonly forceUnitAccess?: boolean;
}

/**
 * A block device. Requests may be issued in any number; the driver queues them and answers each exactly once.
 * Every method rejects with a `DeviceError`.
 */
export interface Disk {
  readonly kind: "disk";
  readonly info: DiskInfo;
  /** @returns exactly `blockCount * blockBytes` bytes, the caller's. At most `maxTransferBytes`. */
  read(firstBlock: number, blockCount: number, options?: RequestOptions): Promise<Uint8Array>;
  /** `data` is lent until the promise settles: whole blocks, at most `maxTransferBytes`. */
  write(firstBlock: number, data: Uint8Array, options?: WriteOptions): Promise<void>;
  /** Resolves when every write that was answered before the call is on the medium. */
  flush(options?: RequestOptions): Promise<void>;
  /** The blocks' contents may be forgotten. */
  trim(firstBlock: number, blockCount: number, options?: RequestOptions): Promise<void>;
  /** Makes the blocks read as zeroes. */
  writeZeroes(firstBlock: number, blockCount: number, options?: WriteOptions): Promise<void>;
}

/** Why a device request failed, in the words of errno(3). The numbers on the wire are pud's. */
export type DeviceErrorCode =
  | "EIO" // the device or the bus failed
  | "EINVAL" // outside the device, misaligned, malformed
  | "EROFS" // write protected
  | "ENOSPC" // beyond the end
  | "ENOMEDIUM" // no medium
  | "ENODEV" // the device has gone
  | "ESTALE" // the medium was changed under the request; it was not replayed
  | "EOPNOTSUPP" // the device cannot do this
  | "ECANCELED" // the caller's signal
  | "ETIMEDOUT"
  | "EBUSY"
  | "ENOMEM";

export class DeviceError extends Error {
  readonly code: DeviceErrorCode;

  constructor(code: DeviceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "DeviceError";
    this.code = code;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Drafts

export interface LineSettings {
  readonly baud: number;
  readonly dataBits: 5 | 6 | 7 | 8;
  readonly parity: "none" | "odd" | "even" | "mark" | "space";
  readonly stopBits: 1 | 1.5 | 2;
}

export interface ModemLines {
  readonly cts: boolean;
  readonly dsr: boolean;
  readonly dcd: boolean;
  readonly ri: boolean;
}

/** A device that delivers what it has when it has it. `receive` may be called with memory that is lent for the call. */
interface Receiver {
  /** Installs the reader; the returned function says that it can take more (back-pressure). */
  onReceive(receive: (data: Uint8Array) => void): { readonly resume: () => void };
}

export interface Tty extends Receiver {
  readonly kind: "tty";
  open(settings: LineSettings, options?: RequestOptions): Promise<void>;
  close(): Promise<void>;
  configure(settings: LineSettings, options?: RequestOptions): Promise<LineSettings>;
  setLines(lines: { readonly dtr?: boolean; readonly rts?: boolean; readonly break?: boolean }): Promise<void>;
  onLines(changed: (lines: ModemLines) => void): void;
  write(data: Uint8Array, options?: RequestOptions): Promise<void>;
  drain(options?: RequestOptions): Promise<void>;
}

export interface Input {
  readonly kind: "input";
  /** HID report descriptor as the device gave it (HID 1.11 §7.1.1). */
  readonly reportDescriptor: Uint8Array;
  onReport(received: (report: Uint8Array) => void): void;
  setReport(report: Uint8Array, options?: RequestOptions): Promise<void>;
}

export interface Net extends Receiver {
  readonly kind: "net";
  /** 6 bytes. */
  readonly macAddress: Uint8Array;
  readonly maxFrameBytes: number;
  onCarrier(changed: (up: boolean) => void): void;
  send(frame: Uint8Array, options?: RequestOptions): Promise<void>;
}

export interface Printer extends Receiver {
  readonly kind: "printer";
  /** IEEE 1284 device id. */
  readonly deviceId: string;
  status(options?: RequestOptions): Promise<{ paperEmpty: boolean; selected: boolean; error: boolean }>;
  write(data: Uint8Array, options?: RequestOptions): Promise<void>;
}

export interface Hci extends Receiver {
  readonly kind: "hci";
  send(packet: Uint8Array, options?: RequestOptions): Promise<void>;
}

export interface Audio {
  readonly kind: "audio";
  readonly formats: readonly { readonly rateHz: number; readonly channels: number; readonly bits: number }[];
}

export interface Midi extends Receiver {
  readonly kind: "midi";
  send(message: Uint8Array, options?: RequestOptions): Promise<void>;
}

export interface Video {
  readonly kind: "video";
  readonly formats: readonly { readonly fourcc: string; readonly width: number; readonly height: number }[];
}

export interface Char extends Receiver {
  readonly kind: "char";
  write(data: Uint8Array, options?: RequestOptions): Promise<void>;
}
