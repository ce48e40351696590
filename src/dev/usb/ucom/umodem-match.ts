/**
 * What umodem drives: interfaces that say they are an abstract control model (CDC 1.2 Table 4, PSTN 1.2 §3.6), whatever their
 * protocol, and devices that are one and do not say so. Sources of the latter: usb-serial-for-android, Linux cdc-acm.
 */
import type { MatchRule } from "../usbdi.js";

export const UMODEM_MATCH: readonly MatchRule[] = [
  { interfaceClass: 0x02, interfaceSubClass: 0x02 },
  { vendor: 0x18d1, product: 0x5014, interfaceClass: 0xff, interfaceSubClass: 0x50 }, // Google Cr50: bulk endpoints alone
  { vendor: 0x1782, product: 0x4d10, interfaceClass: 0xff }, // Unisoc modems
  { vendor: 0x1782, product: 0x4d12, interfaceClass: 0xff },
  { vendor: 0x0e8d, product: 0x0003, interfaceClass: 0x0a }, // MediaTek boot loader: class CDC data, no control interface
];
