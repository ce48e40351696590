/**
 * A line that a program has open through /dev/cuse: the calls of a tty, raw, without a line discipline (termios(3),
 * ioctl_tty(2)).
 *
 * A call that waits ends with EINTR when its signal says so, and when the line ends: reads with nothing, others with EIO.
 */
import type {
  DeviceError,
  FlushQueue,
  LineErrorCounts,
  ModemLine,
  ModemLines,
  OutputLines,
  Tty,
  TtyPort,
  TtyReceiver,
  TtyStatus,
} from "../../../rump/devsw.js";
import { MODEM_LINES } from "../../../rump/devsw.js";
import { configureNearest, differing, openNearest } from "../tty/nearest.js";
import { Outgoing } from "../tty/outgoing.js";
import {
  lineRequestOf,
  type Termios,
  VMIN,
  VSTART,
  VSTOP,
  VTIME,
  withLineSettings,
  withoutDiscipline,
} from "../tty/termios.js";
import { CallError } from "./call-error.js";
import { Inbox } from "./inbox.js";

/** Received and not read. More than VMIN can be. */
const MAX_INBOX_BYTES = 64 * 1024;
const CLOSE_AFTER_MS = 30_000;
const HUNG_UP_BAUD = 9600;
/** VTIME counts tenths of a second. */
const VTIME_MS = 100;

const LOW_LATENCY_MS = 1;
/** What FTDI's chips begin with. */
const NORMAL_LATENCY_MS = 16;

const NO_LINES: ModemLines = { cts: false, dsr: false, dcd: false, ri: false };
const NO_ERRORS: LineErrorCounts = { framing: 0, parity: 0, overrun: 0, break: 0 };

