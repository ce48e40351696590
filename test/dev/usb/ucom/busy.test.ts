/** When a direction of a line counts as busy: what its rate allows, for a second; and longer, the more often it has paused. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { BusyDirection } from "../../../../src/dev/usb/ucom/busy.js";

/** At 115,200 baud. */
const BYTE_MS = 10 / 115.2;
const MAX_PAUSE_MS = 16;

function makeDirection(): BusyDirection {
  const direction = new BusyDirection(250);
  direction.setRate(BYTE_MS, MAX_PAUSE_MS);
  return direction;
}

/** Moves bytes at that share of the rate, every `stepMs`. @returns after how many milliseconds it was busy; undefined: never. */
function busyAfter(direction: BusyDirection, share: number, ms: number, stepMs = 10): number | undefined {
  for (let nowMs = stepMs; nowMs <= ms; nowMs += stepMs) {
    direction.moved((share * stepMs) / BYTE_MS, stepMs);
    if (direction.isBusy) return nowMs;
  }
  return undefined;
}

test.each([
  ["as much as the rate allows", 1, 1000],
  ["a little less", 0.8, 1000],
  ["half of it", 0.5, undefined],
  ["more, so that there is no line", 1.5, undefined],
])("%s", (_, share, expected) => {
  expect(busyAfter(makeDirection(), share, 30_000)).toBe(expected);
});

test("a pause ends it at once, and it takes twice as long the next time; sixteen seconds in a row make up for them", () => {
  const direction = makeDirection();
  const needed: (number | undefined)[] = [];
  for (let n = 0; n < 7; n++) {
    needed.push(busyAfter(direction, 1, 60_000));
    direction.moved(0, 1.5 * MAX_PAUSE_MS);
    expect(direction.isBusy).toBe(false);
  }
  expect(needed.map((ms) => Math.round((ms ?? 0) / 1000))).toEqual([1, 2, 4, 8, 16, 2, 4]);
});

test("what is seen late is no pause: however the looks lie, a line at its rate is busy and stays so", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 1, max: 200, noNaN: true }), { minLength: 60, maxLength: 200 }), (steps) => {
      const direction = makeDirection();
      let [seenMs, elapsedMs] = [0, 0];
      for (const stepMs of steps) {
        elapsedMs += stepMs;
        // Whole reads of 8 ms: the last one is not over.
        const overMs = Math.floor(elapsedMs / 8) * 8;
        direction.moved((overMs - seenMs) / BYTE_MS, stepMs);
        seenMs = overMs;
        if (elapsedMs > 1500) expect(direction.isBusy).toBe(true);
      }
    }),
  );
});

test("what came before the first look counts for nothing", () => {
  const direction = makeDirection();
  direction.moved(1000, Number.POSITIVE_INFINITY);
  expect(busyAfter(direction, 1, 5000)).toBe(1000);
});
