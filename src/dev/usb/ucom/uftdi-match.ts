/** What uftdi drives: uftdi-ids.ts, and boards that must be told apart by their names. All are vendor-specific interfaces. */
import type { MatchRule } from "../usbdi.js";
import { FTDI_IDS, FTDI_INTERFACE_IDS } from "./uftdi-ids.js";

const VENDOR_SPECIFIC = { interfaceClass: 0xff } as const;

export const UFTDI_MATCH: readonly MatchRule[] = [
  ...FTDI_IDS.flatMap(([vendor, products]) => products.map((product) => ({ vendor, product, ...VENDOR_SPECIFIC }))),
  ...FTDI_INTERFACE_IDS.map(([vendor, product, interfaceNumber]) => ({
    vendor,
    product,
    interfaceNumber,
    ...VENDOR_SPECIFIC,
  })),
  // Microchip's demonstration id; the subclass tells the FTDI chip from others that have it.
  { vendor: 0x04d8, product: 0x000a, interfaceClass: 0xff, interfaceSubClass: 0xff, interfaceProtocol: 0x00 },
];

/** Boards with the ids of the bare chip whose first port is JTAG (Linux ftdi_sio). */
const JTAG_BOARDS: readonly { readonly manufacturer?: string; readonly productName?: string }[] = [
  { manufacturer: "CALAO Systems" },
  { productName: "BeagleBone/XDS100V2" },
  { productName: "SNAP Connect E10" },
];

/** The interface is not a serial port, whatever its ids say. */
export function isJtag(
  identity: { readonly manufacturer: string; readonly productName: string },
  interfaceNumber: number,
): boolean {
  const is = JTAG_BOARDS.some(
    ({ manufacturer, productName }) =>
      (manufacturer ?? identity.manufacturer) === identity.manufacturer &&
      (productName ?? identity.productName) === identity.productName,
  );
  return is && interfaceNumber === 0;
}