/** Since the line was opened. */
export interface LineCounters {
  readonly changes: Readonly<Record<ModemLine, number>>;
  readonly errors: LineErrorCounts;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export class OpenLine implements TtyReceiver {
  readonly #changed: () => void;
  #termios: Termios;
  #port: TtyPort | undefined;
  #outgoing: Outgoing | undefined;
  readonly #inbox = new Inbox();
  #lines = NO_LINES;
  #errors = NO_ERRORS;
  readonly #changes: Record<ModemLine, number> = { cts: 0, dsr: 0, dcd: 0, ri: 0 };
  #receivedBytes = 0;
  #sentBytes = 0;
  #stopped = false;
  #lowLatency = false;
  #leaving = false;
  #ended = false;
  /** Told once, at the next change of anything. */
  readonly #waiting = new Set<() => void>();

  private constructor(termios: Termios, changed: () => void) {
    this.#termios = termios;
    this.#changed = changed;
  }

  /** `changed`: what a poll(2) would say may have changed. @throws DeviceError */
  static async open(tty: Tty, termios: Termios, changed: () => void): Promise<OpenLine> {
    const line = new OpenLine(termios, changed);
    const { settings } = lineRequestOf(termios);
    const up = settings.baud !== 0;
    const how = { settings: up ? settings : { ...settings, baud: HUNG_UP_BAUD }, outputs: { dtr: up, rts: up } };
    const port = await openNearest(tty, how, line);
    line.#port = port;
    line.#outgoing = new Outgoing(port, { room: () => line.#wake(), failed: () => line.#end() });
    if (up) line.#termios = withLineSettings(termios, differing(settings, port.settings));
    line.#settle(await port.status());
    port.grant(MAX_INBOX_BYTES);
    return line;
  }

  get termios(): Termios {
    return this.#termios;
  }

  get lines(): ModemLines {
    return this.#lines;
  }

  get outputs(): OutputLines {
    return this.#openPort.outputs;
  }

  get counters(): LineCounters {
    return {
      changes: { ...this.#changes },
      errors: this.#errors,
      receivedBytes: this.#receivedBytes,
      sentBytes: this.#sentBytes,
    };
  }

  get inBytes(): number {
    return this.#inbox.bytes;
  }

  get outBytes(): number {
    return this.#outgoing?.bytes ?? 0;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** A read would bring something: VMIN bytes, or fewer where time counts. */
  get readable(): boolean {
    const { min, timeMs } = this.#readRule();
    return this.#inbox.bytes >= (timeMs === 0 ? Math.max(min, 1) : 1) || this.#ended;
  }

  get writable(): boolean {
    return this.#outgoing?.hasRoom === true && !this.#stopped;
  }

  /** @returns bytes as VMIN and VTIME have it; none when the line has ended. @throws CallError */
  async read(size: number, nonBlocking: boolean, signal: AbortSignal): Promise<Uint8Array> {
    const { min, timeMs } = this.#readRule();
    const atOnce = min === 0 && timeMs === 0;
    if (nonBlocking && !atOnce && this.#inbox.bytes === 0 && !this.#ended)
      throw new CallError("EAGAIN", "nothing has arrived");
    if (!nonBlocking && !atOnce) await this.#untilRead(Math.min(size, Math.max(min, 1)), min, timeMs, signal);
    const data = this.#inbox.take(size);
    this.#port?.grant(data.length);
    return data;
  }

  async #untilRead(wanted: number, min: number, timeMs: number, signal: AbortSignal): Promise<void> {
    const enough = (): boolean => this.#inbox.bytes >= wanted;
    if (timeMs === 0) return void (await this.#until(enough, signal));
    // Without VMIN the time is that of the first byte, else between bytes.
    await this.#until(() => this.#inbox.bytes > 0, signal, min === 0 ? timeMs : undefined);
    while (min > 0 && !enough()) {
      const before = this.#inbox.bytes;
      if (!(await this.#until(() => this.#inbox.bytes !== before, signal, timeMs))) return;
    }
  }

  /** `data` is the line's from now on. @returns bytes taken: all. @throws CallError */
  async write(data: Uint8Array, nonBlocking: boolean, signal: AbortSignal): Promise<number> {
    if (this.#ended) throw new CallError("EIO", "the line has ended");
    if (nonBlocking && !this.writable) throw new CallError("EAGAIN", "the line takes nothing now");
    await this.#until(() => this.writable, signal);
    const { outgoing } = this.#openParts;
    outgoing.add(data);
    this.#sentBytes += data.length;
    return data.length;
  }

  /** What the device cannot make becomes the nearest. @throws CallError, DeviceError */
  async setTermios(termios: Termios): Promise<void> {
    const port = this.#openPort;
    const { settings } = lineRequestOf(termios);
    const up = settings.baud !== 0;
    const wasUp = this.#termios.ospeed !== 0;
    const made = up ? await configureNearest(port, settings) : settings;
    this.#termios = withLineSettings(withoutDiscipline(termios), differing(settings, made));
    if (up !== wasUp) await port.setOutputs({ dtr: up, rts: up });
    this.#wake();
  }

  async setOutputs(outputs: Partial<OutputLines>): Promise<void> {
    await this.#openPort.setOutputs(outputs);
  }

  /** The lines as the device says them now. */
  async askLines(): Promise<ModemLines> {
    this.changed(await this.#openPort.status());
    return this.#lines;
  }

  async setBreak(on: boolean): Promise<void> {
    await this.#openPort.setBreak(on);
  }

  get lowLatency(): boolean {
    return this.#lowLatency;
  }

  /** Whether the device sends what it has at once. @throws DeviceError EOPNOTSUPP */
  async setLowLatency(low: boolean): Promise<void> {
    await this.#openPort.setLatency(low ? LOW_LATENCY_MS : NORMAL_LATENCY_MS);
    this.#lowLatency = low;
  }

  /** Until what was written has left the device. @throws CallError */
  async drain(signal: AbortSignal): Promise<void> {
    await this.#openParts.outgoing.gone(signal);
    if (signal.aborted) throw new CallError("EINTR", "interrupted");
    if (this.#ended) throw new CallError("EIO", "the line has ended");
  }

  async flush(queue: FlushQueue): Promise<void> {
    const dropped = queue === "out" ? 0 : this.#inbox.clear();
    const port = this.#openPort;
    await port.flush(queue);
    port.grant(dropped);
    this.#wake();
  }

  /** Writes wait, or go on (tcflow). What was taken before goes out. */
  stopOutput(stopped: boolean): void {
    this.#stopped = stopped;
    this.#wake();
  }

  /** Sends the character that holds the other side, or lets it go on. */
  async sendFlowCharacter(stop: boolean): Promise<void> {
    await this.#openPort.write(Uint8Array.of(this.#termios.controlChars[stop ? VSTOP : VSTART] ?? 0));
  }

  /** Waits until one of the lines has changed. @throws CallError */
  async untilLinesChange(lines: readonly ModemLine[], signal: AbortSignal): Promise<void> {
    const total = (): number => lines.reduce((sum, line) => sum + this.#changes[line], 0);
    const before = total();
    if (!(await this.#until(() => total() !== before, signal))) throw new CallError("EIO", "the line has ended");
  }

  /** Waits for a time; the end of the line ends it. @throws CallError EINTR */
  async pause(ms: number, signal: AbortSignal): Promise<void> {
    await this.#until(() => false, signal, ms);
  }

  /** Lets what was written go out, for a time, and closes the line unless closing is no hang-up. @returns whether it stays open */
  async leave(): Promise<boolean> {
    this.#leaving = true;
    this.#port?.grant(this.#inbox.clear());
    await this.#outgoing?.gone(AbortSignal.timeout(CLOSE_AFTER_MS));
    this.#leaving = false;
    if (!this.#ended && !lineRequestOf(this.#termios).hangUpOnClose) return true;
    await this.close();
    return false;
  }

  /** A program has it again after `leave`: what came meanwhile was for nobody. */
  async resume(): Promise<void> {
    this.#stopped = false;
    await this.flush("in");
  }

  /** Ends every call that waits. Idempotent. */
  async close(): Promise<void> {
    const port = this.#port;
    this.#end();
    await port?.close();
  }

  received(data: Uint8Array): void {
    this.#receivedBytes += data.length;
    // Nobody reads any more, but a device that is held may hold what still has to go out.
    if (this.#leaving) return this.#port?.grant(data.length);
    this.#inbox.add(data);
    this.#wake();
  }

  changed({ lines, errors }: TtyStatus): void {
    for (const line of MODEM_LINES) if (lines[line] !== this.#lines[line]) this.#changes[line]++;
    this.#lines = lines;
    this.#errors = errors;
    this.#wake();
  }

  closed(_error: DeviceError): void {
    this.#end();
  }

  #readRule(): { readonly min: number; readonly timeMs: number } {
    const { controlChars } = this.#termios;
    return { min: controlChars[VMIN] ?? 1, timeMs: (controlChars[VTIME] ?? 0) * VTIME_MS };
  }

  get #openParts(): { readonly port: TtyPort; readonly outgoing: Outgoing } {
    if (this.#ended || this.#port === undefined || this.#outgoing === undefined)
      throw new CallError("EIO", "the line has ended");
    return { port: this.#port, outgoing: this.#outgoing };
  }

  get #openPort(): TtyPort {
    return this.#openParts.port;
  }

  /** Nothing has changed yet: so it was when the line was opened. */
  #settle({ lines, errors }: TtyStatus): void {
    this.#lines = lines;
    this.#errors = errors;
    for (const line of MODEM_LINES) this.#changes[line] = 0;
  }

  #end(): void {
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
    this.#changed();
  }

  /** @returns false when the time is over or the line has ended first. @throws CallError EINTR */
  async #until(isSo: () => boolean, signal: AbortSignal, ms?: number): Promise<boolean> {
    const deadline = ms === undefined ? undefined : performance.now() + ms;
    for (;;) {
      if (signal.aborted) throw new CallError("EINTR", "interrupted");
      if (isSo()) return true;
      if (this.#ended || (deadline !== undefined && performance.now() >= deadline)) return false;
      await this.#nextChange(signal, deadline);
    }
  }

  async #nextChange(signal: AbortSignal, deadline: number | undefined): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    let wake: () => void = () => undefined;
    await new Promise<void>((resolve) => {
      wake = resolve;
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
      if (deadline !== undefined) timer = setTimeout(resolve, Math.max(0, Math.ceil(deadline - performance.now())));
    });
    clearTimeout(timer);
    this.#waiting.delete(wake);
    signal.removeEventListener("abort", wake);
  }
}
