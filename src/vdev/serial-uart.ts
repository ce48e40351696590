/**
 * A UART as a serial chip has it: two buffers, settings, lines, flow control, and a far end.
 *
 * The far end is the UART itself (loopback) or another one (null modem). Without pacing bytes cross at once and wait for
 * room; with pacing they take the time of the rate, and what finds no room is lost, as on a real line.
 */
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import { ByteQueue } from "./serial-queue.js";

export type UartParity = "none" | "odd" | "even" | "mark" | "space";
export type UartFlow = "none" | "rtsCts" | "xonXoff";

export interface UartSettings {
  /** The rate that the registers make. */
  readonly baud: number;
  readonly dataBits: number;
  readonly parity: UartParity;
  readonly stopBits: number;
  readonly flow: UartFlow;
}

export type UartError = "framing" | "parity" | "overrun" | "break";

/** What the far end drives. */
export interface UartInputs {
  readonly cts: boolean;
  readonly dsr: boolean;
  readonly dcd: boolean;
  readonly ri: boolean;
}

/** What this end drives. */
export interface UartOutputs {
  readonly dtr: boolean;
  readonly rts: boolean;
  readonly breaking: boolean;
}

export interface UartOptions {
  readonly clock: Clock;
  readonly transmitBytes: number;
  readonly receiveBytes: number;
  readonly paced: boolean;
}

export const UART_DEFAULTS: UartSettings = { baud: 9600, dataBits: 8, parity: "none", stopBits: 1, flow: "none" };

/** What is left of a damaged character, and what a break looks like. */
const DAMAGED = 0x00;
const XON = 0x11;
const XOFF = 0x13;
/** Farther apart, the two ends do not understand each other. */
const MAX_BAUD_ERROR = 0.05;
/** The receive buffer stops the other side above three quarters, and lets it go on below a half. */
const STOP_AT = 0.75;
const GO_AT = 0.5;
/** The part of the far end's buffer that arrives at a time. */
const MAX_STEP = 0.125;
const MIN_STEP_MS = 1;

export class Uart {
  readonly transmit: ByteQueue;
  readonly receive: ByteQueue;
  readonly #clock: Clock;
  readonly #paced: boolean;
  #settings = UART_DEFAULTS;
  #dtr = false;
  #rts = false;
  #breaking = false;
  #inputs: UartInputs = { cts: false, dsr: false, dcd: false, ri: false };
  /** Set by hand; comes on top of what the far end drives. */
  #ring = false;
  #farEnd: Uart | undefined;
  #timer: Timer | undefined;
  #lastMs: number;
  #budgetBits = 0;
  /** Nothing was to be sent, or it was held: the line gathers no time. */
  #resting = true;
  /** XOFF was received. */
  #held = false;
  /** The receive buffer is above its mark. */
  #stopping = false;
  #onChange: () => void = () => undefined;
  #errors: UartError[] = [];

  constructor(options: UartOptions) {
    this.#clock = options.clock;
    this.#paced = options.paced;
    this.#lastMs = options.clock.nowMs();
    this.transmit = new ByteQueue(options.transmitBytes);
    this.receive = new ByteQueue(options.receiveBytes);
  }

  /** Its own far end: RTS on CTS, DTR on DSR and DCD. */
  loopBack(): void {
    this.#farEnd = this;
  }

  /** Crosses data and lines of the two. */
  static connect(a: Uart, b: Uart): void {
    a.#farEnd = b;
    b.#farEnd = a;
    a.#driveLines();
    b.#driveLines();
  }

  /** One listener: received bytes, input lines, errors, a break, or room to transmit. May be called within any call. */
  onChange(changed: () => void): void {
    this.#onChange = changed;
  }

  get settings(): UartSettings {
    return this.#settings;
  }

