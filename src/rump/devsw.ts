/**
 * The device switch: what a finished device can do, by kind.
 *
 * A class driver publishes one of these; a link serves one of these; neither knows the other. `disk` and `tty` are
 * complete; the other kinds are drafts that fix the shape (NetBSD bdevsw/cdevsw), and get their details with their first
 * driver.
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
  /** Asked before the request is sent to a driver: false = nobody waits for it any more, and it ends in ECANCELED instead. */
  readonly isWanted?: () => boolean;
  /** Whose request it is, as an object of its own. Where many requests wait, clients take turns. */
  readonly client?: object;
}

export interface ReadOptions extends RequestOptions {
  /** The caller's memory of exactly the bytes that are asked for. A driver that can reads into it; what is returned says whether. */
  readonly into?: Uint8Array | undefined;
  /**
   * What is read is passed on and not looked at: it may be in memory that the driver's process can still change. It is to be
   * given to `recycle` then.
   */
  readonly passesOn?: boolean;
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
  read(firstBlock: number, blockCount: number, options?: ReadOptions): Promise<Uint8Array>;
  /** `data` is lent until the promise settles: whole blocks, at most `maxTransferBytes`. */
  write(firstBlock: number, data: Uint8Array, options?: WriteOptions): Promise<void>;
  /**
   * Memory for what is to be written, in which it goes to the driver without a copy; exactly so many bytes with anything in them.
   * To be given to `recycle`, once.
   */
  lend?(bytes: number): Uint8Array;
  /**
   * Takes back what `read` or `lend` returned, once, for the reads to come: nobody may look at it any more. Neither side has to: what is
   * not taken back is garbage.
   */
  recycle?(data: Uint8Array): void;
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
// tty

export const DATA_BITS = [5, 6, 7, 8] as const;
export type DataBits = (typeof DATA_BITS)[number];
export const PARITIES = ["none", "odd", "even", "mark", "space"] as const;
export type Parity = (typeof PARITIES)[number];
export const STOP_BITS = [1, 1.5, 2] as const;
export type StopBits = (typeof STOP_BITS)[number];
/** "xonXoff": DC1 (11h) and DC3 (13h) hold the other side, and are not data. */
export const FLOW_CONTROLS = ["none", "rtsCts", "xonXoff"] as const;
export type FlowControl = (typeof FLOW_CONTROLS)[number];

/** How characters look on the wire, and who may stop whom. */
export interface LineSettings {
  /** Bits per second, a whole number. */
  readonly baud: number;
  readonly dataBits: DataBits;
  readonly parity: Parity;
  readonly stopBits: StopBits;
  readonly flowControl: FlowControl;
}

export const MODEM_LINES = ["cts", "dsr", "dcd", "ri"] as const;
export type ModemLine = (typeof MODEM_LINES)[number];
/** What the other side drives. A line that the device does not have stays false. */
export type ModemLines = Readonly<Record<ModemLine, boolean>>;

/** What this side drives. */
export interface OutputLines {
  readonly dtr: boolean;
  readonly rts: boolean;
}

export const LINE_ERRORS = ["framing", "parity", "overrun", "break"] as const;
export type LineError = (typeof LINE_ERRORS)[number];
/** Counted from `open`. What a device tells by a flag may stand for more than one character. */
export type LineErrorCounts = Readonly<Record<LineError, number>>;

export interface TtyStatus {
  readonly lines: ModemLines;
  readonly errors: LineErrorCounts;
}

/** What the device can do; fixed while it is there. */
export interface TtyInfo {
  /** Chip and product, made safe for a terminal. */
  readonly model: string;
  readonly minBaud: number;
  readonly maxBaud: number;
  readonly dataBits: readonly DataBits[];
  readonly parities: readonly Parity[];
  readonly stopBits: readonly StopBits[];
  readonly flowControls: readonly FlowControl[];
  /** The lines whose changes are reported. */
  readonly modemLines: readonly ModemLine[];
  readonly canBreak: boolean;
  /** The device has a timer that `setLatency` sets. */
  readonly hasLatency: boolean;
}

/** How a line is opened: a device that comes back, or a new driver, is put into the same state by opening it again. */
export interface TtyOpen {
  readonly settings: LineSettings;
  readonly outputs: OutputLines;
  /**
   * The device has it open in about this state, since a driver that has ended: its buffers are left as they are, and neither
   * flow control nor the lines change on the way.
   */
  readonly isResumed?: boolean;
}

/** Whoever has the line open. The calls come one at a time, in the order in which things happened on the wire. */
export interface TtyReceiver {
  /** Bytes in order, never more than was granted. Lent for the call. */
  received(data: Uint8Array): void;
  /** A modem line or an error count changed; told before the bytes that arrived after it. */
  changed(status: TtyStatus): void;
  /** The line is closed and not by `close`: the device has gone (ENODEV) or failed (EIO). The last call. */
  closed(error: DeviceError): void;
}

export type FlushQueue = "in" | "out" | "both";

/** A serial line. Only one has it open. */
export interface Tty {
  readonly kind: "tty";
  readonly info: TtyInfo;
  /**
   * Opens the line. Nothing is received until bytes are granted.
   * @throws DeviceError EBUSY: it is open; LineSettingsError; ENODEV, EIO, ETIMEDOUT.
   */
  open(how: TtyOpen, receiver: TtyReceiver, options?: RequestOptions): Promise<TtyPort>;
}

/** An open line. After it has ended every method rejects with ENODEV. */
export interface TtyPort {
  /** As the device makes them: `baud` is the rate that it really has. */
  readonly settings: LineSettings;
  readonly outputs: OutputLines;
  /** @returns the settings as the device makes them. @throws LineSettingsError, and the old ones stay. */
  configure(settings: LineSettings, options?: RequestOptions): Promise<LineSettings>;
  /** Under RTS/CTS flow control the device drives RTS itself, and what is set counts when that ends. */
  setOutputs(outputs: Partial<OutputLines>, options?: RequestOptions): Promise<void>;
  /** Starts or ends a break condition, after what was written. @throws DeviceError EOPNOTSUPP */
  setBreak(on: boolean, options?: RequestOptions): Promise<void>;
  /** The lines and counters as they are now; asks the device where it can be asked. */
  status(options?: RequestOptions): Promise<TtyStatus>;
  /**
   * How long received bytes may be held to hand over more at once: by the device, where it has a timer for that, and on the way.
   * @returns milliseconds as set. @throws DeviceError EOPNOTSUPP: nothing of it can be set.
   */
  setLatency(latencyMs: number, options?: RequestOptions): Promise<number>;
  /**
   * Sends bytes, in the order of the calls. `data` is lent until the promise settles. Waits as long as flow control holds
   * the line.
   * @throws WriteError saying how many bytes the device took: a signal or `flush` (ECANCELED), ENODEV, EIO.
   */
  write(data: Uint8Array, options?: RequestOptions): Promise<void>;
  /** The receiver takes so many bytes more. Without a grant the device is held by its flow control. */
  grant(bytes: number): void;
  /** Resolves when what was written before has left the device, as far as it can tell. */
  drain(options?: RequestOptions): Promise<void>;
  /** Throws away what waits in the device and here. Writes that wait end as ECANCELED. */
  flush(queue: FlushQueue, options?: RequestOptions): Promise<void>;
  /** Closes the line at once: writes that wait end as ECANCELED, DTR and RTS fall. Idempotent; never rejects. */
  close(): Promise<void>;
}

/** The device cannot make these settings. */
export class LineSettingsError extends DeviceError {
  /** The nearest that it can. */
  readonly nearest: LineSettings;

  constructor(message: string, nearest: LineSettings) {
    super("EINVAL", message);
    this.name = "LineSettingsError";
    this.nearest = nearest;
  }
}

/** A write that did not come to its end. */
export class WriteError extends DeviceError {
  /** From the start of the data; the device has these, and none behind them. */
  readonly bytesTaken: number;

  constructor(code: DeviceErrorCode, message: string, bytesTaken: number, options?: ErrorOptions) {
    super(code, message, options);
    this.name = "WriteError";
    this.bytesTaken = bytesTaken;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Drafts

/** A device that delivers what it has when it has it. `receive` may be called with memory that is lent for the call. */
interface Receiver {
  /** Installs the reader; the returned function says that it can take more (back-pressure). */
  onReceive(receive: (data: Uint8Array) => void): { readonly resume: () => void };
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
