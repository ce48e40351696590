/**
 * What umodem drives: interfaces that say they are an abstract control model (CDC 1.2 Table 4, PSTN 1.2 §3.6), whatever their
 * protocol, and devices that are one and do not say so. Sources of the latter and of the quirks: usb-serial-for-android, Linux
 * 6.1 cdc-acm.
 */
import type { MatchRule } from "../usbdi.js";

type Ids = readonly (readonly [vendor: number, products: readonly number[]])[];

/** Nothing names the data interface, or what names it is wrong: control is interface 0, data is interface 1. */
const WITHOUT_UNION: Ids = [
  [0x0482, [0x0203]],
  [0x0572, [0x1321, 0x1324, 0x1328, 0x1329, 0x1340, 0x1349]],
  [0x05f9, [0x4002]],
  [0x076d, [0x0006]],
  [0x079b, [0x000f]],
  [0x0803, [0x3095]],
  [0x0870, [0x0001]],
  [0x09d8, [0x0320]],
  [0x0c26, [0x0020]],
  [0x0ca6, [0xa050]],
  [0x0e8d, [0x0003, 0x3329]],
  [0x1576, [0x03b1]],
  [0x17ef, [0x7000]],
  [0x1965, [0x0017, 0x0018]],
  [0x1bbb, [0x0003]],
  [0x22b8, [0x2d92, 0x2d93, 0x2d95, 0x2d96, 0x2d97, 0x2d99, 0x2d9a, 0x7000]],
  [0xfff0, [0x0100]],
];

/** They say that they are a modem, and are something else with a driver of its own: Exar UARTs, boot loaders, a fingerprint reader. */
const NO_MODEMS: Ids = [
  [0x04e2, [0x1400, 0x1401, 0x1402, 0x1403, 0x1410, 0x1411, 0x1412, 0x1414, 0x1420, 0x1422, 0x1424]],
  [0x04e8, [0x685d]],
  [0x058b, [0x0041]],
  [0x108c, [0x0159, 0x0168, 0x0169]],
  [0x27c6, [0x5395]],
  [0x32a7, [0x0000]],
];

/** More than one read in flight brings their bytes in the wrong order: ZyDAS, Verifone. */
const ONE_READ: Ids = [
  [0x0ace, [0x1602, 0x1608, 0x1611]],
  [0x11ca, [0x0201]],
];

/** SET_CONTROL_LINE_STATE stops them: Simtec. */
const WITHOUT_LINES: Ids = [[0x20df, [0x0001]]];

/** Their bulk endpoints begin halted: ATOL fiscal printers. */
const HALTED: Ids = [[0x2912, [0x0001]]];

export const UMODEM_MATCH: readonly MatchRule[] = [
  { interfaceClass: 0x02, interfaceSubClass: 0x02 },
  { vendor: 0x18d1, product: 0x5014, interfaceClass: 0xff, interfaceSubClass: 0x50 }, // Google Cr50: bulk endpoints alone
  { vendor: 0x1782, product: 0x4d10, interfaceClass: 0xff }, // Unisoc modems
  { vendor: 0x1782, product: 0x4d12, interfaceClass: 0xff },
  { vendor: 0x0e8d, product: 0x0003, interfaceClass: 0x0a }, // MediaTek boot loader: class CDC data, no control interface
  { vendor: 0x17ef, product: 0x6161, interfaceClass: 0x02, interfaceSubClass: 0x00 }, // Lenovo
  ...WITHOUT_UNION.flatMap(([vendor, products]) =>
    products.map((product) => ({ vendor, product, interfaceNumber: 0 })),
  ),
];

export interface ModemQuirks {
  /** Leave it alone. */
  readonly isNoModem: boolean;
  /** Where the data is, whatever the descriptors say. */
  readonly dataInterface: number | undefined;
  readonly oneRead: boolean;
  readonly hasNoLines: boolean;
  readonly beginsHalted: boolean;
}

export function modemQuirksOf(vendor: number, product: number): ModemQuirks {
  const isIn = (ids: Ids): boolean => ids.some((row) => row[0] === vendor && row[1].includes(product));
  return {
    isNoModem: isIn(NO_MODEMS),
    dataInterface: isIn(WITHOUT_UNION) ? 1 : undefined,
    oneRead: isIn(ONE_READ),
    hasNoLines: isIn(WITHOUT_LINES),
    beginsHalted: isIn(HALTED),
  };
}
