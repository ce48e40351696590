/** The requests and the notification of the abstract control model (PSTN 1.2 §6.3, §6.5), for the line of one port. */
import { viewOf } from "../bytes.js";
import type { SetupPacket } from "../dev/usb/usb.js";
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import type { ControlReply } from "./function.js";
import { requestKey, when } from "./serial-model.js";
import type { Uart, UartError, UartInputs } from "./serial-uart.js";

const OUT = 0x21 << 8;
const IN = 0xa1 << 8;
/** PSTN 1.2 Table 13. */
const REQUEST = { SET_LINE_CODING: 0x20, GET_LINE_CODING: 0x21, SET_CONTROL_LINE_STATE: 0x22, SEND_BREAK: 0x23 };
const SERIAL_STATE = 0x20;
/** PSTN 1.2 Table 31. */
const STATE_ERRORS: Readonly<Record<UartError, number>> = { break: 0x04, framing: 0x10, parity: 0x20, overrun: 0x40 };
const LINE_CODING_BYTES = 7;
/** 9600 8N1. */
const INITIAL_CODING = Uint8Array.of(0x80, 0x25, 0, 0, 0, 0, 8);
const PARITIES = ["none", "odd", "even", "mark", "space"] as const;
const STOP_BITS = [1, 1.5, 2] as const;
const UNTIL_ENDED = 0xffff;

export class AcmLine {
  readonly #uart: Uart;
  readonly #clock: Clock;
  #coding = INITIAL_CODING;
  #breakTimer: Timer | undefined;

  constructor(uart: Uart, clock: Clock) {
    this.#uart = uart;
    this.#clock = clock;
  }

  /** A class request to the control interface of the port. */
  request(setup: SetupPacket, out: Uint8Array): ControlReply {
    const { wValue } = setup;
    switch (requestKey(setup)) {
      case OUT | REQUEST.SET_LINE_CODING:
        return wValue === 0 ? this.#setCoding(out) : "stalled";
      case IN | REQUEST.GET_LINE_CODING:
        return this.#coding;
      case OUT | REQUEST.SET_CONTROL_LINE_STATE:
        return when(wValue <= 3 && out.length === 0, () =>
          this.#uart.setOutputs({ dtr: (wValue & 1) !== 0, rts: (wValue & 2) !== 0 }),
        );
      case OUT | REQUEST.SEND_BREAK:
        return when(out.length === 0, () => this.#sendBreak(wValue));
      default:
        return "stalled";
    }
  }

  reset(): void {
    this.#breakTimer?.cancel();
    this.#coding = INITIAL_CODING;
  }

  #setCoding(coding: Uint8Array): ControlReply {
    if (coding.length !== LINE_CODING_BYTES) return "stalled";
    const baud = viewOf(coding).getUint32(0, true);
    const stopBits = STOP_BITS[coding[4] ?? 255];
    const parity = PARITIES[coding[5] ?? 255];
    const dataBits = coding[6] ?? 0;
    const right = baud > 0 && dataBits >= 5 && dataBits <= 8 && stopBits !== undefined && parity !== undefined;
    return when(right, () => {
      this.#coding = Uint8Array.from(coding);
      this.#uart.configure({ baud, dataBits, parity: parity ?? "none", stopBits: stopBits ?? 1 });
    });
  }

  /** For so many milliseconds; FFFFh until it is ended with 0 (PSTN 1.2 §6.3.13). */
  #sendBreak(durationMs: number): void {
    this.#breakTimer?.cancel();
    this.#uart.setBreak(durationMs > 0);
    if (durationMs > 0 && durationMs < UNTIL_ENDED)
      this.#breakTimer = this.#clock.startTimer(durationMs, () => this.#uart.setBreak(false));
  }
}

/** The low byte of the state that SERIAL_STATE tells: lines, and errors once. There is no CTS. */
export function acmState({ dcd, dsr, ri }: UartInputs, errors: readonly UartError[]): number {
  const lines = (dcd ? 0x01 : 0) | (dsr ? 0x02 : 0) | (ri ? 0x08 : 0);
  return errors.reduce((state, error) => state | STATE_ERRORS[error], lines);
}

/** PSTN 1.2 §6.5.4. */
export function serialState(interfaceNumber: number, low: number, high = 0): Uint8Array {
  return Uint8Array.of(0xa1, SERIAL_STATE, 0, 0, interfaceNumber, 0, 2, 0, low, high);
}

/** Functional descriptors of a control interface (CDC 1.2 §5.2.3), by what they name. */
export const ACM_DESCRIPTORS = {
  header: Uint8Array.of(5, 0x24, 0x00, 0x20, 0x01),
  /** bmCapabilities: line coding and state, break (PSTN 1.2 Table 4). */
  acm: Uint8Array.of(4, 0x24, 0x02, 0x06),
  /** Calls are not managed (PSTN 1.2 Table 3). */
  callManagement: (data: number): Uint8Array => Uint8Array.of(5, 0x24, 0x01, 0x00, data),
  union: (control: number, data: number): Uint8Array => Uint8Array.of(5, 0x24, 0x06, control, data),
};