  get inputs(): UartInputs {
    return { ...this.#inputs, ri: this.#inputs.ri || this.#ring };
  }

  get outputs(): UartOutputs {
    return { dtr: this.#dtr, rts: this.#rts, breaking: this.#breaking };
  }

  configure(settings: Partial<UartSettings>): void {
    this.#settings = { ...this.#settings, ...settings };
    if (this.#settings.flow !== "xonXoff") this.#held = false;
    this.#driveLines();
    this.run();
  }

  setOutputs(outputs: { readonly dtr?: boolean; readonly rts?: boolean }): void {
    this.#dtr = outputs.dtr ?? this.#dtr;
    this.#rts = outputs.rts ?? this.#rts;
    this.#driveLines();
  }

  setBreak(on: boolean): void {
    if (on && !this.#breaking) this.#farEnd?.raise("break");
    this.#breaking = on;
    this.run();
    this.#onChange();
  }

  setRing(ring: boolean): void {
    this.#ring = ring;
    this.#onChange();
  }

  /** The line damages something. A UART receives a character then, too: a break is one of zeroes; an overrun is the loss of one. */
  raise(error: UartError): void {
    this.#errors.push(error);
    if (error !== "overrun") this.receive.push(Uint8Array.of(DAMAGED));
    this.#onChange();
  }

  /** Errors since the last call. */
  takeErrors(): UartError[] {
    return this.#errors.splice(0);
  }

  /** Bytes for the chip to send on to the host. */
  takeReceived(maxBytes: number): Uint8Array {
    const data = this.receive.shift(maxBytes);
    this.#watchLevel();
    this.#farEnd?.run();
    return data;
  }

  /** What is at the far end arrives here, as if somebody had sent it. */
  feed(data: Uint8Array): number {
    return this.#arrive(data, this.#settings);
  }

  /** Sends what may be sent by now. */
  run(): void {
    const farEnd = this.#farEnd;
    if (farEnd === undefined) return;
    while (this.transmit.length > 0 && !this.#isHeld()) {
      const bytes = this.#mayCross();
      if (bytes === 0) break;
      // In steps, so that the far end can stop this one between two characters, as on a real line.
      const step = Math.max(1, Math.floor(farEnd.receive.capacity * MAX_STEP));
      const wanted = Math.min(bytes, this.transmit.length, this.#paced ? step : farEnd.receive.room);
      if (wanted === 0) break;
      // Before they arrive: whoever takes them there lets this end go on.
      if (this.#paced) this.#budgetBits -= wanted * bitsOf(this.#settings);
      farEnd.#arrive(this.transmit.shift(wanted), this.#settings);
      this.#onChange();
    }
    this.#schedule();
  }

  reset(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.transmit.clear();
    this.receive.clear();
    this.#errors = [];
    this.#settings = UART_DEFAULTS;
    this.#held = false;
    this.#stopping = false;
    this.#breaking = false;
    this.setOutputs({ dtr: false, rts: false });
  }

  #isHeld(): boolean {
    return this.#held || this.#breaking || (this.#settings.flow === "rtsCts" && !this.#inputs.cts);
  }

  /** Whole characters for which there was time. */
  #mayCross(): number {
    if (!this.#paced) return this.transmit.length;
    const nowMs = this.#clock.nowMs();
    if (this.#resting) this.#budgetBits = 0;
    else this.#budgetBits += ((nowMs - this.#lastMs) * this.#settings.baud) / 1000;
    this.#resting = false;
    this.#lastMs = nowMs;
    return Math.max(0, Math.floor(this.#budgetBits / bitsOf(this.#settings)));
  }

  #schedule(): void {
    if (this.transmit.length === 0 || this.#isHeld()) this.#resting = true;
    if (!this.#paced || this.#timer !== undefined || this.#resting) return;
    const wireMs = (bitsOf(this.#settings) * 1000) / this.#settings.baud;
    this.#timer = this.#clock.startTimer(Math.max(MIN_STEP_MS, wireMs), () => {
      this.#timer = undefined;
      this.run();
    });
  }

  #arrive(data: Uint8Array, sender: UartSettings): number {
    if (Math.abs(sender.baud - this.#settings.baud) / sender.baud > MAX_BAUD_ERROR) this.#errors.push("framing");
    const mask = 2 ** Math.min(this.#settings.dataBits, sender.dataBits) - 1;
    let taken: Uint8Array = data.map((byte) => byte & mask);
    if (this.#settings.flow === "xonXoff") taken = this.#obey(taken);
    const count = this.receive.push(taken);
    if (count < taken.length) this.#errors.push("overrun");
    this.#watchLevel();
    this.#onChange();
    return count;
  }

  #obey(data: Uint8Array): Uint8Array {
    for (const byte of data) if (byte === XON || byte === XOFF) this.#held = byte === XOFF;
    return data.filter((byte) => byte !== XON && byte !== XOFF);
  }

  #watchLevel(): void {
    const level = this.receive.length / this.receive.capacity;
    const stopping = this.#stopping ? level > GO_AT : level >= STOP_AT;
    if (stopping === this.#stopping) return;
    this.#stopping = stopping;
    const farEnd = this.#farEnd;
    if (this.#settings.flow === "rtsCts") this.#driveLines();
    else if (this.#settings.flow === "xonXoff" && farEnd !== undefined && farEnd !== this)
      farEnd.#arrive(Uint8Array.of(stopping ? XOFF : XON), this.#settings);
  }

  #driveLines(): void {
    const farEnd = this.#farEnd;
    if (farEnd === undefined) return;
    const cts = this.#rts && !(this.#settings.flow === "rtsCts" && this.#stopping);
    farEnd.#inputs = { cts, dsr: this.#dtr, dcd: this.#dtr, ri: false };
    farEnd.#onChange();
    farEnd.run();
  }
}

function bitsOf({ dataBits, parity, stopBits }: UartSettings): number {
  return 1 + dataBits + (parity === "none" ? 0 : 1) + stopBits;
}
