/** The receiving half of an open port: the readers of both endpoints, the chip's parsing, and what is told to whom. */
import type { LineError, TtyReceiver } from "../../../rump/devsw.js";
import type { Clock, LogLevel } from "../../../rumpuser/rumpuser.js";
import type { TransferError } from "../errors.js";
import type { InPipe } from "../usbdi.js";
import type { ChipSink, SerialChip, SerialPipes } from "./chip.js";
import { Inbox } from "./inbox.js";
import type { LineStatus } from "./line-status.js";
import { MAX_BUSY_REST_MS } from "./pace.js";
import { PipeReader, type PipeReaderOptions, type Reads } from "./pipe-reader.js";
import type { SoftFlow } from "./soft-flow.js";

/** Reads in flight: of so many bytes together, which go with the process when it dies, and within these bounds. */
const IN_FLIGHT_BYTES = 4 * 1024;
const MIN_READS = 4;
const MAX_READS = 64;
/** On a slow line, which cannot fill them: for so long, if as many fit in so many bytes. */
const SLOW_MS = 1.6 * MAX_BUSY_REST_MS;
const SLOW_IN_FLIGHT_BYTES = 16 * 1024;
/** Chips that wait for a packet to become full wait so long, or longer; reads are of so many bytes then, or some more. */
const FILLED_MS = 16;
const FILLED_BYTES = 512;
/** As much as all reads bring at 115,200 baud in a tenth of a second; more is handed over in parts. A packet has 1024 bytes at most. */
const GATHERED_BYTES = 4 * 1024;

export interface ReceiveOptions {
  readonly chip: SerialChip;
  readonly pipes: SerialPipes;
  readonly clock: Clock;
  readonly status: LineStatus;
  readonly softFlow: SoftFlow;
  readonly receiver: TtyReceiver;
  /** Lets the bus rest for so many milliseconds, if the port may. */
  readonly rest: (ms: number) => void;
  /** Something is being sent. */
  readonly isSending: () => boolean;
  readonly log: (level: LogLevel, message: string) => void;
}

export class Receive {
  readonly #options: ReceiveOptions;
  readonly #inbox: Inbox;
  readonly #data: PipeReader;
  readonly #notifications: PipeReader | undefined;
  readonly #sink: ChipSink;
  /** What reads that ended together brought. */
  readonly #gathered: Uint8Array;
  #gatheredBytes = 0;
  /** Something was told or received since it was cleared. */
  #eventful = false;

  constructor(options: ReceiveOptions) {
    const { chip, pipes, softFlow, receiver, status } = options;
    this.#options = options;
    this.#inbox = new Inbox((data) => receiver.received(data));
    this.#sink = {
      data: (bytes) => {
        if (bytes.length === 0) return;
        this.#eventful = true;
        this.#tellChange();
        this.#gather(softFlow.filter(bytes));
      },
      lines: (lines) => status.setLines(lines),
      error: (error) => status.count(error),
    };
    const [reads, slow] = [this.#reads(), this.#slowReads()];
    const most = { count: Math.max(reads.count, slow.count), bytes: Math.max(reads.bytes, slow.bytes) };
    this.#gathered = new Uint8Array(GATHERED_BYTES);
    this.#data = this.#reader(
      pipes.bulkIn,
      { reads, most, repeatBytes: chip.limits.idleBytes ?? 0 },
      {
        parse: (packet) => chip.parseIn(packet, this.#sink),
        mayRead: () => this.#inbox.wantsMore,
        rest: options.rest,
        isSending: options.isSending,
      },
    );
    const { interruptIn } = pipes;
    if (interruptIn !== undefined && chip.parseNotification !== undefined)
      this.#notifications = this.#reader(
        interruptIn,
        { reads: { count: 1, bytes: interruptIn.maxPacketBytes } },
        {
          parse: (packet) => chip.parseNotification?.(packet, this.#sink),
          mayRead: () => true,
        },
      );
  }

  /** Bytes that are kept because nobody has granted them. */
  get heldBytes(): number {
    return this.#inbox.heldBytes;
  }

