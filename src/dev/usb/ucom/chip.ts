/**
 * What ucom needs of a serial chip: the interface that every chip family implements in its own file.
 *
 * A chip object knows registers and packets; queues, flow of data, errors and life cycle are ucom's.
 */
import type { FlushQueue, LineError, LineSettings, ModemLines, OutputLines, TtyInfo } from "../../../rump/devsw.js";
import type { InPipe, OutPipe } from "../usbdi.js";

/** How a UART is switched on. */
export interface ChipOpen {
  /** As they are driven from then on; `setOutputs` follows. */
  readonly outputs: OutputLines;
  /** As TtyOpen.isResumed: nothing is reset or thrown away. */
  readonly isResumed: boolean;
}

/** Where a chip puts what a packet says, in the order of the wire. */
export interface ChipSink {
  /** Received bytes, a view of the packet. */
  data(bytes: Uint8Array): void;
  /** The lines as they are now; those that are left out are as before. */
  lines(lines: Partial<ModemLines>): void;
  /** A flag was raised once. */
  error(error: LineError): void;
}

/** What the chip can do. `flowControls` are those that it does itself; ucom adds what can be done in software. */
export interface ChipLimits extends TtyInfo {
  /** Bytes that the chip may hold to be sent. */
  readonly transmitBufferBytes: number;
  /**
   * Packets of one read. More than 1 only for a chip that ends what it has with a short packet: a read that is not full
   * would keep its bytes.
   */
  readonly readPackets: number;
  /** It waits some milliseconds for a packet to become full. Others send what they have a thousand times a second. */
  readonly fillsPackets?: boolean;
  /** A packet of so many bytes carries no data, and is sent again and again. Default 0: there is none. */
  readonly idleBytes?: number;
  /** Reads in flight, for a device that bears no more. */
  readonly maxReads?: number;
}

/**
 * One UART. Every method that asks the device throws TransferError, or ProtocolError when the answer is wrong. ucom calls
 * them one at a time, and `parse…` at any time while the port is open.
 */
export interface SerialChip {
  readonly limits: ChipLimits;
  /** The nearest rate that the chip makes to one within its limits. */
  nearestBaud(baud: number): number;
  /** Switches the UART on. Settings and lines are set next, before anything is read. */
  open(how: ChipOpen): Promise<void>;
  /** Settings that fit the limits, `baud` as it was asked for. */
  setLine(settings: LineSettings): Promise<void>;
  setOutputs(outputs: OutputLines): Promise<void>;
  setBreak?(on: boolean): Promise<void>;
  /** Switches the UART off, after the lines have fallen. */
  close(): Promise<void>;
  /** A packet of the bulk IN endpoint, at most `maxPacketBytes`. */
  parseIn(packet: Uint8Array, sink: ChipSink): void;
  /** A packet of the interrupt endpoint. */
  parseNotification?(packet: Uint8Array, sink: ChipSink): void;
  /** Asks for the lines, where they are not told often enough. */
  readLines?(): Promise<Partial<ModemLines>>;
  /** Bytes that have not left the chip yet. */
  transmitQueue?(): Promise<number>;
  /** Empties the buffers of the chip. */
  flush?(queue: FlushQueue): Promise<void>;
  /** @returns milliseconds as set. */
  setLatency?(latencyMs: number): Promise<number>;
}

/** The pipes of one port. */
export interface SerialPipes {
  readonly bulkIn: InPipe;
  readonly bulkOut: OutPipe;
  readonly interruptIn?: InPipe | undefined;
}

/** What most UARTs can do. */
export const COMMON_LIMITS = {
  dataBits: [5, 6, 7, 8],
  parities: ["none", "odd", "even", "mark", "space"],
  stopBits: [1, 1.5, 2],
  modemLines: ["cts", "dsr", "dcd", "ri"],
  canBreak: true,
  hasLatency: false,
} as const satisfies Partial<ChipLimits>;
