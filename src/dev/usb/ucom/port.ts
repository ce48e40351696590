/**
 * An open serial port: settings, lines, and the two directions.
 *
 * Requests to the chip go one at a time. Whatever ends the port (close, unplug, a broken device) ends it once: reads and
 * writes are cancelled, waits end, and the receiver is told unless it closed the port itself.
 */
import { DeviceError } from "../../../rump/devsw.js";
import type {
  FlushQueue,
  LineSettings,
  OutputLines,
  RequestOptions,
  TtyOpen,
  TtyPort,
  TtyReceiver,
  TtyStatus,
} from "../../../rump/devsw.js";
import type { Attachment } from "../usbdi.js";
import type { SerialChip, SerialPipes } from "./chip.js";
import { delay, pollMs, TransmitEstimate, wireMs } from "./drain.js";
import { checkSignal, deviceError } from "./errors.js";
import { LineStatus } from "./line-status.js";
import { Receive } from "./receive.js";
import { fitSettings, isSoftFlow } from "./settings.js";
import { SoftFlow } from "./soft-flow.js";
import { Writer } from "./writer.js";

export interface UcomOptions {
  readonly at: Pick<Attachment<unknown>, "clock" | "runChain" | "rest" | "log">;
  readonly chip: SerialChip;
  readonly pipes: SerialPipes;
}

const MAX_LATENCY_MS = 255;
const LOW: OutputLines = { dtr: false, rts: false };

export class UcomPort implements TtyPort {
  readonly #options: UcomOptions;
  readonly #receiver: TtyReceiver;
  readonly #closed: () => void;
  readonly #status = new LineStatus();
  readonly #softFlow: SoftFlow;
  readonly #receive: Receive;
  readonly #writer: Writer;
  readonly #sent: TransmitEstimate;
  /** Aborted with the port; waits end with it. */
  readonly #ended = new AbortController();
  #settings: LineSettings;
  #outputs: OutputLines;
  #requests: Promise<unknown> = Promise.resolve();
  /** Requests that have not ended. */
  #asked = 0;
  #running: Promise<void> = Promise.resolve();
  #end: Promise<void> | undefined;

