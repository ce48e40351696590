/**
 * A serial line that somebody serves over RFC 2217, as the kind `tty` of the device switch: the other end of `session.ts`.
 *
 * What the protocol does not say is answered for: a write is taken when the socket has taken it, `drain` asks by a timing
 * mark (RFC 860), and the limits of the device are learned by asking for more.
 */
import { connect, type Socket } from "node:net";
import {
  DATA_BITS,
  DeviceError,
  FLOW_CONTROLS,
  type FlushQueue,
  LINE_ERRORS,
  type LineErrorCounts,
  type LineSettings,
  LineSettingsError,
  MODEM_LINES,
  type ModemLines,
  type OutputLines,
  PARITIES,
  type RequestOptions,
  STOP_BITS,
  type Tty,
  type TtyInfo,
  type TtyOpen,
  type TtyPort,
  type TtyReceiver,
  type TtyStatus,
  WriteError,
} from "../../../rump/devsw.js";
import type { ListenAddress } from "../address.js";
import { messageOf } from "../errors.js";
import { ClientChannel } from "./client-channel.js";
import {
  BREAK_OFF,
  BREAK_ON,
  DTR_OFF,
  DTR_ON,
  FLOW_SETTING,
  lineErrorsOf,
  LINESTATE_ERRORS,
  modemLinesOf,
  NOTIFY_LINESTATE,
  NOTIFY_MODEMSTATE,
  PURGE_DATA,
  PURGE_VALUES,
  RTS_OFF,
  RTS_ON,
  SET_CONTROL,
  SET_LINESTATE_MASK,
  SETTINGS,
} from "./comport.js";

const NO_LINES: ModemLines = { cts: false, dsr: false, dcd: false, ri: false };
const NO_ERRORS: LineErrorCounts = { framing: 0, parity: 0, overrun: 0, break: 0 };

/** What may wait here for a grant before the socket is not read any more. */
const MAX_WAITING_BYTES = 64 * 1024;

const UNKNOWN_DEVICE: Omit<TtyInfo, "model"> = {
  minBaud: 1,
  maxBaud: 0xffff_ffff,
  dataBits: DATA_BITS,
  parities: PARITIES,
  stopBits: STOP_BITS,
  flowControls: FLOW_CONTROLS,
  modemLines: MODEM_LINES,
  canBreak: true,
  hasLatency: false,
};

const ALL_SETTINGS = [...SETTINGS, FLOW_SETTING];

/** A line at an address. Each `open` is a connection of its own; the server has the last word on whether there is one. */
export function rfc2217Tty(address: ListenAddress, name: string): Tty {
  return {
    kind: "tty",
    info: { ...UNKNOWN_DEVICE, model: name },
    open: async (how, receiver, options = {}) => {
      const socket = "unix" in address ? connect(address.unix) : connect(address);
      socket.setNoDelay(true);
      const port = new ClientPort(socket, how, receiver);
      try {
        await untilAborted("open", options, () => port.start(how));
        return port;
      } catch (error) {
        await port.close();
        throw error;
      }
    },
  };
}

class ClientPort implements TtyPort {
  readonly #channel: ClientChannel;
  readonly #receiver: TtyReceiver;
  #settings: LineSettings;
  #outputs: OutputLines;
  #status: TtyStatus = { lines: NO_LINES, errors: NO_ERRORS };
  #arrived: Uint8Array[] = [];
  #arrivedBytes = 0;
  #granted = 0;
  #isOpen = false;
  /** `open` has resolved, or is about to: the receiver is told of changes. */
  #tells = false;
  /** The receiver knows, or asked for it. */
  #over = false;

