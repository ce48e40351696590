/**
 * What uplcom drives. Sources: Prolific's ids (data sheets), and the ids of other makers as Linux 6.1 pl2303 and
 * usb-serial-for-android list them.
 */
import type { MatchRule } from "../usbdi.js";

const IDS: readonly (readonly [vendor: number, products: readonly number[]])[] = [
  // Prolific: 2303 H, HX, HXD, TA; 2304 TB; 23a3 GC, 23b3 GB, 23c3 GT, 23d3 GL, 23e3 GE, 23f3 GS
  [0x067b, [0x2303, 0x2304, 0x23a3, 0x23b3, 0x23c3, 0x23d3, 0x23e3, 0x23f3]],
  [0x067b, [0x04bb, 0x0307, 0x0609, 0x0611, 0x0612, 0x1234, 0x331a, 0xaaa0, 0xaaa2, 0xaaa8, 0xe1f1]],
  [0x03f0, [0x0183, 0x026b, 0x0956, 0x0b39, 0x0f7f, 0x0f9b, 0x3139, 0x3239, 0x3524, 0x4349, 0x4439, 0x5039]], // Hewlett-Packard displays
  [0x0413, [0x2101]], // Leadtek GPS 9531
  [0x04a5, [0x4027]], // BenQ S81
  [0x04b3, [0x4016]], // IBM
  [0x04b8, [0x0521, 0x0522]], // dive computers of Cressi and Zeagle
  [0x04bb, [0x0a03, 0x0a0e]], // I-O Data USB-RSAQ
  [0x050d, [0x0257]], // Belkin F5U257
  [0x0547, [0x2008]], // Aten, second vendor id
  [0x054c, [0x0437]], // Sony QN3USB
  [0x0557, [0x2008, 0x2021, 0x2022, 0x2118]], // Aten UC-232
  [0x056e, [0x5003, 0x5004]], // Elecom UC-SGT
  [0x0584, [0xb000]], // Ratoc
  [0x058f, [0x9720]], // Alcor Micro
  [0x05ad, [0x0fba]], // Y.C. Cable
  [0x0731, [0x0528, 0x2003]], // DCU-10, DataPilot Universal-2
  [0x0745, [0x0001]], // Syntech
  [0x078b, [0x1234]], // Nokia CA-42
  [0x079b, [0x0027]], // Sagem
  [0x07aa, [0x002a]], // Corega CG-USBRS232R
  [0x0b63, [0x6530, 0x653a]], // ADLINK ND-6530
  [0x0b8c, [0x2303]], // SMART
  [0x0caa, [0x3001]], // Allied Telesis VT-Kit3
  [0x0df7, [0x0620]], // MA-620
  [0x0e55, [0x110b]], // Speed Dragon
  [0x0eba, [0x1080, 0x2080]], // iTegno
  [0x10b5, [0xac70]], // CA-42 copies
  [0x11ad, [0x0001]], // Sanwa KB-USB2
  [0x11f5, [0x0001, 0x0003, 0x0004, 0x0005]], // Siemens SX1, X65, X75, EF81
  [0x11f6, [0x2001]], // Willcom WS002IN
  [0x11f7, [0x02df]], // Alcatel
  [0x1453, [0x4026]], // RadioShack
  [0x2478, [0x2008]], // Tripp Lite
  [0x345f, [0x3020]], // MacroSilicon
  [0x5372, [0x2303]], // Superial
  [0x6189, [0x2068]], // Sitecom
];

/** Cables of Siemens telephones, whose notification begins with the status (Linux pl2303). */
export const STATUS_FIRST: readonly (readonly [vendor: number, product: number])[] = [
  [0x11f5, 0x0001],
  [0x11f5, 0x0003],
  [0x11f5, 0x0004],
];

export const UPLCOM_MATCH: readonly MatchRule[] = IDS.flatMap(([vendor, products]) =>
  products.map((product) => ({ vendor, product, interfaceNumber: 0 })),
);
