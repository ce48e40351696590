/**
 * Payloads about serial lines in use. As in payloads.ts the decoders believe nothing: a choice that is in no table, or a number that
 * cannot be, is a LinkError.
 */
import { concat, raw, record, u8, u16le, u32le } from "../bytes.js";
import {
  DATA_BITS,
  DeviceError,
  type DeviceErrorCode,
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
  STOP_BITS,
  type TtyInfo,
  type TtyOpen,
  type TtyStatus,
  WriteError,
} from "../rump/devsw.js";
import { LinkError } from "./errors.js";
import { MAX_REASON_BYTES, u53le } from "./frames.js";
import { decodeText, encodeText } from "./text.js";
import { choicesOf, isBaud } from "./tty-node-payload.js";

const NO_BYTES = new Uint8Array(0);

/** Which queue TTY_FLUSH empties: a bit for each direction. */
export const FLUSH_NUMBERS = { in: 1, out: 2, both: 3 } as const satisfies Record<FlushQueue, number>;

// ---------------------------------------------------------------------------------------------------------------------
// How it is used

export const ttySettingsRecord = record("TTY_SETTINGS", "pud frames", {
  baud: u32le,
  dataBits: u8,
  parity: u8,
  stopBits: u8,
  flowControl: u8,
});

/**
 * Whether the device can make the settings is the driver's to say; here it is asked whether they can be written down.
 * @throws LineSettingsError
 */