  constructor(socket: Socket, { settings, outputs }: TtyOpen, receiver: TtyReceiver) {
    this.#settings = settings;
    this.#outputs = outputs;
    this.#receiver = receiver;
    this.#channel = new ClientChannel(socket, {
      data: (bytes) => this.#arrive(bytes),
      notified: (command, value) => this.#notified(command, value),
      ended: (error) => this.#ended(error),
    });
  }

  /** @throws DeviceError; LineSettingsError */
  async start({ settings, outputs }: TtyOpen): Promise<void> {
    await this.#channel.agree();
    this.#isOpen = true;
    await this.#configure(settings);
    await this.#setOutputs(outputs);
    await this.#channel.ask(SET_LINESTATE_MASK, Uint8Array.of(LINESTATE_ERRORS));
    this.#tells = true;
  }

  get settings(): LineSettings {
    return this.#settings;
  }

  get outputs(): OutputLines {
    return this.#outputs;
  }

  configure(settings: LineSettings, options?: RequestOptions): Promise<LineSettings> {
    return this.#request("configure", options, () => this.#configure(settings));
  }

  setOutputs(outputs: Partial<OutputLines>, options?: RequestOptions): Promise<void> {
    return this.#request("set lines", options, () => this.#setOutputs(outputs));
  }

  setBreak(on: boolean, options?: RequestOptions): Promise<void> {
    return this.#request("break", options, () => this.#control(on ? BREAK_ON : BREAK_OFF, "a break"));
  }

  status(options?: RequestOptions): Promise<TtyStatus> {
    return this.#request("status", options, async () => {
      await this.#channel.ask(NOTIFY_MODEMSTATE, new Uint8Array(0));
      return this.#status;
    });
  }

  setLatency(): Promise<number> {
    return Promise.reject(new DeviceError("EOPNOTSUPP", "RFC 2217 has no latency timer"));
  }

  async write(data: Uint8Array, options?: RequestOptions): Promise<void> {
    try {
      await this.#request("write", options, () => this.#channel.send(data));
    } catch (error) {
      const code = error instanceof DeviceError ? error.code : this.#over ? "ECANCELED" : "ENODEV";
      throw new WriteError(code, messageOf(error), 0, { cause: error });
    }
  }

  /** @throws RangeError */
  grant(bytes: number): void {
    if (!Number.isInteger(bytes) || bytes < 0) throw new RangeError(`grant of ${bytes} bytes`);
    this.#granted += bytes;
    this.#deliver();
  }

  drain(options?: RequestOptions): Promise<void> {
    return this.#request("drain", options, () => this.#channel.drain());
  }

  flush(queue: FlushQueue, options?: RequestOptions): Promise<void> {
    return this.#request("flush", options, async () => {
      await this.#channel.ask(PURGE_DATA, Uint8Array.of(PURGE_VALUES[queue]));
      if (queue === "out") return;
      this.#arrived = [];
      this.#arrivedBytes = 0;
      this.#deliver();
    });
  }

  async close(): Promise<void> {
    this.#over = true;
    this.#isOpen = false;
    await this.#channel.close();
  }

  /** An aborted request ends for the caller; the server still does it. */
  async #request<T>(what: string, options: RequestOptions | undefined, work: () => Promise<T>): Promise<T> {
    if (!this.#isOpen) throw new DeviceError("ENODEV", `${what}: the connection has ended`);
    return await untilAborted(what, options, work);
  }

  /** Asks for each setting; when one is refused, those that were made are taken back. */
  async #configure(settings: LineSettings): Promise<LineSettings> {
    let made = settings;
    for (const { command, value, read } of ALL_SETTINGS)
      made = { ...made, ...read(await this.#channel.ask(command, value(settings))) };
    const isAsAsked = ALL_SETTINGS.every(({ value }) => Buffer.compare(value(made), value(settings)) === 0);
    if (!isAsAsked) {
      for (const { command, value } of ALL_SETTINGS) await this.#channel.ask(command, value(this.#settings));
      throw new LineSettingsError(
        `the device cannot make ${JSON.stringify(settings)}, but ${JSON.stringify(made)}`,
        made,
      );
    }
    this.#settings = settings;
    return settings;
  }

  async #setOutputs(outputs: Partial<OutputLines>): Promise<void> {
    const { dtr, rts } = outputs;
    if (dtr !== undefined) await this.#control(dtr ? DTR_ON : DTR_OFF, "DTR");
    if (rts !== undefined) await this.#control(rts ? RTS_ON : RTS_OFF, "RTS");
    this.#outputs = { ...this.#outputs, ...outputs };
  }

  /** @throws DeviceError EOPNOTSUPP: it was answered with something else. */
  async #control(code: number, what: string): Promise<void> {
    const [made] = await this.#channel.ask(SET_CONTROL, Uint8Array.of(code));
    if (made !== code) throw new DeviceError("EOPNOTSUPP", `${what}: refused by the server (SET-CONTROL ${made})`);
  }

  #arrive(bytes: Uint8Array): void {
    this.#arrived.push(bytes);
    this.#arrivedBytes += bytes.length;
    this.#deliver();
  }

  #deliver(): void {
    while (this.#isOpen && this.#granted > 0) {
      const part = this.#arrived.shift();
      if (part === undefined) break;
      const now = part.subarray(0, this.#granted);
      if (now.length < part.length) this.#arrived.unshift(part.subarray(now.length));
      this.#granted -= now.length;
      this.#arrivedBytes -= now.length;
      this.#receiver.received(now);
    }
    this.#channel.hold(this.#arrivedBytes > MAX_WAITING_BYTES);
  }

  #notified(command: number, value: number): void {
    const { errors } = this.#status;
    if (command === NOTIFY_MODEMSTATE) this.#status = { errors, lines: modemLinesOf(value) };
    else if (command === NOTIFY_LINESTATE) {
      const counted = lineErrorsOf(value);
      const more = LINE_ERRORS.map((error) => [error, errors[error] + (counted.includes(error) ? 1 : 0)] as const);
      this.#status = { ...this.#status, errors: { ...NO_ERRORS, ...Object.fromEntries(more) } };
    }
    if (this.#isOpen && this.#tells) this.#receiver.changed(this.#status);
  }

  #ended(error: DeviceError): void {
    this.#isOpen = false;
    if (this.#over) return;
    this.#over = true;
    if (this.#tells) this.#receiver.closed(error);
  }
}

/** @throws DeviceError ECANCELED */
async function untilAborted<T>(what: string, { signal }: RequestOptions = {}, work: () => Promise<T>): Promise<T> {
  if (signal === undefined) return await work();
  const canceled = new DeviceError("ECANCELED", `${what}: given up by the caller`);
  if (signal.aborted) throw canceled;
  let abort = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => reject(canceled);
    signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([work(), aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
