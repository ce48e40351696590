/**
 * A serial line in memory, in real time, for tests of links: the test plays the wire.
 *
 * It holds its user to the contract of the device switch: nothing is received without a grant, one opener at a time, a
 * closed port answers ENODEV.
 */
import {
  DeviceError,
  type FlushQueue,
  LineSettingsError,
  type LineSettings,
  type ModemLines,
  type OutputLines,
  type RequestOptions,
  type Tty,
  type TtyInfo,
  type TtyOpen,
  type TtyPort,
  type TtyReceiver,
  type TtyStatus,
  WriteError,
} from "../../src/rump/devsw.js";

export const MEMORY_TTY_INFO: TtyInfo = {
  model: "memory line",
  minBaud: 300,
  maxBaud: 3_000_000,
  dataBits: [5, 6, 7, 8],
  parities: ["none", "odd", "even", "mark", "space"],
  stopBits: [1, 1.5, 2],
  flowControls: ["none", "rtsCts", "xonXoff"],
  modemLines: ["cts", "dsr", "dcd", "ri"],
  canBreak: true,
  hasLatency: true,
};

const NO_LINES: ModemLines = { cts: false, dsr: false, dcd: false, ri: false };

interface HeldWrite {
  readonly data: Uint8Array;
  readonly end: (error?: DeviceError) => void;
}

export class MemoryTty implements Tty {
  readonly kind = "tty";
  readonly info: TtyInfo;
  /** Every call on open ports, in order: "open 9600", "resume 9600", "outputs dtr=true rts=true", "break on", "flush in" … */
  readonly calls: string[] = [];
  /** What was written and taken. */
  readonly sent: Uint8Array[] = [];
  /** Written bytes come back as received ones. */
  loopback = false;
  #left: DeviceError | undefined;
  /** While true nothing is taken of what is written: the other side holds the line. */
  #held = false;
  #heldWrites: HeldWrite[] = [];
  #port: MemoryPort | undefined;
  #arrived: Uint8Array[] = [];
  #granted = 0;
  #lines: ModemLines = NO_LINES;
  #errors = { framing: 0, parity: 0, overrun: 0, break: 0 };

  constructor(info: Partial<TtyInfo> = {}) {
    this.info = { ...MEMORY_TTY_INFO, ...info };
  }

  get port(): TtyPort | undefined {
    return this.#port;
  }

  get sentBytes(): Buffer {
    return Buffer.concat(this.sent);
  }

  /** Bytes that arrived and were not granted. */
  get waitingBytes(): number {
    return this.#arrived.reduce((sum, part) => sum + part.length, 0);
  }

