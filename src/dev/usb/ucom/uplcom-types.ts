/**
 * The types of PL2303: how they are told apart, and how each makes its rates.
 *
 * Facts: Linux pl2303 and usb-serial-for-android (Prolific prints no registers); data sheets for the highest rates.
 */
import { viewOf } from "../../../bytes.js";
import type { DeviceDescriptor } from "../descriptors.js";

export type PlTypeName = "01" | "H" | "HX" | "TA" | "TB" | "HXD" | "HXN";

export interface PlType {
  readonly name: PlTypeName;
  readonly maxBaud: number;
  /** How rates are set that are not in the table. "direct": any rate as it is. */
  readonly rates: "quarters" | "halves" | "direct";
  /** Which registers hold flow control and the reset of the pipes. */
  readonly registers: "legacy" | "hx" | "hxn";
}

const TYPES: Readonly<Record<PlTypeName, PlType>> = {
  "01": { name: "01", maxBaud: 1_228_800, rates: "quarters", registers: "legacy" },
  H: { name: "H", maxBaud: 1_228_800, rates: "quarters", registers: "legacy" },
  HX: { name: "HX", maxBaud: 6_000_000, rates: "quarters", registers: "hx" },
  TA: { name: "TA", maxBaud: 6_000_000, rates: "halves", registers: "hx" },
  TB: { name: "TB", maxBaud: 12_000_000, rates: "halves", registers: "hx" },
  HXD: { name: "HXD", maxBaud: 12_000_000, rates: "quarters", registers: "hx" },
  HXN: { name: "HXN", maxBaud: 12_000_000, rates: "direct", registers: "hxn" },
};

const CLASS_CDC = 0x02;
const LARGE_PACKET = 64;
/** bcdUSB 2.00 and bcdDevice: TA and TB share theirs with HXN types, and alone answer the old status request. */
const USB2_REVISIONS: Readonly<Record<number, PlTypeName>> = { 0x0300: "TA", 0x0500: "TB" };
const BCD_USB_2 = 0x0200;
const HXD_REVISION = 0x0400;

/**
 * @param answersOldStatus  Whether the device knows the status request of the HX (8080h); only some are asked.
 */
export async function plTypeOf(
  descriptor: Pick<DeviceDescriptor, "bDeviceClass" | "bMaxPacketSize0" | "bcdUSB" | "bcdDevice">,
  answersOldStatus: () => Promise<boolean>,
): Promise<PlType> {
  if (descriptor.bDeviceClass === CLASS_CDC) return TYPES["01"];
  if (descriptor.bMaxPacketSize0 !== LARGE_PACKET) return TYPES.H;
  if (descriptor.bcdUSB < BCD_USB_2) return descriptor.bcdDevice === HXD_REVISION ? TYPES.HXD : TYPES.HX;
  const old = USB2_REVISIONS[descriptor.bcdDevice];
  return old !== undefined && (await answersOldStatus()) ? TYPES[old] : TYPES.HXN;
}

/** Rates that every type but HXN takes as they are. */
const DIRECT_RATES: readonly number[] = [
  75, 150, 300, 600, 1200, 1800, 2400, 3600, 4800, 7200, 9600, 14_400, 19_200, 28_800, 38_400, 57_600, 115_200, 230_400,
  460_800, 614_400, 921_600, 1_228_800, 2_457_600, 3_000_000, 6_000_000,
];
export const PL_MIN_BAUD = 75;
/** 12 MHz × 32. */
const CLOCK_HZ = 384_000_000;
/** Bit 31: what follows is a divisor. */
const DIVISOR_BIT = 0x8000_0000;

interface DivisorLayout {
  readonly mantissaBits: number;
  readonly maxExponent: number;
  /** Log2 of the base of the exponent. */
  readonly shift: number;
  readonly encode: (mantissa: number, exponent: number) => number;
}

const LAYOUTS: Readonly<Record<"quarters" | "halves", DivisorLayout>> = {
  // mantissa in bits 8..0, exponent of 4 in bits 11..9
  quarters: { mantissaBits: 9, maxExponent: 7, shift: 2, encode: (mantissa, exponent) => mantissa | (exponent << 9) },
  // mantissa in bits 10..0, exponent of 2 in bits 15..13 and, its lowest bit, 16
  halves: {
    mantissaBits: 11,
    maxExponent: 15,
    shift: 1,
    encode: (mantissa, exponent) => mantissa | ((exponent >> 1) << 13) | ((exponent & 1) << 16),
  },
};

export interface PlRate {
  /** dwDTERate of the line coding. */
  readonly encoded: number;
  /** Bits per second that come out, not rounded. */
  readonly baud: number;
}

/** The setting whose rate is nearest. */
export function plRate(type: PlType, baud: number): PlRate {
  if (type.rates === "direct" || DIRECT_RATES.includes(baud)) return { encoded: baud, baud };
  const { mantissaBits, maxExponent, shift, encode } = LAYOUTS[type.rates];
  const maxMantissa = 2 ** mantissaBits - 1;
  for (let exponent = 0; exponent <= maxExponent; exponent++) {
    const clock = CLOCK_HZ / 2 ** (shift * exponent);
    const mantissa = Math.max(1, Math.round(clock / baud));
    if (mantissa > maxMantissa && exponent < maxExponent) continue;
    const used = Math.min(mantissa, maxMantissa);
    return { encoded: (DIVISOR_BIT | encode(used, exponent)) >>> 0, baud: clock / used };
  }
  return { encoded: PL_MIN_BAUD, baud: PL_MIN_BAUD };
}

/** The 7 bytes of the line coding (as CDC PSTN 1.2 Table 17). */
export function encodeLineCoding(rate: number, stopBits: number, parity: number, dataBits: number): Uint8Array {
  const coding = new Uint8Array(7);
  viewOf(coding).setUint32(0, rate, true);
  coding.set([stopBits, parity, dataBits], 4);
  return coding;
}
