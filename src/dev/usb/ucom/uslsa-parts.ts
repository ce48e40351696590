/**
 * The parts of Silicon Labs: what each can do, and the rates that it makes.
 *
 * Facts: AN571 (GET_PARTNUM and the other requests), AN205 (rates of CP2101, CP2102, CP2103), data sheets of CP2102N, CP2104,
 * CP2105, CP2108.
 */

export interface CpPart {
  readonly name: string;
  readonly minBaud: number;
  readonly maxBaud: number;
  /** Any divisor of 24 MHz; false: the rates of AN205 Table 1 and, from 1 Mbaud, what is asked for. */
  readonly anyDivisor: boolean;
  readonly transmitBufferBytes: number;
  /** 8 data bits, 1 stop bit, and no mark or space parity (the first part; Linux cp210x). */
  readonly plainFrames?: boolean;
}

/** By the byte that GET_PARTNUM answers (AN571 §5.1). */
const PARTS: Readonly<Record<number, CpPart>> = {
  0x01: {
    name: "CP2101",
    minBaud: 300,
    maxBaud: 921_600,
    anyDivisor: false,
    transmitBufferBytes: 640,
    plainFrames: true,
  },
  0x02: { name: "CP2102", minBaud: 300, maxBaud: 1_000_000, anyDivisor: false, transmitBufferBytes: 640 },
  0x03: { name: "CP2103", minBaud: 300, maxBaud: 1_000_000, anyDivisor: false, transmitBufferBytes: 640 },
  0x04: { name: "CP2104", minBaud: 300, maxBaud: 2_000_000, anyDivisor: true, transmitBufferBytes: 576 },
  0x05: { name: "CP2105", minBaud: 300, maxBaud: 2_000_000, anyDivisor: true, transmitBufferBytes: 512 },
  0x08: { name: "CP2108", minBaud: 300, maxBaud: 2_000_000, anyDivisor: false, transmitBufferBytes: 512 },
  0x20: { name: "CP2102N", minBaud: 300, maxBaud: 3_000_000, anyDivisor: true, transmitBufferBytes: 512 },
  0x21: { name: "CP2102N", minBaud: 300, maxBaud: 3_000_000, anyDivisor: true, transmitBufferBytes: 512 },
  0x22: { name: "CP2102N", minBaud: 300, maxBaud: 3_000_000, anyDivisor: true, transmitBufferBytes: 512 },
};
/** The second port of a CP2105 (data sheet: the standard interface SCI). */
const CP2105_SCI: CpPart = {
  name: "CP2105 SCI",
  minBaud: 2400,
  maxBaud: 921_600,
  anyDivisor: false,
  transmitBufferBytes: 288,
};
const CP2105 = 0x05;
const UNKNOWN: CpPart = {
  name: "CP210x",
  minBaud: 300,
  maxBaud: 2_000_000,
  anyDivisor: false,
  transmitBufferBytes: 640,
};

/** `partNumber` is undefined for a device that does not say. */
export function cpPartOf(partNumber: number | undefined, interfaceNumber: number): CpPart {
  if (partNumber === CP2105 && interfaceNumber > 0) return CP2105_SCI;
  return (partNumber === undefined ? undefined : PARTS[partNumber]) ?? UNKNOWN;
}

/** AN205 Table 1: the rate that is made, and the highest rate that is asked for to get it. */
const AN205_RATES: readonly (readonly [made: number, upTo: number])[] = [
  [300, 300],
  [600, 600],
  [1200, 1200],
  [1800, 1800],
  [2400, 2400],
  [4000, 4000],
  [4800, 4803],
  [7200, 7207],
  [9600, 9612],
  [14_400, 14_428],
  [16_000, 16_062],
  [19_200, 19_250],
  [28_800, 28_912],
  [38_400, 38_601],
  [51_200, 51_558],
  [56_000, 56_280],
  [57_600, 58_053],
  [64_000, 64_111],
  [76_800, 77_608],
  [115_200, 117_028],
  [128_000, 129_347],
  [153_600, 156_868],
  [230_400, 237_832],
  [250_000, 254_234],
  [256_000, 273_066],
  [460_800, 491_520],
  [500_000, 567_138],
  [576_000, 670_254],
  [921_600, 999_999],
];

const CLOCK_HZ = 48_000_000;
/** Up to here the clock is divided by four first. */
const PRESCALED_BAUD = 365;

/** The rate that comes out when `baud` is asked for, not rounded. */
export function cpRate(part: CpPart, baud: number): number {
  if (!part.anyDivisor) return AN205_RATES.find(([, upTo]) => baud <= upTo)?.[0] ?? baud;
  const clock = CLOCK_HZ / (baud <= PRESCALED_BAUD ? 4 : 1) / 2;
  return clock / Math.round(clock / baud);
}
