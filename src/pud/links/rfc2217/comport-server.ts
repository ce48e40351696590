/**
 * The COM port option of RFC 2217, server's side: commands of a client become calls of the line, and the answers say what the
 * line has then.
 *
 * What asks the device goes one at a time, in the order of its coming. PURGE-DATA does not wait for its turn: it ends what
 * the others may be waiting for. A setting that the device cannot make is answered with the one it keeps. A baud rate
 * that it can make is answered as it was asked for, although a divisor may miss it by a little: clients take any
 * other number for a refusal.
 */
import {
  DeviceError,
  FLOW_CONTROLS,
  type FlushQueue,
  type LineErrorCounts,
  type LineSettings,
  MODEM_LINES,
  type ModemLines,
  type OutputLines,
  type TtyStatus,
} from "../../../rump/devsw.js";
import type { Clock } from "../clock.js";
import { messageOf } from "../errors.js";
import type { ServedLine } from "../serial/line.js";
import {
  ASK,
  ASK_BREAK,
  ASK_DTR,
  ASK_FLOW,
  ASK_INBOUND_FLOW,
  ASK_RTS,
  BREAK_OFF,
  BREAK_ON,
  DCD_FLOW,
  DSR_FLOW,
  DTR_INBOUND_FLOW,
  DTR_OFF,
  DTR_ON,
  FLOW_VALUES,
  INBOUND_FLOW_VALUES,
  INITIAL_LINESTATE_MASK,
  INITIAL_MODEMSTATE_MASK,
  lineState,
  masksLine,
  meaningOf,
  modemState,
  NOTIFY_LINESTATE,
  NOTIFY_MODEMSTATE,
  PURGE_DATA,
  PURGE_VALUES,
  RTS_OFF,
  RTS_ON,
  SERVER,
  SET_CONTROL,
  SET_LINESTATE_MASK,
  SET_MODEMSTATE_MASK,
  type Setting,
  SETTINGS,
  SIGNATURE,
} from "./comport.js";

/** How long the break of a telnet BRK is: between the 250 ms and 500 ms of tcsendbreak(3). */
const BREAK_MS = 300;

export interface ComPortServerOptions {
  readonly line: ServedLine;
  readonly clock: Clock;
  readonly signature: string;
  /** Sends a subnegotiation: command and value. */
  say(payload: Uint8Array): void;
  /** The client takes what it is told. Else a notification waits until it can be made with the state of then. */
  mayNotify(): boolean;
  /** `pending` has become less. */
  settled(): void;
  /** The client sent what the RFC does not have; it was not done. */
  readonly fault: (message: string) => void;
  readonly log: (level: "debug" | "warn" | "error", message: string) => void;
}

/** What a value of SET-CONTROL (§3) is about, and what it sets; without `set` it asks. */
type Control =
  | { readonly about: "flow"; readonly set?: LineSettings["flowControl"] }
  | { readonly about: "inboundFlow" }
  | { readonly about: "break"; readonly set?: boolean }
  | { readonly about: "dtr" | "rts"; readonly set?: boolean };

/**
 * The line has one flow control for both directions: the inbound one can be asked for, and what would make it another is
 * answered with what it is. DCD, DTR and DSR flow control there is none.
 */
const CONTROLS: Readonly<Record<number, Control>> = {
  [ASK_FLOW]: { about: "flow" },
  ...Object.fromEntries(FLOW_CONTROLS.map((set): [number, Control] => [FLOW_VALUES[set], { about: "flow", set }])),
  [ASK_BREAK]: { about: "break" },
  [BREAK_ON]: { about: "break", set: true },
  [BREAK_OFF]: { about: "break", set: false },
  [ASK_DTR]: { about: "dtr" },
  [DTR_ON]: { about: "dtr", set: true },
  [DTR_OFF]: { about: "dtr", set: false },
  [ASK_RTS]: { about: "rts" },
  [RTS_ON]: { about: "rts", set: true },
  [RTS_OFF]: { about: "rts", set: false },
  [ASK_INBOUND_FLOW]: { about: "inboundFlow" },
  ...Object.fromEntries(
    Object.values(INBOUND_FLOW_VALUES).map((value): [number, Control] => [value, { about: "inboundFlow" }]),
  ),
  [DCD_FLOW]: { about: "flow" },
  [DTR_INBOUND_FLOW]: { about: "inboundFlow" },
  [DSR_FLOW]: { about: "flow" },
};

const NO_LINES: ModemLines = { cts: false, dsr: false, dcd: false, ri: false };
const NO_ERRORS: LineErrorCounts = { framing: 0, parity: 0, overrun: 0, break: 0 };

