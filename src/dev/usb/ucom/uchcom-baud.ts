/**
 * Rates of the WCH chips: 48 MHz, divided by a prescaler of eight steps and a divisor of eight bits.
 *
 * Facts: Linux ch341 (measured by its authors; the data sheets do not print the registers), FreeBSD uchcom for the CH343.
 */

const CLOCK_HZ = 48_000_000;

/** One setting of the prescaler. */
interface Prescaler {
  /** Bits 1..0: steps of 8; bit 2: twice as fast. */
  readonly code: number;
  readonly clockHz: number;
  readonly minDivisor: number;
}

const MAX_DIVISOR = 256;
const FAST_BIT = 1 << 2;
/** With the fast bit a smaller divisor makes wrong rates. */
const MIN_FAST_DIVISOR = 9;
const MIN_DIVISOR = 2;

function prescaler(step: number, fast: boolean, minDivisor: number): Prescaler {
  const clockHz = CLOCK_HZ / 2 ** (12 - 3 * step - (fast ? 1 : 0));
  return { code: step | (fast ? FAST_BIT : 0), clockHz, minDivisor };
}

const STEPS = [3, 2, 1, 0] as const;
/** The slower of two that make the same rate comes first: it bears a wrong rate of the other side better. */
const SLOW = STEPS.map((step) => prescaler(step, false, MIN_DIVISOR));

/** Which of them a chip has. */
const PRESCALERS = {
  full: [...SLOW, ...STEPS.map((step) => prescaler(step, true, MIN_FAST_DIVISOR))],
  /** HL340 and others lose bytes when the fast bit is set, except at the highest step. */
  limited: [...SLOW, prescaler(3, true, MIN_FAST_DIVISOR)],
  ch343: [...SLOW, prescaler(3, true, MIN_DIVISOR)],
} as const satisfies Readonly<Record<string, readonly Prescaler[]>>;

export type ChPrescalers = keyof typeof PRESCALERS;

export const CH_MIN_BAUD = 46;
export const CH_MAX_BAUD: Readonly<Record<ChPrescalers, number>> = {
  full: 3_000_000,
  limited: 3_000_000,
  ch343: 6_000_000,
};

export interface ChRate {
  /** Register 12h, without the bit that sends what was received at once. */
  readonly prescaler: number;
  /** Register 13h: 256 less the divisor. */
  readonly divisor: number;
  /** Bits per second that come out, not rounded. */
  readonly baud: number;
}

/** The setting whose rate is nearest. */
export function chRate(prescalers: ChPrescalers, baud: number): ChRate {
  let best: ChRate | undefined;
  for (const { code, clockHz, minDivisor } of PRESCALERS[prescalers]) {
    const divisor = Math.min(Math.max(Math.round(clockHz / baud), minDivisor), MAX_DIVISOR);
    const made = clockHz / divisor;
    if (best === undefined || Math.abs(made - baud) < Math.abs(best.baud - baud))
      best = { prescaler: code, divisor: MAX_DIVISOR - divisor, baud: made };
  }
  return best ?? { prescaler: 0, divisor: 0, baud };
}
