/** The functions of a USB device (`--split`): each is an interface with a driver, and the interfaces that its driver takes beside it. */
import { DATA_CLASSES } from "./confine.js";
import type { UsbDevice } from "./discovery.js";
import { type DevicePart, narrowed, wholeDevice } from "./parts.js";

/** CDC control: the interface that the driver of a modem is on (CDC 1.2 §4.2). */
const COMMUNICATIONS_CLASS = 0x02;

/** A part for each function, by interface number. A device with one function or none is left whole. */
export function partsOf(device: UsbDevice): DevicePart[] {
  const functions = functionsOf(device);
  if (functions.length < 2) return [wholeDevice(device)];
  return functions.map((interfaces) => ({
    key: `${device.path}:${interfaces[0]}`,
    device: narrowed(device, interfaces),
    interfaces,
  }));
}

/**
 * The interfaces of each function, ordered; together they are what the device would be confined to as a whole (confine.ts).
 * A data interface goes with the communications interface before it, as the interfaces of a function follow each other,
 * else with whatever has a driver nearby; by itself it is nothing, also where a rule of ids matches it.
 */
export function functionsOf({ interfaces, matches }: Pick<UsbDevice, "interfaces" | "matches">): readonly number[][] {
  const matched = new Set(matches.map(({ interfaceNumber }) => interfaceNumber));
  const heads = interfaces.filter((one) => matched.has(one.interfaceNumber) && !DATA_CLASSES.has(one.interfaceClass));
  const data = interfaces.filter(({ interfaceClass }) => DATA_CLASSES.has(interfaceClass));
  const [first] = heads;
  if (first === undefined) return matched.size === 0 ? [] : [data.map(({ interfaceNumber }) => interfaceNumber)];
  const communications = heads.filter(({ interfaceClass }) => interfaceClass === COMMUNICATIONS_CLASS);
  const owners = communications.length > 0 ? communications : heads;
  const functions = new Map(heads.map(({ interfaceNumber }) => [interfaceNumber, [interfaceNumber]]));
  for (const { interfaceNumber } of data) {
    const owner = owners.findLast((one) => one.interfaceNumber < interfaceNumber) ?? owners[0] ?? first;
    functions.get(owner.interfaceNumber)?.push(interfaceNumber);
  }
  return [...functions.values()].map((one) => one.sort((a, b) => a - b));
}
