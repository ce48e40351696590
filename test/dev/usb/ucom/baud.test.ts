/** Rates: what each chip makes of what is asked, and the codes for it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CH_MAX_BAUD, type ChPrescalers, chRate } from "../../../../src/dev/usb/ucom/uchcom-baud.js";
import {
  FTDI_CHIPS,
  ftdiChipOf,
  ftdiDivisor,
  ftdiMaxBaud,
  ftdiMinBaud,
} from "../../../../src/dev/usb/ucom/uftdi-chips.js";
import { plRate, type PlType, plTypeOf } from "../../../../src/dev/usb/ucom/uplcom-types.js";
import { cpPartOf, cpRate } from "../../../../src/dev/usb/ucom/uslsa-parts.js";

const STANDARD = [300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600];
const errorOf = (made: number, wanted: number): number => Math.abs(made - wanted) / wanted;

function chip(name: string) {
  const found = FTDI_CHIPS.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

describe("FTDI (AN232B-05, AN_120)", () => {
  /** Encoded divisors; those of the FT232R are printed in AN232B-05 and FTDI's own .inf. */
  test.each([
    ["FT232R", 300, 0x2710, 300],
    ["FT232R", 9600, 0x4138, 9600],
    ["FT232R", 19_200, 0x809c, 19_200],
    ["FT232R", 38_400, 0xc04e, 38_400],
    ["FT232R", 57_600, 0xc034, 57_554],
    ["FT232R", 115_200, 0x001a, 115_385],
    ["FT232R", 230_400, 0x000d, 230_769],
    ["FT232R", 460_800, 0x4006, 461_538],
    ["FT232R", 490_000, 0xc006, 489_796],
    ["FT232R", 921_600, 0x8003, 923_077],
    ["FT232R", 2_000_000, 0x0001, 2_000_000],
    ["FT232R", 3_000_000, 0x0000, 3_000_000],
    ["FT2232H", 300, 0x2710, 300],
    ["FT2232H", 115_200, 0x2c068, 115_246],
    ["FT2232H", 3_000_000, 0x20004, 3_000_000],
    ["FT2232H", 8_000_000, 0x20001, 8_000_000],
    ["FT2232H", 12_000_000, 0x20000, 12_000_000],
  ] as const)("%s at %i: %i", (name, baud, encoded, made) => {
    const divisor = ftdiDivisor(chip(name), baud);
    expect([divisor.encoded.toString(16), Math.round(divisor.baud)]).toEqual([encoded.toString(16), made]);
  });

  test("any rate: the divisor says what the rate is, and no neighbour is nearer", () => {
    fc.assert(
      fc.property(fc.constantFrom(...FTDI_CHIPS), fc.integer({ min: ftdiMinBaud, max: 12_000_000 }), (one, baud) => {
        fc.pre(baud <= ftdiMaxBaud(one));
        const { encoded, baud: made } = ftdiDivisor(one, baud);
        const reference = (encoded & 0x20000) === 0 ? 3_000_000 : 12_000_000;
        const eighths = [0, 4, 2, 1, 3, 5, 6, 7][(encoded >> 14) & 7] ?? 0;
        const integer = encoded & 0x3fff;
        const divisor = integer === 0 ? 1 : integer === 1 ? 1.5 : integer + eighths / 8;
        expect(made).toBeCloseTo(reference / divisor, 6);
        if (one.fraction === "eighths" && baud <= reference / 2) {
          for (const step of [-1 / 8, 1 / 8])
            if (divisor + step >= 2 && divisor + step < 16_384)
              expect(errorOf(made, baud)).toBeLessThanOrEqual(errorOf(reference / (divisor + step), baud) + 1e-12);
          // Half a step of 1/8 at a divisor of 2.
          expect(errorOf(made, baud)).toBeLessThan(0.0323);
        }
      }),
    );
  });

  test("chips by bcdDevice; the BM without a serial number calls itself an AM", () => {
    expect(ftdiChipOf(0x0200, "A1")?.name).toBe("FT8U232AM");
    expect(ftdiChipOf(0x0200, "")?.name).toBe("FT232BM");
    expect(ftdiChipOf(0x0600, "x")?.name).toBe("FT232R");
    expect(ftdiChipOf(0x4242, "x")).toBeUndefined();
    expect(new Set(FTDI_CHIPS.map((one) => one.revision)).size).toBe(FTDI_CHIPS.length);
  });
});

describe("Silicon Labs (AN205, AN571)", () => {
  test.each([
    [0x02, 0, 9600, 9600],
    [0x02, 0, 9700, 14_400],
    [0x02, 0, 800_000, 921_600],
    [0x02, 0, 1_000_000, 1_000_000],
    [0x04, 0, 115_200, 115_385],
    [0x05, 0, 300, 300],
    [0x20, 0, 3_000_000, 3_000_000],
  ])("part %i port %i at %i: %i", (part, port, baud, made) => {
    expect(Math.round(cpRate(cpPartOf(part, port), baud))).toBe(made);
  });

  test("parts: the second port of a CP2105 is the standard one; what is unknown is careful", () => {
    expect(cpPartOf(0x05, 1)).toMatchObject({ minBaud: 2400, maxBaud: 921_600 });
    expect(cpPartOf(undefined, 0).maxBaud).toBe(2_000_000);
    expect(cpPartOf(0x77, 0).name).toBe("CP210x");
  });

  test("any rate of a part with a divider is within half a step", () => {
    fc.assert(
      fc.property(fc.integer({ min: 300, max: 3_000_000 }), (baud) => {
        const clock = baud <= 365 ? 6_000_000 : 24_000_000;
        expect(errorOf(cpRate(cpPartOf(0x20, 0), baud), baud)).toBeLessThanOrEqual(
          baud / clock / 2 / (1 - baud / clock / 2),
        );
      }),
    );
  });
});

