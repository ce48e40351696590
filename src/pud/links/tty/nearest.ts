/** Line settings that a device cannot make become the nearest that it can, as with a kernel's driver. */
import {
  type LineSettings,
  LineSettingsError,
  type RequestOptions,
  type Tty,
  type TtyOpen,
  type TtyPort,
  type TtyReceiver,
} from "../../../rump/devsw.js";

/** Within this part of the rate that was asked for, a rate is called by the name that was asked for (Linux tty_baudrate.c). */
const SAME_RATE = 0.02;

/** Opens the line, with the nearest settings where these cannot be. @throws DeviceError */
export async function openNearest(tty: Tty, how: TtyOpen, receiver: TtyReceiver): Promise<TtyPort> {
  return await orNearest(how.settings, (settings) => tty.open({ ...how, settings }, receiver));
}

/** @returns what the device makes. @throws DeviceError */
export async function configureNearest(
  port: TtyPort,
  settings: LineSettings,
  options?: RequestOptions,
): Promise<LineSettings> {
  return await orNearest(settings, (possible) => port.configure(possible, options));
}

async function orNearest<T>(settings: LineSettings, attempt: (settings: LineSettings) => Promise<T>): Promise<T> {
  try {
    return await attempt(settings);
  } catch (error) {
    if (!(error instanceof LineSettingsError)) throw error;
    return await attempt(error.nearest);
  }
}

/** The settings that became others. */
export function differing(asked: LineSettings, made: LineSettings): Partial<LineSettings> {
  return {
    ...(Math.abs(made.baud - asked.baud) <= asked.baud * SAME_RATE ? {} : { baud: made.baud }),
    ...(made.dataBits === asked.dataBits ? {} : { dataBits: made.dataBits }),
    ...(made.parity === asked.parity ? {} : { parity: made.parity }),
    ...(made.stopBits === asked.stopBits ? {} : { stopBits: made.stopBits }),
    ...(made.flowControl === asked.flowControl ? {} : { flowControl: made.flowControl }),
  };
}
