/**
 * The numbers of RFC 2217, "Telnet Com Port Control Option": commands, values, and what they mean for a serial line.
 *
 * A command of the client and the answer to it differ by 100. "Set" with 0 asks for what is set. Section numbers are the
 * RFC's: 2 configuration, 3 control, 4 notification, 5 flow control.
 */
import {
  DATA_BITS,
  type DataBits,
  FLOW_CONTROLS,
  type FlowControl,
  type FlushQueue,
  LINE_ERRORS,
  type LineError,
  type LineErrorCounts,
  type LineSettings,
  MODEM_LINES,
  type ModemLine,
  type ModemLines,
  PARITIES,
  type Parity,
  STOP_BITS,
  type StopBits,
} from "../../../rump/devsw.js";

/** What the client says; the server says the same plus `SERVER`. */
export const SIGNATURE = 0;
export const SET_BAUDRATE = 1;
export const SET_DATASIZE = 2;
export const SET_PARITY = 3;
export const SET_STOPSIZE = 4;
export const SET_CONTROL = 5;
export const NOTIFY_LINESTATE = 6;
export const NOTIFY_MODEMSTATE = 7;
export const FLOWCONTROL_SUSPEND = 8;
export const FLOWCONTROL_RESUME = 9;
export const SET_LINESTATE_MASK = 10;
export const SET_MODEMSTATE_MASK = 11;
export const PURGE_DATA = 12;
export const SERVER = 100;

/** "Request current …" of the settings of section 2. */
export const ASK = 0;

/** §2 SET-DATASIZE: the value is the size. */
const DATASIZE_VALUES: Readonly<Record<DataBits, number>> = { 5: 5, 6: 6, 7: 7, 8: 8 };
/** §2 SET-PARITY. */
const PARITY_VALUES: Readonly<Record<Parity, number>> = { none: 1, odd: 2, even: 3, mark: 4, space: 5 };
/** §2 SET-STOPSIZE. */
const STOPSIZE_VALUES: Readonly<Record<StopBits, number>> = { 1: 1, 2: 2, 1.5: 3 };

/** §3 SET-CONTROL. */
export const ASK_FLOW = 0;
export const ASK_BREAK = 4;
export const BREAK_ON = 5;
export const BREAK_OFF = 6;
export const ASK_DTR = 7;
export const DTR_ON = 8;
export const DTR_OFF = 9;
export const ASK_RTS = 10;
export const RTS_ON = 11;
export const RTS_OFF = 12;
export const ASK_INBOUND_FLOW = 13;
export const DCD_FLOW = 17;
export const DTR_INBOUND_FLOW = 18;
export const DSR_FLOW = 19;
/** "Use … flow control (outbound/both)". */
export const FLOW_VALUES: Readonly<Record<FlowControl, number>> = { none: 1, xonXoff: 2, rtsCts: 3 };
/** "Use … flow control (inbound)". */
export const INBOUND_FLOW_VALUES: Readonly<Record<FlowControl, number>> = { none: 14, xonXoff: 15, rtsCts: 16 };

/** §3 PURGE-DATA; "receive" is what came in over the line. */
export const PURGE_VALUES: Readonly<Record<FlushQueue, number>> = { in: 1, out: 2, both: 3 };

/** §4 NOTIFY-MODEMSTATE: the state of each line, and that it has changed. */
const MODEM_BITS: Readonly<Record<ModemLine, { readonly state: number; readonly delta: number }>> = {
  cts: { state: 16, delta: 1 },
  dsr: { state: 32, delta: 2 },
  ri: { state: 64, delta: 4 },
  dcd: { state: 128, delta: 8 },
};

/** §4 NOTIFY-LINESTATE, the bits for which a line has counters. */
const LINE_BITS: Readonly<Record<LineError, number>> = { overrun: 2, parity: 4, framing: 8, break: 16 };

/** The mask of these. */
export const LINESTATE_ERRORS = LINE_ERRORS.reduce((mask, error) => mask | LINE_BITS[error], 0);

/** §4: the masks before a client has set any. */
export const INITIAL_LINESTATE_MASK = 0;
export const INITIAL_MODEMSTATE_MASK = 255;

