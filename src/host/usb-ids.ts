/**
 * Names of vendors and products from the `usb.ids` file of the distribution.
 *
 * Format: a vendor's line starts with four hex digits, its products' lines with a tab and four hex digits; lists of
 * other things (classes, languages) follow, each introduced by a letter, and are not read.
 */
import { readFile, stat } from "node:fs/promises";
import { errnoOf } from "./errors.js";
import { printable } from "./text.js";

export const USB_IDS_FILES = ["/usr/share/hwdata/usb.ids", "/usr/share/misc/usb.ids", "/var/lib/usbutils/usb.ids"];

/** The file of 2025 has 730 kB. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;
const ENTRY = /^(\t?)([0-9a-f]{4})\s+(.+)$/;

export interface UsbIds {
  vendorName(vendor: number): string | undefined;
  productName(vendor: number, product: number): string | undefined;
}

interface Vendor {
  readonly name: string;
  readonly products: Map<number, string>;
}

/** Reads the text of a `usb.ids` file. Lines that are not understood are passed over. */
export function parseUsbIds(text: string): UsbIds {
  const vendors = new Map<number, Vendor>();
  let vendor: Vendor | undefined;
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#") || line.startsWith("\t\t")) continue;
    const [, tab, id, name] = ENTRY.exec(line) ?? [];
    if (id === undefined || name === undefined) {
      vendor = undefined; // `C 00 …`: a list of something else
    } else if (tab === "") {
      vendor = { name: printable(name), products: new Map() };
      vendors.set(Number.parseInt(id, 16), vendor);
    } else {
      vendor?.products.set(Number.parseInt(id, 16), printable(name));
    }
  }
  return {
    vendorName: (id) => vendors.get(id)?.name,
    productName: (id, product) => vendors.get(id)?.products.get(product),
  };
}

/** The first of the files that exists and has a sensible size; without one, nothing has a name. */
export async function loadUsbIds(files: readonly string[] = USB_IDS_FILES): Promise<UsbIds> {
  for (const file of files) {
    try {
      if ((await stat(file)).size <= MAX_FILE_BYTES) return parseUsbIds(await readFile(file, "utf8"));
    } catch (error) {
      if (!["ENOENT", "EACCES"].includes(errnoOf(error))) throw error;
    }
  }
  return parseUsbIds("");
}