export class ComPortServer {
  readonly #options: ComPortServerOptions;
  /** As the client asked for them. */
  #asked: LineSettings | undefined;
  #breakOn = false;
  #active = false;
  #linestateMask = INITIAL_LINESTATE_MASK;
  #modemstateMask = INITIAL_MODEMSTATE_MASK;
  #status: TtyStatus = { lines: NO_LINES, errors: NO_ERRORS };
  /** What the client knows of it. */
  #told: TtyStatus = this.#status;
  #turn: Promise<void> = Promise.resolve();
  #pending = 0;

  constructor(options: ComPortServerOptions) {
    this.#options = options;
  }

  /** Commands that are not answered yet. */
  get pending(): number {
    return this.#pending;
  }

  /** The option is agreed: from here the client is notified, beginning with the lines as they are. */
  setActive(active: boolean): void {
    if (active === this.#active) return;
    this.#active = active;
    if (active) this.#inTurn(() => this.#answerModemState());
  }

  /** The line tells; the client is told what its masks let through. */
  changed(status: TtyStatus): void {
    this.#status = status;
    this.#notify();
  }

  /** `mayNotify` may have become true. */
  catchUp(): void {
    if (this.#status !== this.#told) this.#notify();
  }

  /** Telnet's BRK. */
  sendBreak(): void {
    this.#inTurn(async () => {
      await this.#setBreak(true);
      await new Promise<void>((resolve) => void this.#options.clock.startTimer(BREAK_MS, resolve));
      await this.#setBreak(false);
    });
  }

  /** A subnegotiation of the client. */
  command(payload: Uint8Array): void {
    const [command = -1] = payload;
    const value = payload.subarray(1);
    const [first = 0] = value;
    const setting = SETTINGS.find((one) => one.command === command);
    if (setting !== undefined) return this.#commandSetting(setting, value);
    switch (command) {
      case SIGNATURE:
        if (value.length > 0) this.#options.log("debug", `the client is ${printable(value)}`);
        else this.#answer(SIGNATURE, Buffer.from(this.#options.signature));
        return;
      case SET_CONTROL:
        return this.#commandControl(value);
      case SET_LINESTATE_MASK:
        if (!this.#hasOneByte("SET-LINESTATE-MASK", value)) return;
        this.#linestateMask = first;
        return this.#answer(command, value);
      case SET_MODEMSTATE_MASK:
        if (!this.#hasOneByte("SET-MODEMSTATE-MASK", value)) return;
        this.#modemstateMask = first;
        return this.#answer(command, value);
      case NOTIFY_LINESTATE:
        return this.#inTurn(() => this.#answerLineState());
      case NOTIFY_MODEMSTATE:
        return this.#inTurn(() => this.#answerModemState());
      case PURGE_DATA:
        return this.#commandPurge(value);
      default:
        this.#options.fault(`COM port command ${command} is none of RFC 2217`);
    }
  }

  #commandSetting(setting: Setting, value: Uint8Array): void {
    const { command } = setting;
    const asks = value.length === setting.bytes && value.every((byte) => byte === ASK);
    const change = asks ? {} : setting.read(value);
    if (value.length !== setting.bytes || change === undefined) {
      this.#options.fault(`COM port command ${command} with value ${printable(value)}: not one of RFC 2217 §2`);
      return;
    }
    this.#inTurn(async () => {
      if (!asks) await this.#configure(change);
      this.#answer(command, setting.value(this.#settings));
    });
  }