export function checkEncodable({ minBaud, maxBaud }: TtyInfo, settings: LineSettings): void {
  if (isEncodable(settings)) return;
  const baud = Math.min(Math.max(Math.round(settings.baud) || minBaud, minBaud), maxBaud);
  const nearest: LineSettings = { baud, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" };
  throw new LineSettingsError(
    "not line settings: a whole number of baud, and choices of the tables",
    isEncodable({ ...settings, baud }) ? { ...settings, baud } : nearest,
  );
}

function isEncodable({ baud, dataBits, parity, stopBits, flowControl }: LineSettings): boolean {
  return (
    isBaud(baud) &&
    DATA_BITS.includes(dataBits) &&
    PARITIES.includes(parity) &&
    STOP_BITS.includes(stopBits) &&
    FLOW_CONTROLS.includes(flowControl)
  );
}

/** `isEncodable` holds. */
export function encodeSettings({ baud, dataBits, parity, stopBits, flowControl }: LineSettings): Uint8Array {
  return ttySettingsRecord.encode({
    baud,
    dataBits,
    parity: PARITIES.indexOf(parity),
    stopBits: STOP_BITS.indexOf(stopBits),
    flowControl: FLOW_CONTROLS.indexOf(flowControl),
  });
}

/** @throws LinkError PUD_LINE */
export function decodeSettings(payload: Uint8Array): LineSettings {
  const { baud, dataBits, parity, stopBits, flowControl } = ttySettingsRecord.decode(payload);
  if (baud === 0) throw new LinkError("PUD_LINE", "line settings of 0 baud");
  return {
    baud,
    dataBits: choice(
      "data bits",
      DATA_BITS,
      DATA_BITS.findIndex((bits) => bits === dataBits),
    ),
    parity: choice("parity", PARITIES, parity),
    stopBits: choice("stop bits", STOP_BITS, stopBits),
    flowControl: choice("flow control", FLOW_CONTROLS, flowControl),
  };
}

const OUTPUTS = ["dtr", "rts"] as const satisfies readonly (keyof OutputLines)[];

/** Which lines are driven, and how. */
export const ttyOutputsRecord = record("TTY_OUTPUTS", "pud frames", { named: u8, levels: u8, reserved: u16le });

export function encodeOutputs(outputs: Partial<OutputLines>): Uint8Array {
  const named = OUTPUTS.filter((line) => outputs[line] !== undefined);
  const high = OUTPUTS.filter((line) => outputs[line] === true);
  return ttyOutputsRecord.encode({ named: bitsOf(OUTPUTS, named), levels: bitsOf(OUTPUTS, high), reserved: 0 });
}

/** @throws LinkError PUD_LINE */
export function decodeOutputs(payload: Uint8Array): Partial<OutputLines> {
  const { named, levels } = ttyOutputsRecord.decode(payload);
  const high = choicesOf("output lines", OUTPUTS, levels);
  return Object.fromEntries(choicesOf("output lines", OUTPUTS, named).map((line) => [line, high.includes(line)]));
}

export function encodeTtyOpen({ settings, outputs }: TtyOpen): Uint8Array {
  return concat([encodeSettings(settings), encodeOutputs(outputs)]);
}

/** @throws LinkError PUD_LINE */
export function decodeTtyOpen(payload: Uint8Array): TtyOpen {
  const { dtr = false, rts = false } = decodeOutputs(payload.subarray(ttySettingsRecord.size));
  return { settings: decodeSettings(payload), outputs: { dtr, rts } };
}

// ---------------------------------------------------------------------------------------------------------------------
// What it tells

export const ttyStatusRecord = record("TTY_STATUS", "pud frames", {
  lines: u8,
  reserved: raw(7),
  framing: u53le,
  parity: u53le,
  overrun: u53le,
  break: u53le,
});

export function encodeStatus({ lines, errors }: TtyStatus): Uint8Array {
  const high = MODEM_LINES.filter((line) => lines[line]);
  return ttyStatusRecord.encode({ lines: bitsOf(MODEM_LINES, high), reserved: NO_BYTES, ...errors });
}

/** @throws LinkError PUD_LINE */
export function decodeStatus(payload: Uint8Array): TtyStatus {
  const { lines, framing, parity, overrun, break: breaks } = ttyStatusRecord.decode(payload);
  const high = choicesOf("modem lines", MODEM_LINES, lines);
  const errors: LineErrorCounts = { framing, parity, overrun, break: breaks };
  for (const error of LINE_ERRORS)
    if (!Number.isSafeInteger(errors[error])) throw new LinkError("PUD_LINE", `count of ${error} errors beyond 2^53`);
  return { lines: Object.fromEntries(MODEM_LINES.map((line) => [line, high.includes(line)])) as ModemLines, errors };
}

export const ttyLatencyRecord = record("TTY_LATENCY", "pud frames", { latencyMs: u32le });

// ---------------------------------------------------------------------------------------------------------------------
// Why a request failed

/** Before the reason in words, in the REPLY to each TTY request that failed. `settings`: the nearest, where `hasNearest`. */
export const ttyFailureRecord = record("TTY_FAILURE", "pud frames", {
  bytesTaken: u32le,
  hasNearest: u8,
  reserved: raw(3),
  settings: raw(ttySettingsRecord.size),
});

/** At most MAX_REASON_BYTES. What is no DeviceError is told without its text. */
export function encodeTtyFailure(error: unknown, message: string): Uint8Array {
  const nearest = error instanceof LineSettingsError && isEncodable(error.nearest) ? error.nearest : undefined;
  return concat([
    ttyFailureRecord.encode({
      bytesTaken: error instanceof WriteError ? error.bytesTaken : 0,
      hasNearest: nearest === undefined ? 0 : 1,
      reserved: NO_BYTES,
      settings: nearest === undefined ? NO_BYTES : encodeSettings(nearest),
    }),
    encodeText(message, MAX_REASON_BYTES - ttyFailureRecord.size),
  ]);
}

/** A WriteError for a write, a LineSettingsError where the nearest is told. @throws LinkError PUD_LINE */
export function decodeTtyFailure(code: DeviceErrorCode, payload: Uint8Array, writtenBytes: number): DeviceError {
  const { bytesTaken, hasNearest, settings } = ttyFailureRecord.decode(payload);
  const message = decodeText(payload.subarray(ttyFailureRecord.size));
  if (bytesTaken > writtenBytes)
    throw new LinkError("PUD_LINE", `${bytesTaken} bytes taken of a write of ${writtenBytes}`);
  if (hasNearest !== 0 && code === "EINVAL") return new LineSettingsError(message, decodeSettings(settings));
  return writtenBytes > 0 ? new WriteError(code, message, bytesTaken) : new DeviceError(code, message);
}

// ---------------------------------------------------------------------------------------------------------------------

/** A bit for each of the chosen. */
export function bitsOf<T>(table: readonly T[], chosen: readonly T[]): number {
  return chosen.reduce((bits, one) => bits | (1 << table.indexOf(one)), 0);
}

function choice<T>(what: string, table: readonly T[], number: number): T {
  const chosen = table[number];
  if (chosen === undefined) throw new LinkError("PUD_LINE", `${what}: there is no choice of that number`);
  return chosen;
}
