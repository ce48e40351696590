/** An open line as a port of `@serialport/bindings-interface` 1.2.2. */
import type { BindingPortInterface, OpenOptions, PortStatus, SetOptions, UpdateOptions } from "./interface.js";
import { DeviceError, type FlowControl, type LineSettings, PARITIES, type Tty, type TtyPort } from "../rump/devsw.js";
import { CanceledError } from "./errors.js";

/** What is received ahead of the reads. */
const READ_AHEAD_BYTES = 64 * 1024;

interface Reader {
  readonly buffer: Buffer;
  readonly offset: number;
  readonly length: number;
  readonly resolve: (read: { buffer: Buffer; bytesRead: number }) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Opens the line with DTR and RTS on, as the system's drivers do.
 *
 * @param closed  Called once after the port has closed: what was made for it may go.
 * @throws Error for options that are none; DeviceError
 */
export async function openPort(
  tty: Tty,
  options: OpenOptions,
  closed: () => Promise<void> = () => Promise.resolve(),
): Promise<BindingPortInterface> {
  const port = new Port(withDefaults(options), closed);
  await port.open(tty);
  return port;
}

class Port implements BindingPortInterface {
  readonly openOptions: Required<OpenOptions>;
  readonly #closed: () => Promise<void>;
  #port: TtyPort | undefined;
  #arrived: Buffer[] = [];
  #reader: Reader | undefined;
  #writing: Promise<void> = Promise.resolve();
  #breakOn = false;
  /** Why the line has ended by itself. */
  #failure: DeviceError | undefined;

  constructor(options: Required<OpenOptions>, closed: () => Promise<void>) {
    this.openOptions = options;
    this.#closed = closed;
  }

  async open(tty: Tty): Promise<void> {
    const how = { settings: settingsOf(this.openOptions), outputs: { dtr: true, rts: true } };
    this.#port = await tty.open(how, {
      received: (data) => this.#receive(data),
      changed: () => undefined,
      closed: (error) => this.#fail(error),
    });
    this.#port.grant(READ_AHEAD_BYTES);
  }

  get isOpen(): boolean {
    return this.#port !== undefined;
  }

  async close(): Promise<void> {
    const port = this.#take("close");
    this.#port = undefined;
    this.#reader?.reject(new CanceledError("read"));
    this.#reader = undefined;
    try {
      await port.close();
    } finally {
      await this.#closed();
    }
  }

  async read(buffer: Buffer, offset: number, length: number): Promise<{ buffer: Buffer; bytesRead: number }> {
    if (this.#port === undefined) throw new CanceledError("read");
    if (this.#reader !== undefined) throw new Error("read: there is one under way");
    if (length < 1 || offset + length > buffer.length)
      throw new RangeError(`read: ${length} bytes at ${offset} of a buffer of ${buffer.length}`);
    return await new Promise((resolve, reject) => {
      this.#reader = { buffer, offset, length, resolve, reject };
      this.#serve();
    });
  }

  async write(buffer: Buffer): Promise<void> {
    const port = this.#take("write");
    const writing = port.write(buffer).catch((error: unknown) => {
      if (this.#port === undefined) throw new CanceledError("write");
      // `flush` has thrown it away, which is not an error of the write.
      if (!(error instanceof DeviceError) || error.code !== "ECANCELED") throw error;
    });
    this.#writing = writing.catch(() => undefined);
    await writing;
  }

  async update({ baudRate }: UpdateOptions): Promise<void> {
    const port = this.#take("update");
    await port.configure({ ...port.settings, baud: baudRate });
  }

  /** `cts` and `dsr` are lines of the other side, and are left alone. */
  async set({ dtr = true, rts = true, brk = false }: SetOptions): Promise<void> {
    const port = this.#take("set");
    await port.setOutputs({ dtr, rts });
    if (brk === this.#breakOn) return;
    await port.setBreak(brk);
    this.#breakOn = brk;
  }

  async get(): Promise<PortStatus> {
    const { cts, dsr, dcd } = (await this.#take("get").status()).lines;
    return { cts, dsr, dcd };
  }

  getBaudRate(): Promise<{ baudRate: number }> {
    return Promise.resolve({ baudRate: this.#take("getBaudRate").settings.baud });
  }

  async flush(): Promise<void> {
    const port = this.#take("flush");
    await port.flush("both");
    const droppedBytes = this.#arrived.reduce((sum, { length }) => sum + length, 0);
    this.#arrived = [];
    port.grant(droppedBytes);
  }

  async drain(): Promise<void> {
    const port = this.#take("drain");
    await this.#writing;
    await port.drain();
  }

  #receive(data: Uint8Array): void {
    this.#arrived.push(Buffer.from(data));
    this.#serve();
  }

  /** Gives the reader what there is, or why there will be nothing. */
  #serve(): void {
    const reader = this.#reader;
    const first = this.#arrived[0];
    if (reader === undefined) return;
    if (first === undefined) {
      if (this.#failure === undefined) return;
      this.#reader = undefined;
      reader.reject(this.#failure);
      return;
    }
    this.#reader = undefined;
    const bytesRead = first.copy(reader.buffer, reader.offset, 0, reader.length);
    if (bytesRead < first.length) this.#arrived[0] = first.subarray(bytesRead);
    else this.#arrived.shift();
    this.#port?.grant(bytesRead);
    reader.resolve({ buffer: reader.buffer, bytesRead });
  }

  #fail(error: DeviceError): void {
    this.#failure = error;
    this.#serve();
  }

  #take(what: string): TtyPort {
    if (this.#port === undefined) throw new Error(`${what}: the port is not open`);
    return this.#port;
  }
}

function withDefaults(options: OpenOptions): Required<OpenOptions> {
  const defaults = {
    dataBits: 8,
    lock: true,
    stopBits: 1,
    parity: "none",
    rtscts: false,
    xon: false,
    xoff: false,
    xany: false,
    hupcl: true,
  } as const;
  return { ...defaults, ...options };
}

/** @throws Error for a parity or a flow control that a line cannot have. */
function settingsOf({ baudRate, dataBits, stopBits, parity, ...flow }: Required<OpenOptions>): LineSettings {
  const known = PARITIES.find((one) => one === parity);
  if (known === undefined) throw new Error(`parity "${parity}" is none of ${PARITIES.join(", ")}`);
  return { baud: baudRate, dataBits, stopBits, parity: known, flowControl: flowControlOf(flow) };
}

function flowControlOf({
  rtscts,
  xon,
  xoff,
  xany,
}: Pick<Required<OpenOptions>, "rtscts" | "xon" | "xoff" | "xany">): FlowControl {
  const soft = xon || xoff || xany;
  if (rtscts && soft) throw new Error("rtscts and xon/xoff at once: a line has one flow control");
  if (rtscts) return "rtsCts";
  return soft ? "xonXoff" : "none";
}
