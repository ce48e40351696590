/**
 * An open line as its opener has it: what may be asked of it, and the state that makes the line what it is: settings, lines
 * driven, break, latency. The line (host-tty-line.ts) brings every process that serves it into that state.
 */
import {
  DeviceError,
  type FlushQueue,
  type LineSettings,
  type OutputLines,
  type RequestOptions,
  type TtyInfo,
  type TtyOpen,
  type TtyPort,
  type TtyStatus,
} from "../rump/devsw.js";
import { KINDS } from "./frames.js";
import type { StatusMemory } from "./host-tty-memory.js";
import type { TtyRequestFields } from "./host-tty-request.js";
import { cancelled, type LineRequests } from "./host-tty-requests.js";
import type { LineWrites } from "./host-tty-writes.js";
import {
  checkEncodable,
  decodeSettings,
  decodeStatus,
  encodeOutputs,
  encodeSettings,
  FLUSH_NUMBERS,
  ttyLatencyRecord,
  ttySettingsRecord,
  ttyStatusRecord,
} from "./tty-payloads.js";

const MAX_LATENCY_MS = 0xffff;

/** What a port needs of its line. */
export interface PortLine {
  readonly info: TtyInfo;
  readonly requests: LineRequests;
  readonly writes: LineWrites;
  readonly status: StatusMemory;
  /** @throws DeviceError: nothing new is asked any more. */
  checkOpen(what: string): void;
  grant(bytes: number): void;
  close(): Promise<void>;
}

export class HostPort implements TtyPort {
  readonly #line: PortLine;
  /** As asked for, so that asking again gives the same. */
  #wanted: LineSettings;
  #settings: LineSettings;
  #outputs: OutputLines;
  #isBreak = false;
  #latencyMs: number | undefined;
  /** Calls to `flush` that are not answered. */
  #flushes = 0;

  constructor({ settings, outputs }: TtyOpen, line: PortLine) {
    this.#line = line;
    this.#wanted = settings;
    this.#settings = settings;
    this.#outputs = outputs;
  }

  get settings(): LineSettings {
    return this.#settings;
  }

  get outputs(): OutputLines {
    return this.#outputs;
  }

  async configure(settings: LineSettings, options: RequestOptions = {}): Promise<LineSettings> {
    this.#line.checkOpen("configure");
    checkEncodable(this.#line.info, settings);
    const fields = { kind: KINDS.ttyConfigure, payload: encodeSettings(settings), replyBytes: ttySettingsRecord.size };
    this.#settings = await this.#line.requests.ask(fields, decodeSettings, options);
    this.#wanted = settings;
    return this.#settings;
  }

  async setOutputs(outputs: Partial<OutputLines>, options: RequestOptions = {}): Promise<void> {
    this.#line.checkOpen("set lines");
    await this.#line.requests.ask({ kind: KINDS.ttyOutputs, payload: encodeOutputs(outputs) }, noReply, options);
    this.#outputs = { ...this.#outputs, ...outputs };
  }

  async setBreak(on: boolean, options: RequestOptions = {}): Promise<void> {
    this.#line.checkOpen("break");
    if (on) await this.#writesSettled("break", options.signal);
    await this.#line.requests.ask({ kind: KINDS.ttyBreak, count: on ? 1 : 0 }, noReply, options);
    this.#isBreak = on;
  }

  async status(options: RequestOptions = {}): Promise<TtyStatus> {
    this.#line.checkOpen("status");
    const fields = { kind: KINDS.ttyStatus, replyBytes: ttyStatusRecord.size };
    return this.#line.status.note(await this.#line.requests.ask(fields, decodeStatus, options));
  }

  async setLatency(latencyMs: number, options: RequestOptions = {}): Promise<number> {
    this.#line.checkOpen("latency");
    const wanted = Math.min(Math.max(Math.round(latencyMs) || 0, 0), MAX_LATENCY_MS);
    const made = await this.#line.requests.ask(latencyFields(wanted), decodeLatency, options);
    this.#latencyMs = wanted;
    return made;
  }

  async write(data: Uint8Array, options: RequestOptions = {}): Promise<void> {
    this.#line.checkOpen("write");
    await this.#line.writes.write(data, options.signal);
  }

  grant(bytes: number): void {
    this.#line.grant(bytes);
  }

  async drain(options: RequestOptions = {}): Promise<void> {
    this.#line.checkOpen("drain");
    await this.#writesSettled("drain", options.signal);
    await this.#line.requests.ask({ kind: KINDS.ttyDrain }, noReply, options);
  }

  async flush(queue: FlushQueue, options: RequestOptions = {}): Promise<void> {
    this.#line.checkOpen("flush");
    if (queue !== "in") this.#line.writes.stopAll(new DeviceError("ECANCELED", "write: flushed"));
    // What is written meanwhile must not be thrown away with what was there before.
    this.#flushes++;
    try {
      await this.#line.requests.ask({ kind: KINDS.ttyFlush, count: FLUSH_NUMBERS[queue] }, noReply, options);
    } finally {
      this.#flushes--;
      this.#line.writes.pump();
    }
  }

  async close(): Promise<void> {
    await this.#line.close();
  }

  // -------------------------------------------------------------------------------------------------------------------
  // For the line

  /** The settings to open the line with. */
  get wanted(): LineSettings {
    return this.#wanted;
  }

  /** The device has made these of what is wanted. */
  made(settings: LineSettings): void {
    this.#settings = settings;
  }

  /** Writes wait meanwhile. */
  get isFlushing(): boolean {
    return this.#flushes > 0;
  }

  /** What to ask of a process that has opened the line anew. */
  toRestore(): TtyRequestFields[] {
    return [
      ...(this.#latencyMs === undefined ? [] : [latencyFields(this.#latencyMs)]),
      ...(this.#isBreak ? [{ kind: KINDS.ttyBreak, count: 1 }] : []),
    ];
  }

  /** Resolves when what was written before has ended. @throws DeviceError ECANCELED, or why the line has. */
  async #writesSettled(what: string, signal: AbortSignal | undefined): Promise<void> {
    let abort = (): void => undefined;
    const aborted = new Promise<"aborted">((resolve) => {
      abort = () => resolve("aborted");
      if (signal?.aborted === true) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });
    const first = await Promise.race([this.#line.writes.settled(), aborted]);
    signal?.removeEventListener("abort", abort);
    if (first === "aborted") throw cancelled();
    this.#line.checkOpen(what);
  }
}

function noReply(): void {}

function latencyFields(latencyMs: number): TtyRequestFields {
  return { kind: KINDS.ttyLatency, count: latencyMs, replyBytes: ttyLatencyRecord.size };
}

function decodeLatency(payload: Uint8Array): number {
  return ttyLatencyRecord.decode(payload).latencyMs;
}
