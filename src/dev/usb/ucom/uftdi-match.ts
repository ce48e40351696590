/**
 * What uftdi drives. Sources: the ids that FTDI gives away with its chips (data sheets), usb.ids, and the tables of
 * usb-serial-for-android, TinyUSB and Linux ftdi_sio. All are vendor-specific interfaces.
 */
import type { MatchRule } from "../usbdi.js";

const FTDI = 0x0403;
const VENDOR_SPECIFIC = { interfaceClass: 0xff } as const;

/** Products under FTDI's vendor id. */
const FTDI_PRODUCTS = [
  0x6001, // FT232AM, FT232BM, FT232R
  0x6006, // FT8U232AM, second id
  0x6010, // FT2232C, FT2232D, FT2232H
  0x6011, // FT4232H
  0x6014, // FT232H
  0x6015, // FT230X, FT231X, FT234XD
  0x6040, // FT2233HP
  0x6041, // FT4233HP
  0x6042, // FT2232HP
  0x6043, // FT4232HP
  0x6044, // FT233HP
  0x6045, // FT232HP
  0x6048, // FT4232HA
  0x8372, // FT8U100AX
  0xcaa0, // uChameleon
  0xcc48, // Tactrix OpenPort 1.3 Mitsubishi
  0xcc49, // Tactrix OpenPort 1.3 Subaru
  0xcc4a, // Tactrix OpenPort 1.3 Universal
  0xcd18, // without a name in TinyUSB
  0xf0c8, // SPROG decoder programmer
  0xf857, // ADS Tech IR blaster
  0xf9d0, // CCS ICD-U20
  0xf9d1, // CCS ICD-U40
  0xf9d2, // CCS MACH X
  0xfa10, // relays of R. Gugler
  0xfad0, // Inside Accesso reader
  0xfbfa, // FT232RL, second id
  0xfc60, // IRTrans
  0xff00, // AMC-232USB01
  0xff38, // IBS US485
  0xff39, // IBS PIC programmer
  0xffa8, // CANUSB
] as const;

/** Other vendors that put the chip under ids of their own. */
const OTHERS = [
  [0x093c, 0x0601], // Intrepid ValueCAN
  [0x093c, 0x0701], // Intrepid neoVI
  [0x0c52, 0x2101], // Sealevel SeaLINK+232
  [0x0c52, 0x2102], // Sealevel SeaLINK+485
  [0x0c52, 0x2103], // Sealevel SeaLINK+232I
  [0x0c52, 0x2104], // Sealevel SeaLINK+485I
  [0x0dcd, 0x0001], // Neuronal Fuzzy RIC
  [0x0f94, 0x0001], // Falcom Twist
  [0x0f94, 0x0005], // Falcom Samba
  [0x1781, 0x0c30], // Telldus TellStick
  [0x1a28, 0x6010], // Novitus Bono E
  [0x2100, 0x9e52], // RT Systems VX-7 cable
] as const;

export const UFTDI_MATCH: readonly MatchRule[] = [
  ...FTDI_PRODUCTS.map((product) => ({ vendor: FTDI, product, ...VENDOR_SPECIFIC })),
  ...OTHERS.map(([vendor, product]) => ({ vendor, product, ...VENDOR_SPECIFIC })),
];
