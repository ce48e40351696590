/**
 * The time during which programs have the terminal open, and the line with it: from the first open to the last close, and on
 * until what was written has gone out. A program that said that closing is no hang-up (HUPCL off) leaves the line open behind
 * it, and the next one goes on with it.
 */
import type { DeviceError, FlushQueue, LineSettings, Tty, TtyPort, TtyReceiver } from "../../../rump/devsw.js";
import { messageOf } from "../errors.js";
import { configureNearest, differing, openNearest } from "../tty/nearest.js";
import {
  EXTPROC,
  type LineRequest,
  lineRequestOf,
  processesInput,
  sameTermios,
  type Termios,
  withExtproc,
  withLineSettings,
} from "../tty/termios.js";
import { Outgoing } from "../tty/outgoing.js";
import type { Packet, Terminal } from "./terminal.js";

/** Received and not yet in the terminal. */
const MAX_INCOMING_BYTES = 64 * 1024;
/** Packets of one wake-up, so that others get their turn. */
const MAX_PACKETS = 16;
/** How long bytes may take to go out before settings change behind them. */
const CHANGE_AFTER_MS = 1000;
/** How long bytes may take to go out after the last close (closing_wait of the kernel's drivers). */
const CLOSE_AFTER_MS = 30_000;
/** Scripts open a line for a moment, again and again, with stty and echo: those are not refused. */
const SHARED_MS = 500;
/** A program may change its settings in several steps; they are over when nothing changes for so long. */
const SETTLED_MS = 20;
/** The rate of a line that is opened while it is hung up (B0). */
const HUNG_UP_BAUD = 9600;

export interface VisitEvents {
  /** The line is closed. `terminalStuck`: nobody can open the terminal any more. */
  ended(terminalStuck: boolean): void;
  /** The line could not be opened, or ended by itself: programs must be told. */
  lost(error: Error): void;
}

export class Visit implements TtyReceiver {
  readonly #terminal: Terminal;
  readonly #framing: Partial<LineSettings>;
  readonly #events: VisitEvents;
  #port: TtyPort | undefined;
  #outgoing: Outgoing | undefined;
  #incoming: Uint8Array[] = [];
  /** Settings as last seen, and what they ask of the line. */
  #seen: Termios;
  #request: LineRequest;
  /** "left": all have closed the terminal, and the line stays open. */
  #state: "opening" | "here" | "leaving" | "left" | "over" = "opening";
  /** Granted bytes that came when nobody was there. */
  #missedBytes = 0;
  #changing: Promise<void> | undefined;
  #back = new AbortController();
  #sharedTimer: NodeJS.Timeout | undefined;
  #settleTimer: NodeJS.Timeout | undefined;

  /** `framing`: what a pseudo terminal cannot say, said beforehand. */
  constructor(terminal: Terminal, framing: Partial<LineSettings>, events: VisitEvents) {
    this.#terminal = terminal;
    this.#framing = framing;
    this.#events = events;
    this.#seen = terminal.termios;
    this.#request = this.#requestOf(this.#seen);
  }

