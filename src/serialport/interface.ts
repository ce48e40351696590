/**
 * The interface between `@serialport/stream` and what it runs on: that of `@serialport/bindings-interface` 1.2.2, whose package
 * hides its types from modules.
 */

export interface OpenOptions {
  readonly path: string;
  /** Bits per second. */
  readonly baudRate: number;
  /** Default 8. */
  readonly dataBits?: 5 | 6 | 7 | 8;
  /** Nobody else may open the port. Default true. */
  readonly lock?: boolean;
  /** Default 1. */
  readonly stopBits?: 1 | 1.5 | 2;
  /** none, odd, even, mark, space. Default none. */
  readonly parity?: string;
  /** Flow control, each off by default. */
  readonly rtscts?: boolean;
  readonly xon?: boolean;
  readonly xoff?: boolean;
  readonly xany?: boolean;
  /** DTR falls at the close. Default true. */
  readonly hupcl?: boolean;
}

export interface SetOptions {
  readonly brk?: boolean;
  readonly cts?: boolean;
  readonly dsr?: boolean;
  readonly dtr?: boolean;
  readonly rts?: boolean;
}

export interface UpdateOptions {
  readonly baudRate: number;
}

export interface PortStatus {
  readonly cts: boolean;
  readonly dsr: boolean;
  readonly dcd: boolean;
}

export interface PortInfo {
  readonly path: string;
  readonly manufacturer: string | undefined;
  readonly serialNumber: string | undefined;
  readonly pnpId: string | undefined;
  readonly locationId: string | undefined;
  readonly productId: string | undefined;
  readonly vendorId: string | undefined;
}

/** Errors of reads and writes that the closing of the port has ended. */
export interface BindingsErrorInterface extends Error {
  readonly canceled?: boolean;
}

/** An open port. */
export interface BindingPortInterface {
  readonly openOptions: Required<OpenOptions>;
  readonly isOpen: boolean;
  /** Reads and writes under way end with `canceled`. */
  close(): Promise<void>;
  /** Resolves with at least one byte. Any error that is not `canceled` means that the device has gone. */
  read(buffer: Buffer, offset: number, length: number): Promise<{ buffer: Buffer; bytesRead: number }>;
  /** One at a time. */
  write(buffer: Buffer): Promise<void>;
  update(options: UpdateOptions): Promise<void>;
  /** What is not named gets its default: DTR and RTS on, no break. */
  set(options: SetOptions): Promise<void>;
  get(): Promise<PortStatus>;
  getBaudRate(): Promise<{ baudRate: number }>;
  /** Throws away what was received and not read, and what was written and not sent. */
  flush(): Promise<void>;
  /** Resolves when what was written has been sent. */
  drain(): Promise<void>;
}

export interface BindingInterface {
  list(): Promise<PortInfo[]>;
  open(options: OpenOptions): Promise<BindingPortInterface>;
}