/** What a value of one of the tables means; undefined for values that the RFC has left free. */
export function meaningOf<Name extends string | number>(
  names: readonly Name[],
  values: Readonly<Record<Name, number>>,
  value: number,
): Name | undefined {
  return names.find((name) => values[name] === value);
}

/** The modem state; with the lines as they were told before, changes are marked. */
export function modemState(lines: ModemLines, told: ModemLines = lines): number {
  let value = 0;
  for (const line of MODEM_LINES) {
    const { state, delta } = MODEM_BITS[line];
    if (lines[line]) value |= state;
    // Of RI only the end of a ring is marked, as UARTs do ("trailing edge").
    if (line === "ri" ? told.ri && !lines.ri : told[line] !== lines[line]) value |= delta;
  }
  return value;
}

export function modemLinesOf(value: number): ModemLines {
  const isHigh = (line: ModemLine): boolean => (value & MODEM_BITS[line].state) !== 0;
  return { cts: isHigh("cts"), dsr: isHigh("dsr"), dcd: isHigh("dcd"), ri: isHigh("ri") };
}

/** Which lines a mask is about, be it for their state or their change. */
export function masksLine(mask: number, line: ModemLine): boolean {
  return (mask & (MODEM_BITS[line].state | MODEM_BITS[line].delta)) !== 0;
}

/** The line state: what was counted since. */
export function lineState(errors: LineErrorCounts, told: LineErrorCounts): number {
  return LINE_ERRORS.reduce((value, error) => value | (errors[error] > told[error] ? LINE_BITS[error] : 0), 0);
}

export function lineErrorsOf(value: number): readonly LineError[] {
  return LINE_ERRORS.filter((error) => (value & LINE_BITS[error]) !== 0);
}

function encodeBaud(baud: number): Uint8Array {
  const value = new Uint8Array(4);
  new DataView(value.buffer).setUint32(0, Math.min(Math.max(Math.round(baud), 0), 0xffff_ffff));
  return value;
}

/** @returns undefined when it is not four bytes. */
function decodeBaud(payload: Uint8Array): number | undefined {
  if (payload.length !== 4) return undefined;
  return new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0);
}

/** A setting: its command, how long its value is, what a value means (undefined: nothing), and the value of what is set. */
export interface Setting {
  readonly command: number;
  readonly bytes: number;
  readonly read: (payload: Uint8Array) => Partial<LineSettings> | undefined;
  readonly value: (settings: LineSettings) => Uint8Array;
}

/** Those of §2. */
export const SETTINGS: readonly Setting[] = [
  {
    command: SET_BAUDRATE,
    bytes: 4,
    read: (payload) => some("baud", decodeBaud(payload)),
    value: ({ baud }) => encodeBaud(baud),
  },
  {
    command: SET_DATASIZE,
    bytes: 1,
    read: ([value = 0]) => some("dataBits", meaningOf(DATA_BITS, DATASIZE_VALUES, value)),
    value: ({ dataBits }) => Uint8Array.of(DATASIZE_VALUES[dataBits]),
  },
  {
    command: SET_PARITY,
    bytes: 1,
    read: ([value = 0]) => some("parity", meaningOf(PARITIES, PARITY_VALUES, value)),
    value: ({ parity }) => Uint8Array.of(PARITY_VALUES[parity]),
  },
  {
    command: SET_STOPSIZE,
    bytes: 1,
    read: ([value = 0]) => some("stopBits", meaningOf(STOP_BITS, STOPSIZE_VALUES, value)),
    value: ({ stopBits }) => Uint8Array.of(STOPSIZE_VALUES[stopBits]),
  },
];

/** The flow control of both directions, which is a value of SET-CONTROL among others (§3). */
export const FLOW_SETTING: Setting = {
  command: SET_CONTROL,
  bytes: 1,
  read: ([value = 0]) => some("flowControl", meaningOf(FLOW_CONTROLS, FLOW_VALUES, value)),
  value: ({ flowControl }) => Uint8Array.of(FLOW_VALUES[flowControl]),
};

function some<Key extends keyof LineSettings>(
  key: Key,
  value: LineSettings[Key] | undefined,
): Partial<LineSettings> | undefined {
  return value === undefined ? undefined : { [key]: value };
}