describe("WCH", () => {
  /** Register 13h and 12h as Linux ch341 sets them. */
  test.each([
    [1200, 0xb201, 1202],
    [9600, 0xb202, 9615],
    [115_200, 0xcc03, 115_385],
    [921_600, 0xf307, 923_077],
    [1_000_000, 0xfa03, 1_000_000],
    [3_000_000, 0xfe03, 3_000_000],
  ])("%i: %i", (baud, registers, made) => {
    const rate = chRate("full", baud);
    expect([((rate.divisor << 8) | rate.prescaler).toString(16), Math.round(rate.baud)]).toEqual([
      registers.toString(16),
      made,
    ]);
  });

  test("any rate: within the error of the divisor; limited chips use the fast bit at the highest step alone", () => {
    fc.assert(
      fc.property(
        fc.constantFrom<ChPrescalers>("full", "limited", "ch343"),
        fc.integer({ min: 300, max: 6_000_000 }),
        (prescalers, baud) => {
          fc.pre(baud <= CH_MAX_BAUD[prescalers]);
          const { prescaler, divisor, baud: made } = chRate(prescalers, baud);
          const fast = (prescaler & 4) !== 0;
          expect(made).toBeCloseTo(48_000_000 / 2 ** (12 - 3 * (prescaler & 3) - (fast ? 1 : 0)) / (256 - divisor), 6);
          if (prescalers !== "full") expect(fast && (prescaler & 3) !== 3).toBe(false);
          expect(256 - divisor).toBeGreaterThanOrEqual(fast && prescalers !== "ch343" ? 9 : 2);
          if (baud <= 500_000) expect(errorOf(made, baud)).toBeLessThan(0.045);
        },
      ),
    );
    for (const baud of STANDARD) expect(errorOf(chRate("full", baud).baud, baud)).toBeLessThan(0.0025);
  });
});

describe("PL2303", () => {
  const type = (rates: PlType["rates"]): PlType => ({ name: "HX", maxBaud: 12_000_000, rates, registers: "hx" });

  test.each([
    ["quarters", 115_200, 115_200, 115_200],
    ["quarters", 250_000, 0x8000_0380, 250_000],
    ["halves", 250_000, 0x8000_0600, 250_000],
    ["direct", 250_000, 250_000, 250_000],
    ["quarters", 12_000_000, 0x8000_0020, 12_000_000],
  ] as const)("%s at %i", (rates, baud, encoded, made) => {
    const rate = plRate(type(rates), baud);
    expect([rate.encoded.toString(16), Math.round(rate.baud)]).toEqual([encoded.toString(16), made]);
  });

  test("any rate: the code says what the rate is, within the error of the mantissa", () => {
    fc.assert(
      fc.property(fc.constantFrom("quarters", "halves"), fc.integer({ min: 300, max: 12_000_000 }), (rates, baud) => {
        const { encoded, baud: made } = plRate(type(rates), baud);
        expect(encoded >= 0x8000_0000 || made === baud).toBe(true);
        fc.pre(encoded >= 0x8000_0000);
        const [mantissa, shift] =
          rates === "halves"
            ? [encoded & 0x7ff, (((encoded >> 13) & 7) << 1) | ((encoded >> 16) & 1)]
            : [encoded & 0x1ff, 2 * ((encoded >> 9) & 7)];
        expect(made).toBeCloseTo(384_000_000 / mantissa / 2 ** shift, 6);
        expect(errorOf(made, baud)).toBeLessThan(baud < 3_000_000 ? 0.006 : 0.02);
      }),
    );
  });

  /** bDeviceClass, bMaxPacketSize0, bcdUSB, bcdDevice, whether the old status is answered. */
  test.each([
    ["01", 2, 8, 0x0110, 0x0202, true],
    ["H", 0, 8, 0x0110, 0x0202, true],
    ["H", 255, 8, 0x0110, 0x0300, true],
    ["HX", 0, 64, 0x0110, 0x0300, true],
    ["HXD", 0, 64, 0x0110, 0x0400, true],
    ["TA", 0, 64, 0x0200, 0x0300, true],
    ["HXN", 0, 64, 0x0200, 0x0300, false],
    ["TB", 0, 64, 0x0200, 0x0500, true],
    ["HXN", 0, 64, 0x0200, 0x0500, false],
    ["HXN", 0, 64, 0x0200, 0x0100, false],
    ["HXN", 0, 64, 0x0200, 0x0705, false],
  ])(
    "type %s: class %i, packet %i, USB %i, device %i",
    async (name, bDeviceClass, bMaxPacketSize0, bcdUSB, bcdDevice, old) => {
      const descriptor = { bDeviceClass, bMaxPacketSize0, bcdUSB, bcdDevice };
      expect((await plTypeOf(descriptor, () => Promise.resolve(old))).name).toBe(name);
    },
  );
});