  /** Resolves after `stop`, when no read is in flight. @throws TransferError, ProtocolError: the device has gone or failed. */
  async run(): Promise<void> {
    const both = [this.#data.run(), this.#notifications?.run() ?? Promise.resolve()];
    try {
      await Promise.all(both);
    } finally {
      this.stop();
      await Promise.allSettled(both);
    }
  }

  stop(): void {
    this.#data.stop();
    this.#notifications?.stop();
  }

  grant(bytes: number): void {
    this.#inbox.grant(bytes);
    this.#options.softFlow.throttle(!this.#inbox.wantsMore);
    this.#data.wake();
  }

  /** Bytes may be late by so much. */
  limitLatency(ms: number): void {
    this.#data.limitLatency(ms);
  }

  /** What one byte takes on the wire from now on. A line is slow where two milliseconds do not fill a packet. */
  setRate(byteMs: number): void {
    const isSlow = 2 / byteMs <= this.#options.pipes.bulkIn.maxPacketBytes;
    this.#data.setRate(byteMs, isSlow ? this.#slowReads() : this.#reads());
  }

  /** The device has taken so many bytes. */
  sent(bytes: number): void {
    this.#data.sent(bytes);
  }

  /** Throws away what is kept. */
  clear(): void {
    this.#inbox.clear();
    this.#data.wake();
  }

  /** What was read by a request of its own. */
  tellLines(lines: Parameters<ChipSink["lines"]>[0]): void {
    this.#sink.lines(lines);
    this.#tellChange();
  }

  #reads(): Reads {
    const { chip, pipes } = this.#options;
    const bytes = chip.limits.readPackets * pipes.bulkIn.maxPacketBytes;
    const fitting = Math.min(Math.max(Math.floor(IN_FLIGHT_BYTES / bytes), MIN_READS), MAX_READS);
    return { count: chip.limits.maxReads ?? fitting, bytes };
  }

  /** Each of them ends with a packet that is not full: the first one, but for chips that fill theirs. */
  #slowReads(): Reads {
    const { maxReads, fillsPackets = false } = this.#options.chip.limits;
    const { maxPacketBytes } = this.#options.pipes.bulkIn;
    const bytes = (fillsPackets ? Math.ceil(FILLED_BYTES / maxPacketBytes) : 1) * maxPacketBytes;
    const wanted = Math.ceil(SLOW_MS / (fillsPackets ? FILLED_MS : 1));
    return { count: maxReads ?? Math.min(wanted, Math.floor(SLOW_IN_FLIGHT_BYTES / bytes)), bytes };
  }

  #reader(
    pipe: InPipe,
    queue: Pick<PipeReaderOptions, "reads" | "most" | "repeatBytes">,
    {
      parse,
      ...hooks
    }: Pick<PipeReaderOptions, "mayRead" | "rest" | "isSending"> & { readonly parse: (packet: Uint8Array) => void },
  ): PipeReader {
    const { maxPacketBytes } = pipe;
    return new PipeReader(pipe, {
      clock: this.#options.clock,
      ...queue,
      ...hooks,
      retried: (error) => this.#retried(error),
      consume: (data) => {
        this.#eventful = false;
        const isOne = data.length <= maxPacketBytes;
        for (let at = 0; at < data.length; at += maxPacketBytes)
          parse(isOne ? data : data.subarray(at, at + maxPacketBytes));
        this.#tellChange();
        return this.#eventful;
      },
      consumed: () => {
        this.#handOver();
        this.#options.softFlow.throttle(!this.#inbox.wantsMore);
      },
    });
  }

  #gather(bytes: Uint8Array): void {
    if (this.#gatheredBytes + bytes.length > this.#gathered.length) this.#handOver();
    this.#gathered.set(bytes, this.#gatheredBytes);
    this.#gatheredBytes += bytes.length;
  }

  #handOver(): void {
    if (this.#gatheredBytes === 0) return;
    const data = this.#gathered.slice(0, this.#gatheredBytes);
    this.#gatheredBytes = 0;
    this.#inbox.put(data);
  }

  #tellChange(): void {
    const change = this.#options.status.takeChange();
    if (change === undefined) return;
    this.#handOver();
    this.#eventful = true;
    this.#options.receiver.changed(change);
  }

  #retried(error: TransferError): void {
    // Bytes of a packet that was too long, or damaged on the way, are lost.
    const lost: LineError = "overrun";
    this.#options.status.count(lost);
    this.#options.log("debug", `read again: ${error.message}`);
    this.#tellChange();
  }
}