  /** `closed` is called once, when the port is no more and may be opened anew. Settings fit the chip. */
  private constructor(options: UcomOptions, how: TtyOpen, receiver: TtyReceiver, closed: () => void) {
    const { at, chip, pipes } = options;
    this.#options = options;
    this.#receiver = receiver;
    this.#closed = closed;
    this.#settings = how.settings;
    this.#outputs = how.outputs;
    this.#sent = new TransmitEstimate(at.clock, chip.limits.transmitBufferBytes);
    this.#softFlow = new SoftFlow((byte) => this.#writer.sendUrgent(byte));
    this.#writer = new Writer({
      at,
      pipe: pipes.bulkOut,
      hold: (signal) => this.#softFlow.hold(signal),
      taken: (bytes) => {
        this.#sent.taken(bytes, this.#settings);
        this.#receive.sent(bytes);
      },
    });
    this.#receive = new Receive({
      chip,
      pipes,
      clock: at.clock,
      status: this.#status,
      softFlow: this.#softFlow,
      receiver,
      rest: (ms) => this.#rest(ms),
      isSending: () => !this.#writer.idle,
      log: (level, message) => at.log(level, message),
    });
  }

  /** @throws LineSettingsError; DeviceError. `closed` has been called then. */
  static async open(options: UcomOptions, how: TtyOpen, receiver: TtyReceiver, closed: () => void): Promise<UcomPort> {
    const { chip } = options;
    try {
      const settings = fitSettings(chip, how.settings);
      const port = new UcomPort(options, { ...how, settings }, receiver, closed);
      await port.#start(how);
      return port;
    } catch (error) {
      closed();
      throw deviceError(error);
    }
  }

  get settings(): LineSettings {
    return this.#settings;
  }

  get outputs(): OutputLines {
    return this.#outputs;
  }

  async configure(settings: LineSettings, options: RequestOptions = {}): Promise<LineSettings> {
    const fitting = fitSettings(this.#options.chip, settings);
    await this.#request("configure", options, () => this.#setLine(settings));
    this.#settings = fitting;
    return fitting;
  }

  async setOutputs(outputs: Partial<OutputLines>, options: RequestOptions = {}): Promise<void> {
    await this.#request("set lines", options, async () => {
      const next = { ...this.#outputs, ...outputs };
      await this.#options.chip.setOutputs(next);
      this.#outputs = next;
    });
  }

  async setBreak(on: boolean, options: RequestOptions = {}): Promise<void> {
    const { chip } = this.#options;
    if (chip.setBreak === undefined) throw unsupported(chip, "break");
    // A break in the middle of what is being sent would be read as a damaged character.
    if (on) await this.drain(options);
    await this.#request("break", options, () => chip.setBreak?.(on) ?? Promise.resolve());
  }

  async status(options: RequestOptions = {}): Promise<TtyStatus> {
    const { chip } = this.#options;
    if (chip.readLines !== undefined) {
      const lines = await this.#request("status", options, () => chip.readLines?.() ?? Promise.resolve({}));
      this.#receive.tellLines(lines);
    } else this.#checkOpen("status");
    return this.#status.read();
  }

  async setLatency(latencyMs: number, options: RequestOptions = {}): Promise<number> {
    const { chip } = this.#options;
    const wanted = Math.min(Math.max(Math.round(latencyMs), 1), MAX_LATENCY_MS);
    this.#checkOpen("latency");
    const hasTimer = chip.limits.hasLatency && chip.setLatency !== undefined;
    // A timer may take all of it; without one half is left for the way from here.
    this.#receive.limitLatency(hasTimer ? 0 : wanted / 2);
    if (!hasTimer) return wanted;
    return await this.#request("latency", options, () => chip.setLatency?.(wanted) ?? Promise.resolve(wanted));
  }

  async write(data: Uint8Array, options: RequestOptions = {}): Promise<void> {
    this.#checkOpen("write");
    await this.#writer.write(data, options.signal);
  }

  grant(bytes: number): void {
    if (this.#end === undefined) this.#receive.grant(bytes);
  }

  async drain(options: RequestOptions = {}): Promise<void> {
    const { at } = this.#options;
    const signals = options.signal === undefined ? [this.#ended.signal] : [this.#ended.signal, options.signal];
    await this.#untilAborted("drain", this.#writer.settled(), options.signal);
    for (;;) {
      const waitMs = await this.#transmitMs(options);
      if (waitMs === 0) return;
      await this.#untilAborted("drain", delay(at.clock, waitMs, signals), options.signal);
    }
  }

  async flush(queue: FlushQueue, options: RequestOptions = {}): Promise<void> {
    const { chip } = this.#options;
    this.#checkOpen("flush");
    if (queue !== "in") {
      this.#writer.cancel();
      await this.#writer.settled();
      this.#sent.clear();
    }
    if (queue !== "out") this.#receive.clear();
    if (chip.flush !== undefined) await this.#request("flush", options, () => chip.flush?.(queue) ?? Promise.resolve());
  }

  close(): Promise<void> {
    this.#end ??= this.#finish(undefined);
    return this.#end;
  }

  /** The device has gone or is taken away: as `close`, and the receiver is told. */
  fail(error: DeviceError): Promise<void> {
    this.#end ??= this.#finish(error);
    return this.#end;
  }

  async #start({ settings, outputs, isResumed = false }: TtyOpen): Promise<void> {
    const { chip } = this.#options;
    try {
      await chip.open({ outputs, isResumed });
      await this.#setLine(settings);
      await chip.setOutputs(this.#outputs);
      if (chip.readLines !== undefined) this.#status.setLines(await chip.readLines());
    } catch (error) {
      await this.#switchOff();
      throw error;
    }
    this.#status.takeChange();
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    try {
      await this.#receive.run();
    } catch (error) {
      void this.fail(deviceError(error));
    }
  }

  async #setLine(settings: LineSettings): Promise<void> {
    const { chip } = this.#options;
    const soft = isSoftFlow(chip, settings.flowControl);
    await chip.setLine(soft ? { ...settings, flowControl: "none" } : settings);
    this.#softFlow.setActive(soft);
    this.#writer.useSmallChunks(soft);
    this.#receive.setRate(wireMs(1, settings));
  }

  async #finish(error: DeviceError | undefined): Promise<void> {
    this.#ended.abort(error ?? new DeviceError("ENODEV", "the port was closed"));
    this.#receive.stop();
    this.#writer.end(error ?? new DeviceError("ECANCELED", "write: the port was closed"));
    await Promise.all([this.#writer.settled(), this.#running, this.#requests]);
    await this.#switchOff();
    this.#closed();
    if (error !== undefined) this.#receiver.closed(error);
  }

  /** How long the chip may still send, or when to ask again; 0 = it is empty. */
  async #transmitMs(options: RequestOptions): Promise<number> {
    const { chip } = this.#options;
    if (chip.transmitQueue === undefined) return this.#sent.remainingMs();
    const queued = await this.#request("drain", options, () => chip.transmitQueue?.() ?? Promise.resolve(0));
    return queued > 0 ? pollMs(queued, this.#settings) : 0;
  }

  /** A device that has gone or does not answer any more is left as it is. */
  async #switchOff(): Promise<void> {
    const { chip, at } = this.#options;
    try {
      await chip.setOutputs(LOW);
      await chip.close();
    } catch (error) {
      at.log("debug", `close: ${deviceError(error).message}`);
    }
  }

  /** Answers do not wait. */
  #rest(ms: number): void {
    const restMs = this.#asked > 0 ? 0 : Math.floor(Math.min(ms, this.#mayRestMs()));
    this.#options.at.rest(restMs);
  }

  /**
   * The chip must not run out of what it sends. It has enough for as long as the bytes of the transfer under way take on the wire, and
   * some more in its buffer: a quarter of that is kept back, so that it fills up again. While a transfer is under way the buffer is
   * full, so that a look may be as late as half of it takes, and then as late again on a busy machine. A device that takes bytes faster than the line, having none, is not kept waiting.
   */
  #mayRestMs(): number {
    if (this.#writer.idle) return Number.POSITIVE_INFINITY;
    const { underWay, transferMs } = this.#writer;
    const { clock } = this.#options.at;
    const bufferedMs = wireMs(this.#options.chip.limits.transmitBufferBytes, this.#settings);
    const sentMs =
      underWay === undefined ? 0 : underWay.startMs + wireMs(underWay.bytes, this.#settings) - clock.nowMs();
    return Math.min(transferMs / 2, Math.max(sentMs - bufferedMs / 4, bufferedMs / 2));
  }

  /** Runs `ask` when the requests before it have ended. @throws DeviceError */
  async #request<T>(what: string, options: RequestOptions, ask: () => Promise<T>): Promise<T> {
    this.#checkOpen(what);
    const turn = this.#requests.then(() => {
      this.#checkOpen(what);
      checkSignal(options.signal, what);
      return ask();
    });
    this.#requests = turn.catch(() => undefined);
    this.#asked++;
    this.#options.at.rest(0);
    try {
      return await turn;
    } catch (error) {
      throw deviceError(error);
    } finally {
      this.#asked--;
    }
  }

  /** @throws DeviceError ECANCELED, or why the port has ended. */
  async #untilAborted(what: string, wait: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
    let abort = (): void => undefined;
    const aborted = new Promise<never>((_resolve, reject) => {
      abort = () => reject(new DeviceError("ECANCELED", `${what}: given up by the caller`));
      if (signal?.aborted === true) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });
    try {
      await Promise.race([wait, aborted]);
    } catch (error) {
      checkSignal(signal, what);
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    this.#checkOpen(what);
  }

  #checkOpen(what: string): void {
    if (this.#end === undefined) return;
    const reason: unknown = this.#ended.signal.reason;
    throw new DeviceError("ENODEV", `${what}: ${reason instanceof Error ? reason.message : "the port has ended"}`);
  }
}

function unsupported({ limits }: SerialChip, what: string): DeviceError {
  return new DeviceError("EOPNOTSUPP", `${limits.model} has no ${what}`);
}