  #commandControl(value: Uint8Array): void {
    const [code = -1] = value;
    const control = value.length === 1 ? CONTROLS[code] : undefined;
    if (control === undefined) {
      this.#options.fault(`SET-CONTROL ${printable(value)}: not one of RFC 2217 §3`);
      return;
    }
    this.#inTurn(async () => {
      if ("set" in control) await this.#setControl(control);
      this.#answer(SET_CONTROL, Uint8Array.of(this.#controlValue(control.about)));
    });
  }

  async #setControl(control: Control): Promise<void> {
    switch (control.about) {
      case "flow":
        if (control.set !== undefined) await this.#configure({ flowControl: control.set });
        return;
      case "break":
        await this.#setBreak(control.set === true);
        return;
      case "dtr":
      case "rts":
        await this.#setOutputs({ [control.about]: control.set === true });
        return;
      case "inboundFlow":
        return;
    }
  }

  #controlValue(about: Control["about"]): number {
    const { line } = this.#options;
    switch (about) {
      case "flow":
        return FLOW_VALUES[this.#settings.flowControl];
      case "inboundFlow":
        return INBOUND_FLOW_VALUES[this.#settings.flowControl];
      case "break":
        return this.#breakOn ? BREAK_ON : BREAK_OFF;
      case "dtr":
        return line.port.outputs.dtr ? DTR_ON : DTR_OFF;
      case "rts":
        return line.port.outputs.rts ? RTS_ON : RTS_OFF;
    }
  }

  #commandPurge(value: Uint8Array): void {
    const queue = value.length === 1 ? purgeQueueOf(value[0] ?? 0) : undefined;
    if (queue === undefined) {
      this.#options.fault(`PURGE-DATA ${printable(value)}: not one of RFC 2217 §3`);
      return;
    }
    void this.#run(async () => {
      await this.#tried(`purge ${queue}`, async () => await this.#options.line.flush(queue));
      this.#answer(PURGE_DATA, value);
    });
  }

  get #settings(): LineSettings {
    return this.#asked ?? this.#options.line.port.settings;
  }

  async #configure(change: Partial<LineSettings>): Promise<void> {
    const asked = { ...this.#settings, ...change };
    await this.#tried("settings", async () => {
      await this.#options.line.port.configure(asked);
      this.#asked = asked;
    });
  }

  async #setOutputs(outputs: Partial<OutputLines>): Promise<void> {
    await this.#tried("lines", async () => await this.#options.line.port.setOutputs(outputs));
  }

  async #setBreak(on: boolean): Promise<void> {
    await this.#tried("break", async () => {
      await this.#options.line.port.setBreak(on);
      this.#breakOn = on;
    });
  }

  /** What the device refuses stays as it is, and the answer says so. */
  async #tried(what: string, change: () => Promise<void>): Promise<void> {
    try {
      await change();
    } catch (error) {
      if (!(error instanceof DeviceError) || error.code === "ENODEV") throw error;
      this.#options.log(error.code === "EIO" ? "error" : "debug", `${what}: ${error.message}`);
    }
  }

  async #answerModemState(): Promise<void> {
    await this.#tried("lines", async () => {
      this.#status = await this.#options.line.port.status();
    });
    this.#told = { ...this.#told, lines: this.#status.lines };
    this.#answer(NOTIFY_MODEMSTATE, Uint8Array.of(modemState(this.#status.lines)));
  }

  async #answerLineState(): Promise<void> {
    const { errors } = this.#status;
    const value = lineState(errors, this.#told.errors);
    this.#told = { ...this.#told, errors };
    this.#answer(NOTIFY_LINESTATE, Uint8Array.of(value));
  }

  /** §4. What happens while the client does not read becomes one notification, when it has caught up. */
  #notify(): void {
    if (!this.#active || !this.#options.mayNotify()) return;
    const { lines, errors } = this.#status;
    const told = this.#told;
    const lineChange = lineState(errors, told.errors) & this.#linestateMask;
    const modemMask = this.#modemstateMask;
    const isNews = MODEM_LINES.some((line) => lines[line] !== told.lines[line] && masksLine(modemMask, line));
    this.#told = this.#status;
    if (lineChange !== 0) this.#answer(NOTIFY_LINESTATE, Uint8Array.of(lineChange));
    // A line that has fallen is told also when the mask leaves nothing but a zero: the client could not know otherwise.
    if (isNews) this.#answer(NOTIFY_MODEMSTATE, Uint8Array.of(modemState(lines, told.lines) & modemMask));
  }

  #answer(command: number, value: Uint8Array): void {
    this.#options.say(Uint8Array.of(command + SERVER, ...value));
  }

  #hasOneByte(what: string, value: Uint8Array): boolean {
    if (value.length === 1) return true;
    this.#options.fault(`${what} of ${value.length} bytes, not 1 (RFC 2217 §3)`);
    return false;
  }

  #inTurn(work: () => Promise<void>): void {
    const before = this.#turn;
    this.#turn = this.#run(async () => {
      await before;
      await work();
    });
  }

  /** Never rejects. */
  async #run(work: () => Promise<void>): Promise<void> {
    this.#pending++;
    try {
      await work();
    } catch (error) {
      // The line has gone, of which the connection is told by itself.
      this.#options.log("debug", messageOf(error));
    }
    this.#pending--;
    this.#options.settled();
  }
}

function purgeQueueOf(value: number): FlushQueue | undefined {
  return meaningOf(["in", "out", "both"] as const, PURGE_VALUES, value);
}

/** A client's bytes for the log. */
function printable(value: Uint8Array): string {
  const shown = Buffer.from(value.subarray(0, 64));
  return /^[\x20-\x7e]+$/.test(shown.toString("latin1"))
    ? `"${shown.toString("latin1")}"`
    : `<${shown.toString("hex")}>`;
}
