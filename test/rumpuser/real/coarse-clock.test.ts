/** Deadlines: late by two ticks at most, never early, and no timer of Node's where nothing is to come. */
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createCoarseClock } from "../../../src/rumpuser/real/coarse-clock.js";

const TICK_MS = 100;
/** Node's timers are late by a millisecond each. */
const MAX_LATE_MS = 2 * TICK_MS + 5;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("a coarse clock", () => {
  test("fires a long timer once, within two ticks of its time", () => {
    const clock = createCoarseClock();
    const fired: number[] = [];
    const beginMs = clock.nowMs();
    clock.startTimer(5000, () => fired.push(clock.nowMs() - beginMs));
    vi.advanceTimersByTime(60_000);
    expect(fired).toHaveLength(1);
    expect(fired[0]).toBeGreaterThanOrEqual(5000);
    expect(fired[0]).toBeLessThanOrEqual(5000 + MAX_LATE_MS);
  });

  test("is exact for short delays", () => {
    const clock = createCoarseClock();
    const fired = vi.fn<() => void>();
    clock.startTimer(60, fired);
    vi.advanceTimersByTime(60);
    expect(fired).toHaveBeenCalledTimes(1);
  });

  test("does not fire what was cancelled, by its owner or by another one that was due with it", () => {
    const clock = createCoarseClock();
    const fired: string[] = [];
    const late = () => fired.push("cancelled");
    clock.startTimer(3000, late).cancel();
    clock.startTimer(3000, () => {
      fired.push("first");
      second.cancel();
    });
    const second = clock.startTimer(3000, late);
    vi.advanceTimersByTime(10_000);
    expect(fired).toEqual(["first"]);
  });

  test("a timer that is started when another fires has its whole delay", () => {
    const clock = createCoarseClock();
    const fired: number[] = [];
    clock.startTimer(2000, () => {
      const beginMs = clock.nowMs();
      clock.startTimer(2000, () => fired.push(clock.nowMs() - beginMs));
    });
    vi.advanceTimersByTime(10_000);
    expect(fired).toHaveLength(1);
    expect(fired[0]).toBeGreaterThanOrEqual(2000);
  });

  test("leaves no timer behind when everything was cancelled", () => {
    const clock = createCoarseClock();
    for (let i = 0; i < 1000; i++) clock.startTimer(30_000, () => {}).cancel();
    vi.advanceTimersByTime(2 * TICK_MS);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("does not tick while it waits for something far away", () => {
    const clock = createCoarseClock();
    clock.startTimer(3_600_000, () => {});
    vi.advanceTimersByTime(2 * TICK_MS);
    const wakeUps = vi.spyOn(performance, "now");
    vi.advanceTimersByTime(3_500_000);
    expect(wakeUps).not.toHaveBeenCalled();
  });

  test("any timers, started and cancelled at any time, fire as they should", () => {
    const plans = fc.array(
      fc.record({
        afterMs: fc.integer({ min: 0, max: 400 }),
        delayMs: fc.integer({ min: 2000, max: 6000 }),
        cancelAfterMs: fc.option(fc.integer({ min: 0, max: 7000 }), { nil: undefined }),
      }),
      { maxLength: 20 },
    );
    fc.assert(
      fc.property(plans, (planned) => {
        const clock = createCoarseClock();
        const outcomes = planned.map(({ afterMs, delayMs, cancelAfterMs }) => {
          vi.advanceTimersByTime(afterMs);
          const outcome = { startMs: clock.nowMs(), delayMs, firedMs: [] as number[], cancelledMs: Infinity };
          const timer = clock.startTimer(delayMs, () => outcome.firedMs.push(clock.nowMs()));
          if (cancelAfterMs !== undefined)
            setTimeout(() => {
              outcome.cancelledMs = clock.nowMs();
              timer.cancel();
            }, cancelAfterMs);
          return outcome;
        });
        vi.advanceTimersByTime(20_000);
        for (const { startMs, delayMs, firedMs, cancelledMs } of outcomes) {
          const [first = Infinity] = firedMs;
          expect(firedMs.length).toBeLessThanOrEqual(1);
          if (firedMs.length === 1) {
            expect(first).toBeGreaterThanOrEqual(startMs + delayMs);
            expect(first).toBeLessThanOrEqual(startMs + delayMs + MAX_LATE_MS);
            expect(first).toBeLessThanOrEqual(cancelledMs);
          } else expect(cancelledMs).toBeLessThanOrEqual(startMs + delayMs + MAX_LATE_MS);
        }
        expect(vi.getTimerCount()).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});