  async open(how: TtyOpen, receiver: TtyReceiver, { signal }: RequestOptions = {}): Promise<TtyPort> {
    checkSignal("open", signal);
    if (this.#left !== undefined) throw this.#left;
    if (this.#port !== undefined) throw new DeviceError("EBUSY", "open: memory line is open already");
    this.checkSettings(how.settings);
    this.calls.push(`${how.isResumed === true ? "resume" : "open"} ${how.settings.baud}`);
    this.#port = new MemoryPort(this, how, receiver);
    this.#granted = 0;
    return this.#port;
  }

  /** The wire brings these bytes. */
  arrive(data: Uint8Array | string): void {
    if (data.length > 0) this.#arrived.push(typeof data === "string" ? Buffer.from(data) : data);
    this.#deliver();
  }

  /** The other side drives its lines. */
  setLines(lines: Partial<ModemLines>): void {
    this.#lines = { ...this.#lines, ...lines };
    this.#port?.receiver.changed(this.status);
  }

  countError(error: keyof MemoryTty["status"]["errors"]): void {
    this.#errors = { ...this.#errors, [error]: this.#errors[error] + 1 };
    this.#port?.receiver.changed(this.status);
  }

  get status(): TtyStatus {
    return { lines: this.#lines, errors: this.#errors };
  }

  /** The device goes. */
  fail(error = new DeviceError("ENODEV", "unplugged")): void {
    const port = this.#port;
    this.#port = undefined;
    for (const write of this.#heldWrites.splice(0)) write.end(error);
    port?.receiver.closed(error);
  }

  /** The device goes, and whoever opens it later hears so. */
  leave(error: DeviceError): void {
    this.#left = error;
    this.fail(error);
  }

  hold(on: boolean): void {
    this.#held = on;
    if (on) return;
    for (const write of this.#heldWrites.splice(0)) {
      this.#take(write.data);
      write.end();
    }
  }

  checkSettings(settings: LineSettings): void {
    const { minBaud, maxBaud } = this.info;
    if (settings.baud >= minBaud && settings.baud <= maxBaud) return;
    const baud = Math.min(Math.max(settings.baud, minBaud), maxBaud);
    throw new LineSettingsError(`${settings.baud} baud: possible are ${minBaud} to ${maxBaud}`, { ...settings, baud });
  }

  isOpen(port: MemoryPort): boolean {
    return this.#port === port;
  }

  grant(bytes: number): void {
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`granted are ${bytes} bytes: not a count`);
    this.#granted += bytes;
    this.#deliver();
  }

  async write(data: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted === true) throw new WriteError("ECANCELED", "write: given up by the caller", 0);
    if (!this.#held) return this.#take(data);
    await new Promise<void>((resolve, reject) => {
      const write: HeldWrite = {
        data,
        end: (error) =>
          error === undefined ? resolve() : reject(new WriteError(error.code, error.message, 0, { cause: error })),
      };
      this.#heldWrites.push(write);
      signal?.addEventListener("abort", () => {
        this.#heldWrites = this.#heldWrites.filter((other) => other !== write);
        write.end(new DeviceError("ECANCELED", "write: given up by the caller"));
      });
    });
  }

  flush(queue: FlushQueue): void {
    if (queue !== "out") this.#arrived = [];
    if (queue === "in") return;
    for (const write of this.#heldWrites.splice(0)) write.end(new DeviceError("ECANCELED", "flushed"));
  }

  close(port: MemoryPort): void {
    if (this.#port !== port) return;
    this.calls.push("close");
    this.#port = undefined;
    this.flush("out");
  }

  #take(data: Uint8Array): void {
    this.sent.push(data.slice());
    if (this.loopback) this.arrive(data.slice());
  }

  #deliver(): void {
    while (this.#port !== undefined && this.#granted > 0) {
      const part = this.#arrived.shift();
      if (part === undefined) return;
      const now = part.subarray(0, this.#granted);
      if (now.length < part.length) this.#arrived.unshift(part.subarray(now.length));
      this.#granted -= now.length;
      this.#port.receiver.received(now);
    }
  }
}

class MemoryPort implements TtyPort {
  readonly receiver: TtyReceiver;
  readonly #tty: MemoryTty;
  #settings: LineSettings;
  #outputs: OutputLines;

  constructor(tty: MemoryTty, how: TtyOpen, receiver: TtyReceiver) {
    this.#tty = tty;
    this.receiver = receiver;
    this.#settings = how.settings;
    this.#outputs = how.outputs;
  }

  get settings(): LineSettings {
    return this.#settings;
  }

  get outputs(): OutputLines {
    return this.#outputs;
  }

  async configure(settings: LineSettings, { signal }: RequestOptions = {}): Promise<LineSettings> {
    this.#checkOpen("configure", signal);
    this.#tty.checkSettings(settings);
    const { baud, dataBits, parity, stopBits, flowControl } = settings;
    this.#tty.calls.push(`configure ${baud} ${dataBits} ${parity} ${stopBits} ${flowControl}`);
    this.#settings = settings;
    return settings;
  }

  async setOutputs(outputs: Partial<OutputLines>, { signal }: RequestOptions = {}): Promise<void> {
    this.#checkOpen("set lines", signal);
    this.#outputs = { ...this.#outputs, ...outputs };
    this.#tty.calls.push(`outputs dtr=${this.#outputs.dtr} rts=${this.#outputs.rts}`);
  }

  async setBreak(on: boolean, { signal }: RequestOptions = {}): Promise<void> {
    this.#checkOpen("break", signal);
    this.#tty.calls.push(`break ${on ? "on" : "off"}`);
  }

  async status({ signal }: RequestOptions = {}): Promise<TtyStatus> {
    this.#checkOpen("status", signal);
    return this.#tty.status;
  }

  async setLatency(latencyMs: number): Promise<number> {
    this.#checkOpen("latency");
    this.#tty.calls.push(`latency ${latencyMs}`);
    return latencyMs;
  }

  async write(data: Uint8Array, options: RequestOptions = {}): Promise<void> {
    this.#checkOpen("write");
    await this.#tty.write(data, options.signal);
  }

  grant(bytes: number): void {
    if (this.#tty.isOpen(this)) this.#tty.grant(bytes);
  }

  async drain({ signal }: RequestOptions = {}): Promise<void> {
    this.#checkOpen("drain", signal);
    this.#tty.calls.push("drain");
  }

  async flush(queue: FlushQueue): Promise<void> {
    this.#checkOpen("flush");
    this.#tty.calls.push(`flush ${queue}`);
    this.#tty.flush(queue);
  }

  async close(): Promise<void> {
    this.#tty.close(this);
  }

  #checkOpen(what: string, signal?: AbortSignal): void {
    checkSignal(what, signal);
    if (!this.#tty.isOpen(this)) throw new DeviceError("ENODEV", `${what}: the port has ended`);
  }
}

function checkSignal(what: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new DeviceError("ECANCELED", `${what}: given up by the caller`);
}
