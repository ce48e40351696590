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
const BUS_ID = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,30}$/;
/** Linux: bus number, then the ports on the way; a chain has at most 7 tiers (USB 2.0 §4.1.1). */
const BUS_PATH = /^[1-9][0-9]{0,2}-[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,5}$/;
const IDS = /^([0-9a-fA-F]{4}):([0-9a-fA-F]{4})$/;
const SIM = /^sim:([a-z0-9][a-z0-9-]*)((?:,[A-Za-z][A-Za-z0-9]*(?:=[^,]*)?)*)$/;
const USBIP_UNIX = /^usbip:unix:(\/.+)\/([^/]+)$/;
const USBIP_TCP = /^usbip:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\/([^/]+)$/;

/** @throws HostError USAGE, saying what is allowed. */
export function parseSelector(text: string): Selector {
  const selector =
    parsePath(text) ??
    parseIds(text) ??
    parseSerial(text) ??
    parseSim(text) ??
    parseUsbipUnix(text) ??
    parseUsbipTcp(text);
  if (selector === undefined)
    throw new HostError("USAGE", `"${text}" does not name a device; allowed: ${SELECTOR_HELP}`);
  return selector;
}

function parsePath(text: string): Selector | undefined {
  return BUS_PATH.test(text) ? { kind: "path", text, path: text } : undefined;
}

function parseIds(text: string): Selector | undefined {
  const [, vendor, product] = IDS.exec(text) ?? [];
  if (vendor === undefined || product === undefined) return undefined;
  return { kind: "ids", text, vendor: Number.parseInt(vendor, 16), product: Number.parseInt(product, 16) };
}

function parseSerial(text: string): Selector | undefined {
  return text.startsWith("@") && text.length > 1 ? { kind: "serial", text, serial: text.slice(1) } : undefined;
}

function parseSim(text: string): Selector | undefined {
  const [, model, options] = SIM.exec(text) ?? [];
  if (model === undefined || options === undefined) return undefined;
  return { kind: "sim", text, model, options: options.split(",").slice(1) };
}

function parseUsbipUnix(text: string): Selector | undefined {
  const [, path, busId] = USBIP_UNIX.exec(text) ?? [];
  if (path === undefined || busId === undefined || !BUS_ID.test(busId)) return undefined;
  return { kind: "usbip", text, address: { unix: path }, busId };
}

function parseUsbipTcp(text: string): Selector | undefined {
  const [, host, port, busId] = USBIP_TCP.exec(text) ?? [];
  if (host === undefined || host === "unix" || busId === undefined || !BUS_ID.test(busId)) return undefined;
  const portNumber = port === undefined ? USBIP_PORT : Number(port);
  if (portNumber < 1 || portNumber > 0xffff) return undefined;
  return { kind: "usbip", text, address: { host: host.replace(/^\[|\]$/g, ""), port: portNumber }, busId };
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
