/**
 * The chips of FTDI: how they are told apart, and how each makes its rates.
 *
 * Facts: AN232B-05 (divisors of the 3 MHz reference), AN_120 (aliasing on the high-speed chips), data sheets of FT232R,
 * FT2232H, FT4232H, FT232H, FT230X; bcdDevice as libftdi and Linux ftdi_sio know it.
 */

export interface FtdiChip {
  readonly name: string;
  /** bcdDevice. */
  readonly revision: number;
  /** "eighths": sub-integer divisors in steps of 1/8; "am": 0, 1/8, 1/4 and 1/2 alone (AN232B-05 §1.3). */
  readonly fraction: "eighths" | "am";
  /** The reference can be 12 MHz (AN_120 §3.2): rates to 12 Mbaud. */
  readonly highSpeed: boolean;
  /** wIndex carries the port in its low byte, and the high divisor bits above it. */
  readonly portInIndex: boolean;
  readonly transmitBufferBytes: number;
  /** Absent on the first chips: their latency is fixed at 16 ms. */
  readonly hasLatency: boolean;
}

const BM = { fraction: "eighths", highSpeed: false, portInIndex: false, hasLatency: true } as const;
const PORTS = { ...BM, portInIndex: true } as const;
const HIGH_SPEED = { ...PORTS, highSpeed: true } as const;

export const FTDI_CHIPS: readonly FtdiChip[] = [
  { ...BM, name: "FT8U232AM", revision: 0x0200, fraction: "am", hasLatency: false, transmitBufferBytes: 128 },
  { ...BM, name: "FT232BM", revision: 0x0400, transmitBufferBytes: 128 },
  { ...PORTS, name: "FT2232D", revision: 0x0500, transmitBufferBytes: 128 },
  { ...BM, name: "FT232R", revision: 0x0600, transmitBufferBytes: 256 },
  { ...HIGH_SPEED, name: "FT2232H", revision: 0x0700, transmitBufferBytes: 4096 },
  { ...HIGH_SPEED, name: "FT4232H", revision: 0x0800, transmitBufferBytes: 2048 },
  { ...HIGH_SPEED, name: "FT232H", revision: 0x0900, transmitBufferBytes: 1024 },
  { ...PORTS, name: "FT-X", revision: 0x1000, transmitBufferBytes: 512 },
  { ...HIGH_SPEED, name: "FT2233HP", revision: 0x2800, transmitBufferBytes: 4096 },
  { ...HIGH_SPEED, name: "FT4233HP", revision: 0x2900, transmitBufferBytes: 2048 },
  { ...HIGH_SPEED, name: "FT2232HP", revision: 0x3000, transmitBufferBytes: 4096 },
  { ...HIGH_SPEED, name: "FT4232HP", revision: 0x3100, transmitBufferBytes: 2048 },
  { ...HIGH_SPEED, name: "FT233HP", revision: 0x3200, transmitBufferBytes: 1024 },
  { ...HIGH_SPEED, name: "FT232HP", revision: 0x3300, transmitBufferBytes: 1024 },
  { ...HIGH_SPEED, name: "FT4232HA", revision: 0x3600, transmitBufferBytes: 2048 },
];

/** The FT232BM that has no serial number calls itself 2.00 (libftdi). */
const AM_REVISION = 0x0200;
const BM_REVISION = 0x0400;
const FALLBACK_REVISION = 0x0600;

/** @returns undefined for a revision that is not in the table. */
export function ftdiChipOf(revision: number, serial: string): FtdiChip | undefined {
  const known = revision === AM_REVISION && serial === "" ? BM_REVISION : revision;
  return FTDI_CHIPS.find((chip) => chip.revision === known);
}

/** What a chip that is not in the table is taken for: the one that the most were made of. */
export const FTDI_FALLBACK: FtdiChip = ftdiChipOf(FALLBACK_REVISION, "?") ?? {
  ...BM,
  name: "FT232R",
  revision: 0x0600,
  transmitBufferBytes: 256,
};

/** References: 48 MHz / 16, and 120 MHz / 10 (AN_120 §3.2). */
const REFERENCE_HZ = 3_000_000;
const FAST_REFERENCE_HZ = 12_000_000;
/** The fast reference does not divide down further. */
const FAST_MIN_BAUD = 1200;
/** 14 bits of integer divisor. */
const MAX_EIGHTHS = (1 << 17) - 1;
/** The codes of the eighths, in bits 14 to 16 of the divisor (AN232B-05 §2.2). */
const FRACTION_CODES = [0, 3, 2, 4, 1, 5, 6, 7] as const;
const AM_EIGHTHS: readonly number[] = [0, 1, 2, 4];
const FAST_BIT = 1 << 17;

export const ftdiMinBaud = Math.ceil((REFERENCE_HZ * 8) / MAX_EIGHTHS);
export const ftdiMaxBaud = (chip: FtdiChip): number => (chip.highSpeed ? FAST_REFERENCE_HZ : REFERENCE_HZ);

export interface FtdiDivisor {
  /** Bits 0 to 13 the integer, 14 to 16 the eighths, 17 the reference. */
  readonly encoded: number;
  /** Bits per second that come out, not rounded. */
  readonly baud: number;
}

/** The divisor whose rate is nearest. */
export function ftdiDivisor(chip: FtdiChip, baud: number): FtdiDivisor {
  const fast = chip.highSpeed && baud >= FAST_MIN_BAUD;
  const reference = fast ? FAST_REFERENCE_HZ : REFERENCE_HZ;
  const exact = (reference * 8) / baud;
  let best: FtdiDivisor | undefined;
  // Where eighths are missing (below 2, and on the first chips) the nearest that there is lies within 8 of them.
  for (let eighths = Math.floor(exact) - 8; eighths <= Math.ceil(exact) + 8; eighths++) {
    if (!isDivisor(chip, eighths)) continue;
    const made = (reference * 8) / eighths;
    if (best === undefined || Math.abs(made - baud) < Math.abs(best.baud - baud))
      best = { encoded: encodeEighths(eighths) | (fast ? FAST_BIT : 0), baud: made };
  }
  return best ?? { encoded: encodeEighths(MAX_EIGHTHS), baud: REFERENCE_HZ / (MAX_EIGHTHS / 8) };
}

/** 1, 1.5, and from 2 on in eighths (AN232B-05 §1.3). */
function isDivisor(chip: FtdiChip, eighths: number): boolean {
  if (eighths === 8 || eighths === 12) return true;
  if (eighths < 16 || eighths > MAX_EIGHTHS) return false;
  return chip.fraction === "eighths" || AM_EIGHTHS.includes(eighths & 7);
}

function encodeEighths(eighths: number): number {
  // 3 Mbaud and 2 Mbaud have codes of their own: 0 and 1.
  if (eighths === 8) return 0;
  if (eighths === 12) return 1;
  return (eighths >> 3) | ((FRACTION_CODES[eighths & 7] ?? 0) << 14);
}
