/** Line settings against what a chip can do. */
import {
  FLOW_CONTROLS,
  type FlowControl,
  LineSettingsError,
  type LineSettings,
  type TtyInfo,
} from "../../../rump/devsw.js";
import type { SerialChip } from "./chip.js";

/** Farther from the rate of the other side, characters are read wrong (FTDI AN232B-05 §1.3). */
export const MAX_BAUD_ERROR = 0.03;

const CHOICES = [
  ["dataBits", "data bits"],
  ["parity", "parity"],
  ["stopBits", "stop bits"],
  ["flowControl", "flow control"],
] as const;

/** What the port can do: the chip's limits, and XON/XOFF in software where the chip has none. */
export function infoOf({ limits }: SerialChip): TtyInfo {
  const flowControls = FLOW_CONTROLS.filter((one) => one === "xonXoff" || limits.flowControls.includes(one));
  const { model, minBaud, maxBaud, dataBits, parities, stopBits, modemLines, canBreak, hasLatency } = limits;
  return { model, minBaud, maxBaud, dataBits, parities, stopBits, flowControls, modemLines, canBreak, hasLatency };
}

/** XON and XOFF are ucom's work: the chip is told "none". */
export function isSoftFlow(chip: SerialChip, flowControl: FlowControl): boolean {
  return flowControl === "xonXoff" && !chip.limits.flowControls.includes("xonXoff");
}

/**
 * The settings as the chip makes them.
 * @throws LineSettingsError with the nearest that it can.
 */
export function fitSettings(chip: SerialChip, settings: LineSettings): LineSettings {
  const info = infoOf(chip);
  const { minBaud, maxBaud } = info;
  const inRange = Math.min(
    Math.max(Math.round(Number.isNaN(settings.baud) ? minBaud : settings.baud), minBaud),
    maxBaud,
  );
  const nearest: LineSettings = {
    baud: chip.nearestBaud(inRange),
    dataBits: choose(info.dataBits, settings.dataBits, 8),
    parity: choose(info.parities, settings.parity, "none"),
    stopBits: choose(info.stopBits, settings.stopBits, settings.stopBits === 1.5 ? 2 : 1),
    flowControl: choose(info.flowControls, settings.flowControl, "none"),
  };
  const wrong = CHOICES.filter(([key]) => nearest[key] !== settings[key]).map(
    ([key, name]) => `${name} ${String(settings[key])}`,
  );
  if (wrong.length > 0) throw new LineSettingsError(`${info.model} has no ${wrong.join(", ")}`, nearest);
  if (settings.baud !== inRange)
    throw new LineSettingsError(`${settings.baud} baud: ${info.model} makes ${minBaud} to ${maxBaud}`, nearest);
  const error = Math.abs(nearest.baud - settings.baud) / settings.baud;
  if (error > MAX_BAUD_ERROR)
    throw new LineSettingsError(
      `${settings.baud} baud: the nearest of ${info.model} is ${nearest.baud}, ${(error * 100).toFixed(1)} % off`,
      nearest,
    );
  return nearest;
}

function choose<T>(possible: readonly T[], wanted: T, otherwise: T): T {
  return possible.includes(wanted) ? wanted : otherwise;
}

/** Bits of a character on the wire, start bit included. */
export function bitsPerCharacter({ dataBits, parity, stopBits }: LineSettings): number {
  return 1 + dataBits + (parity === "none" ? 0 : 1) + stopBits;
}
