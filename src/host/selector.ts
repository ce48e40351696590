/**
 * How a device is named on the command line.
 *
 * | text                              | device                                            |
 * | `1-1.2`                           | the one at this bus path                          |
 * | `0951:1666`                       | every one with these ids                          |
 * | `@SERIAL`                         | the one with this serial number                   |
 * | `sim:KIND[,key=value…]`           | a simulated one, started for this run             |
 * | `usbip:HOST[:PORT]/BUSID`         | one of a USB/IP server                            |
 * | `usbip:unix:PATH/BUSID`           | the same, over a Unix socket                      |
 */
import { HostError } from "./errors.js";

/** IANA: usbip 3240/tcp. */
export const USBIP_PORT = 3240;

export type UsbSelector =
  | { readonly kind: "path"; readonly text: string; readonly path: string }
  | { readonly kind: "ids"; readonly text: string; readonly vendor: number; readonly product: number }
  | { readonly kind: "serial"; readonly text: string; readonly serial: string };

/** `options` are in the order of the command line, `key=value` each; a key may come twice. */
export interface SimSelector {
  readonly kind: "sim";
  readonly text: string;
  readonly model: string;
  readonly options: readonly string[];
}

export type UsbipAddress = { readonly unix: string } | { readonly host: string; readonly port: number };

export interface UsbipSelector {
  readonly kind: "usbip";
  readonly text: string;
  readonly address: UsbipAddress;
  readonly busId: string;
}

export type Selector = UsbSelector | SimSelector | UsbipSelector;

export const SELECTOR_HELP =
  "1-1.2 (bus path), 0951:1666 (vendor:product), @SERIAL, sim:KIND[,key=value…], usbip:HOST[:PORT]/BUSID or usbip:unix:PATH/BUSID";

/** USB/IP protocol 1.1.1: the bus id field has 32 bytes with its terminating zero. */
const BUS_ID = /[A-Za-z0-9][A-Za-z0-9._:-]{0,30}/.source;
/** Linux: bus number, then the ports on the way; a chain has at most 7 tiers (USB 2.0 §4.1.1). */
const BUS_PATH = /^[1-9][0-9]{0,2}-[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,5}$/;
const IDS = /^([0-9a-fA-F]{4}):([0-9a-fA-F]{4})$/;
const SERIAL = /^@(.+)$/s;
const SIM = /^sim:([a-z0-9][a-z0-9-]*)((?:,[A-Za-z][A-Za-z0-9]*(?:=[^,]*)?)*)$/;
const USBIP_UNIX = new RegExp(`^usbip:unix:(/.+)/(${BUS_ID})$`);
const USBIP_TCP = new RegExp(
  `^usbip:(?!unix[:/])(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/(${BUS_ID})$`,
);

type Form = readonly [RegExp, (match: RegExpExecArray) => Selector | undefined];

const FORMS: readonly Form[] = [
  [BUS_PATH, ([text]) => ({ kind: "path", text, path: text })],
  [IDS, ([text, ...ids]) => ({ kind: "ids", text, vendor: hexNumber(ids[0]), product: hexNumber(ids[1]) })],
  [SERIAL, ([text, serial = ""]) => ({ kind: "serial", text, serial })],
  [SIM, ([text, model = "", options = ""]) => ({ kind: "sim", text, model, options: options.split(",").slice(1) })],
  [USBIP_UNIX, ([text, path = "", busId = ""]) => ({ kind: "usbip", text, address: { unix: path }, busId })],
  [USBIP_TCP, usbipOverTcp],
];

/** @throws HostError USAGE, saying what is allowed. */
export function parseSelector(text: string): Selector {
  for (const [form, read] of FORMS) {
    const match = form.exec(text);
    const selector = match === null ? undefined : read(match);
    if (selector !== undefined) return selector;
  }
  throw new HostError("USAGE", `"${text}" does not name a device; allowed: ${SELECTOR_HELP}`);
}

function usbipOverTcp([text, host = "", portText, busId = ""]: RegExpExecArray): Selector | undefined {
  const port = portText === undefined ? USBIP_PORT : Number(portText);
  if (port < 1 || port > 0xffff) return undefined;
  return { kind: "usbip", text, address: { host: host.replace(/^\[|\]$/g, ""), port }, busId };
}

function hexNumber(digits = ""): number {
  return Number.parseInt(digits, 16);
}

/** The ids by which a USB device of this machine is chosen. */
export interface SelectableDevice {
  readonly path: string;
  readonly vendor: number;
  readonly product: number;
  readonly serial: string;
}

/** Whether a device of this machine is the one that is meant (or one of them). */
export function selects(selector: UsbSelector, device: SelectableDevice): boolean {
  switch (selector.kind) {
    case "path":
      return selector.path === device.path;
    case "ids":
      return selector.vendor === device.vendor && selector.product === device.product;
    case "serial":
      return selector.serial === device.serial;
  }
}
