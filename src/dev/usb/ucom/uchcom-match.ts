/**
 * What uchcom drives. Sources: WCH's ids (data sheets of CH340, CH341, CH343, CH9102), usb.ids, and the tables of Linux
 * ch341, usb-serial-for-android and TinyUSB.
 */
import type { MatchRule } from "../usbdi.js";

export const UCHCOM_MATCH: readonly MatchRule[] = [
  { vendor: 0x1a86, product: 0x7523, interfaceClass: 0xff }, // CH340
  { vendor: 0x1a86, product: 0x7522, interfaceClass: 0xff }, // CH340K
  { vendor: 0x1a86, product: 0x5523, interfaceClass: 0xff }, // CH341 in serial mode
  { vendor: 0x1a86, product: 0xe523, interfaceClass: 0xff }, // CH330
  { vendor: 0x4348, product: 0x5523, interfaceClass: 0xff }, // CH340, the vendor's first id
  { vendor: 0x2184, product: 0x0057, interfaceClass: 0xff }, // GW Instek digital meters
  { vendor: 0x9986, product: 0x7523, interfaceClass: 0xff }, // a copy of the CH340
  // These also speak CDC-ACM; their own requests set mark and space parity and tell all lines.
  { vendor: 0x1a86, product: 0x55d3, interfaceClass: 0x02 }, // CH343
  { vendor: 0x1a86, product: 0x55d4, interfaceClass: 0x02 }, // CH9102
];