  /** Opens the line. Does not reject: what fails is `lost`. */
  async begin(tty: Tty): Promise<void> {
    const { settings } = this.#request;
    const up = settings.baud !== 0;
    try {
      const how = { settings: up ? settings : { ...settings, baud: HUNG_UP_BAUD }, outputs: { dtr: up, rts: up } };
      this.#port = await openNearest(tty, how, this);
    } catch (error) {
      return this.#fail(error);
    }
    if (this.#state === "over") return await this.#port.close();
    this.#outgoing = new Outgoing(this.#port, {
      room: () => this.ready(),
      failed: (error) => this.#fail(error),
    });
    this.#guard(() => {
      this.#setBack(settings, this.#port?.settings ?? settings);
      this.#arrive();
      this.#look();
    });
    this.ready();
    this.#port?.grant(MAX_INCOMING_BYTES);
  }

  /** The terminal may be read, or has room. */
  ready(): void {
    if (this.#state === "here") this.#guard(() => this.#transfer());
  }

  /** A program opened or closed the terminal, or changed its settings. */
  used(): void {
    this.#guard(() => {
      if (this.#state === "leaving" && this.#terminal.occupied) return this.#back.abort();
      if (this.#state === "left" && this.#terminal.occupied) this.#return();
      if (this.#state === "here") this.#look();
    });
  }

  received(data: Uint8Array): void {
    // Nobody reads any more, but a device that is held may hold what still has to go out.
    if (this.#state === "leaving") return this.#port?.grant(data.length);
    if (this.#state !== "here") {
      this.#missedBytes += data.length;
      return;
    }
    this.#guard(() => {
      if (!this.#isTold) this.#look();
      const waited = this.#incoming.length > 0;
      this.#incoming.push(data.slice());
      this.#deliver();
      if (waited || this.#incoming.length > 0) this.#watch();
    });
  }

  /** A pseudo terminal has no modem lines and no counters. */
  changed(): void {}

  closed(error: DeviceError): void {
    this.#port = undefined;
    this.#fail(error);
  }

  /** Ends it without waiting for what was written. Idempotent. */
  async end(): Promise<void> {
    this.#stop();
    await this.#port?.close();
  }

  #transfer(): void {
    this.#deliver();
    for (let packets = 0; packets < MAX_PACKETS; packets++) {
      if (!this.#mayTake && !this.#terminal.statusWaits) break;
      const packet = this.#terminal.read();
      if (packet === undefined) break;
      if (packet.kind === "hungUp") return this.#leave();
      this.#take(packet);
    }
    this.#watch();
  }

  #take(packet: Exclude<Packet, { kind: "hungUp" }>): void {
    if (packet.kind === "status") this.#flush(packet.flushedIn, packet.flushedOut);
    if (packet.kind === "status" || !this.#isTold) this.#look();
    if (packet.kind === "data") this.#outgoing?.add(packet.data);
  }

  /** The terminal tells of changed settings by itself. */
  get #isTold(): boolean {
    return (this.#seen.lflag & EXTPROC) !== 0;
  }

  get #mayTake(): boolean {
    return this.#changing === undefined && this.#outgoing?.hasRoom === true;
  }

  #watch(): void {
    if (this.#state !== "here") return;
    const room = this.#incoming.length > 0;
    if (this.#mayTake) this.#terminal.watch({ packets: "all", room });
    // What is left there is taken when there is room; the hang-up would be told without end.
    else if (this.#terminal.hungUp) this.#terminal.watch({ packets: "none", room: false });
    else this.#terminal.watch({ packets: "status", room });
  }

  /** Gives programs what has arrived, and the device leave to send as much again. */
  #deliver(): void {
    let moved = 0;
    for (;;) {
      const [first] = this.#incoming;
      if (first === undefined) break;
      const taken = this.#terminal.write(first);
      moved += taken;
      if (taken < first.length) {
        this.#incoming[0] = first.subarray(taken);
        break;
      }
      this.#incoming.shift();
    }
    if (moved > 0) this.#port?.grant(moved);
  }

  #flush(flushedIn: boolean, flushedOut: boolean): void {
    if (!flushedIn && !flushedOut) return;
    const queue: FlushQueue = flushedIn && flushedOut ? "both" : flushedIn ? "in" : "out";
    const dropped = flushedIn ? this.#incoming.splice(0) : [];
    this.#port?.flush(queue).catch((error: unknown) => this.#fail(error));
    this.#port?.grant(dropped.reduce((sum, part) => sum + part.length, 0));
  }

  #requestOf(termios: Termios): LineRequest {
    const request = lineRequestOf(termios);
    return { ...request, settings: { ...request.settings, ...this.#framing } };
  }

  #look(): void {
    const termios = this.#terminal.termios;
    if (!sameTermios(termios, this.#seen)) {
      this.#seen = termios;
      const request = this.#requestOf(termios);
      const asksMore = !sameSettings(request.settings, this.#request.settings);
      this.#request = asksMore ? request : { ...request, settings: this.#request.settings };
      if (asksMore) this.#change();
    }
    this.#settle();
  }

  /** Puts the line into the state that was asked for last, behind what was written before. */
  #change(): void {
    const port = this.#port;
    if (this.#changing !== undefined || port === undefined) return;
    this.#changing = this.#applyUntilCurrent(port).then(
      () => {
        this.#changing = undefined;
        this.ready();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  async #applyUntilCurrent(port: TtyPort): Promise<void> {
    let settings: LineSettings;
    do {
      await this.#outgoing?.gone(AbortSignal.timeout(CHANGE_AFTER_MS));
      ({ settings } = this.#request);
      const up = settings.baud !== 0;
      if (up) this.#setBack(settings, await configureNearest(port, settings));
      if (port.outputs.dtr !== up || port.outputs.rts !== up) await port.setOutputs({ dtr: up, rts: up });
    } while (settings !== this.#request.settings);
  }

  /** A program that asks what it got sees what the line has, unless it has asked for something else by now. */
  #setBack(asked: LineSettings, made: LineSettings): void {
    const changes = differing(asked, made);
    if (this.#state === "over" || asked !== this.#request.settings || asked.baud === 0) return;
    if (Object.keys(changes).length === 0) return;
    this.#terminal.termios = withLineSettings(this.#seen, changes);
    this.#seen = this.#terminal.termios;
  }

  /** EXTPROC follows what programs want, once they have made up their mind: of two that write settings one loses. */
  #settle(): void {
    const before = this.#seen;
    const extproc = !processesInput(before);
    if (this.#isTold === extproc || this.#settleTimer !== undefined) return;
    this.#settleTimer = setTimeout(() => {
      this.#settleTimer = undefined;
      this.#guard(() => {
        if (sameTermios(this.#terminal.termios, before)) {
          this.#terminal.termios = withExtproc(before, extproc);
          this.#seen = this.#terminal.termios;
        }
        if (this.#state !== "over") this.#look();
      });
    }, SETTLED_MS);
  }

  #arrive(): void {
    this.#state = "here";
    this.#sharedTimer = setTimeout(() => {
      this.#terminal.refuseOthers().catch((error: unknown) => this.#fail(error));
    }, SHARED_MS);
  }

  /** All have closed the terminal. A program that opens it before everything has gone out goes on with the line. */
  #leave(): void {
    this.#look();
    this.#state = "leaving";
    clearTimeout(this.#sharedTimer);
    this.#terminal.watch({ packets: "none", room: false });
    this.#port?.grant(this.#incoming.splice(0).reduce((sum, part) => sum + part.length, 0));
    this.#back = new AbortController();
    const signal = AbortSignal.any([this.#back.signal, AbortSignal.timeout(CLOSE_AFTER_MS)]);
    const gone = Promise.all([this.#terminal.tidy(), this.#goneOut(signal)]);
    gone.then(
      ([isTidy]) => void this.#close(!isTidy),
      (error: unknown) => this.#fail(error),
    );
  }

  /** Nobody has it open, and what was written has gone out, or the time for that is over. */
  async #close(terminalStuck: boolean): Promise<void> {
    if (this.#state !== "leaving") return;
    this.#state = "left";
    if (!terminalStuck && this.#terminal.occupied) return this.#guard(() => this.#return());
    if (!this.#request.hangUpOnClose && !terminalStuck) return;
    this.#stop();
    await this.#port?.close();
    this.#events.ended(terminalStuck);
  }

  async #goneOut(signal: AbortSignal): Promise<void> {
    await this.#changing;
    await this.#outgoing?.gone(signal);
  }

  /** A program is there again, on the line that is still open. What came meanwhile was for nobody. */
  #return(): void {
    this.#arrive();
    this.#look();
    this.#transfer();
    this.#port?.grant(this.#missedBytes);
    this.#missedBytes = 0;
  }

  #stop(): void {
    this.#state = "over";
    this.#terminal.watch({ packets: "none", room: false });
    this.#back.abort();
    clearTimeout(this.#sharedTimer);
    clearTimeout(this.#settleTimer);
    this.#incoming = [];
  }

  /** What the system refuses ends the visit. */
  #guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#state === "over") return;
    this.#stop();
    this.#events.lost(error instanceof Error ? error : new Error(messageOf(error)));
  }
}

function sameSettings(one: LineSettings, other: LineSettings): boolean {
  return (Object.keys(one) as (keyof LineSettings)[]).every((key) => one[key] === other[key]);
}
