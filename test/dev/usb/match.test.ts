import { describe, expect, test } from "vitest";
import { DRIVERS } from "../../../src/dev/usb/drivers.js";
import { describeRule } from "../../../src/dev/usb/explore.js";
import { findMatches, type MatchIds, rankMatch } from "../../../src/dev/usb/match.js";
import type { MatchRule } from "../../../src/dev/usb/usbdi.js";

const STICK: MatchIds = {
  vendor: 0x0951,
  product: 0x1666,
  revision: 0x0110,
  deviceClass: 0,
  deviceSubClass: 0,
  deviceProtocol: 0,
  interfaceNumber: 0,
  interfaceClass: 0x08,
  interfaceSubClass: 0x06,
  interfaceProtocol: 0x50,
};

/** From the most general to the most specific: each row must beat the one before it. */
const LADDER: readonly MatchRule[] = [
  { interfaceClass: 0x08 },
  { interfaceClass: 0x08, interfaceSubClass: 0x06 },
  { interfaceClass: 0x08, interfaceSubClass: 0x06, interfaceProtocol: 0x50 },
  { deviceClass: 0, interfaceClass: 0x08 },
  { vendor: 0x0951 },
  { vendor: 0x0951, interfaceClass: 0x08 },
  { vendor: 0x0951, product: 0x1666 },
  { vendor: 0x0951, product: 0x1666, interfaceNumber: 0 },
  { vendor: 0x0951, product: 0x1666, revision: 0x0110 },
];

describe("rankMatch", () => {
  test("the more a rule says, the higher it ranks, from generic to vendor, product and revision", () => {
    const ranks = LADDER.map((rule) => rankMatch(rule, STICK));
    expect(ranks.every((rank) => rank > 0)).toBe(true);
    expect([...ranks].sort((a, b) => a - b)).toEqual(ranks);
    expect(new Set(ranks).size).toBe(ranks.length);
  });

  test("vendor and product beat every class field together", () => {
    const allClasses: MatchRule = {
      deviceClass: 0,
      deviceSubClass: 0,
      deviceProtocol: 0,
      interfaceClass: 8,
      interfaceSubClass: 6,
      interfaceProtocol: 0x50,
    };
    expect(rankMatch({ vendor: 0x0951, product: 0x1666 }, STICK)).toBeGreaterThan(rankMatch(allClasses, STICK));
  });

  test("one field that differs is no match, and so is a rule without fields", () => {
    for (const field of Object.keys(STICK) as (keyof MatchIds)[])
      expect(rankMatch({ ...STICK, [field]: STICK[field] + 1 }, STICK)).toBe(0);
    expect(rankMatch({}, STICK)).toBe(0);
  });
});

test("findMatches orders by rank, whatever the order of the drivers", () => {
  const generic = { name: "generic", match: [{ interfaceClass: 8 }] };
  const special = { name: "special", match: [{ interfaceClass: 3 }, { vendor: 0x0951, product: 0x1666 }] };
  const other = { name: "other", match: [{ interfaceClass: 3 }] };
  for (const drivers of [
    [generic, special, other],
    [other, special, generic],
  ])
    expect(findMatches(drivers, STICK).map((m) => m.driver.name)).toEqual(["special", "generic"]);
});

test("a rule is described by its fields, the weightiest first", () => {
  expect(describeRule({ interfaceClass: 8, vendor: 0x0951 })).toBe("vendor 0951 interfaceClass 08");
});

test("the driver table sends a Bulk-Only stick to umass and leaves a keyboard alone", () => {
  expect(findMatches(DRIVERS, STICK).map((m) => m.driver.name)).toEqual(["umass"]);
  expect(findMatches(DRIVERS, { ...STICK, interfaceClass: 3, interfaceSubClass: 1, interfaceProtocol: 1 })).toEqual([]);
});
