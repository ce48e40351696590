/** What a person (or a test) can do to a simulated device while it runs: one command a line on stdin. */
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { HostError, messageOf } from "../host/errors.js";
import { printable } from "../host/text.js";
import { FlashDrive } from "../vdev/flash-drive.js";
import { UsbFunction } from "../vdev/function.js";
import type { DeviceModel } from "../vdev/model.js";
import { LINE_FAULTS } from "../vdev/serial-faults.js";
import { SerialModel, type SerialPort } from "../vdev/serial-model.js";
import type { ModelServer } from "../vdev/server.js";

export interface ControlledDevice {
  readonly model: DeviceModel;
  readonly server: ModelServer;
  readonly busId: string;
}

/** @returns what has happened. @throws what the model says against it. */
type Control = (device: ControlledDevice, ...words: string[]) => string;

const CONTROLS: Readonly<Record<string, Control>> = {
  eject: ({ model }, argument) => {
    const force = argument === "force";
    if (drive(model).eject(0, { force })) return "ejected";
    return force
      ? "not ejected: no medium, or not removable"
      : 'not ejected: no medium, not removable, or locked by the host ("eject force" takes it out all the same)';
  },
  insert: ({ model }) => (drive(model).load(0) ? "inserted" : "not inserted: a medium is in it, or none was ejected"),
  unplug: ({ model }) => {
    if (!(model instanceof UsbFunction)) throw noSuchThing();
    model.unplug();
    return "unplugged";
  },
  replug: ({ model, server, busId }) => {
    server.plug(busId, model);
    return "plugged in";
  },
  "power-cut": ({ model }, argument = "") => {
    const seed = /^[0-9]{1,9}$/.test(argument) ? Number(argument) : 0;
    drive(model).powerCut(seed);
    return `lost power (seed ${seed}) and is unplugged`;
  },
  ring: ({ model }, on, port) => {
    if (on !== "on" && on !== "off") return "ring: on or off";
    portOf(model, port).uart.setRing(on === "on");
    return `ring ${on}`;
  },
  error: ({ model }, argument, port) => {
    const kind = LINE_FAULTS.find((one) => one === argument);
    if (kind === undefined) return `error: one of ${LINE_FAULTS.join(", ")}`;
    portOf(model, port).uart.raise(kind);
    return `error ${kind}`;
  },
};

const ARGUMENTS: Readonly<Record<string, string>> = {
  eject: " [force]",
  ring: " on|off [PORT]",
  error: " KIND [PORT]",
};
export const CONTROL_HELP = Object.keys(CONTROLS)
  .map((name) => `${name}${ARGUMENTS[name] ?? ""}`)
  .join(", ");

/**
 * Obeys the lines of `input`; a command that cannot be is answered, never fatal.
 *
 * @param answer  Told what has happened, a line each.
 * @param ended   Called at the end of the input.
 * @returns       stops reading.
 */
export function obey(
  input: Readable,
  device: ControlledDevice,
  answer: (line: string) => void,
  ended: () => void,
): () => void {
  const lines = createInterface({ input, terminal: false });
  lines.on("line", (line) => answer(obeyLine(line, device)));
  lines.on("close", ended);
  return () => {
    lines.off("close", ended);
    lines.close();
  };
}

export function obeyLine(line: string, device: ControlledDevice): string {
  const [name = "", ...words] = line.trim().split(/\s+/);
  const control = Object.hasOwn(CONTROLS, name) ? CONTROLS[name] : undefined;
  if (control === undefined) return `"${printable(name, 32)}" is none of ${CONTROL_HELP}`;
  try {
    return control(device, ...words);
  } catch (error) {
    return `${name}: ${messageOf(error)}`;
  }
}

function drive(model: DeviceModel): FlashDrive {
  if (model instanceof FlashDrive) return model;
  throw noSuchThing();
}

function portOf(model: DeviceModel, number = "0"): SerialPort {
  if (!(model instanceof SerialModel)) throw noSuchThing();
  return model.port(/^[0-9]$/.test(number) ? Number(number) : -1);
}

function noSuchThing(): HostError {
  return new HostError("FAILED", "this kind of device has no such thing");
}
