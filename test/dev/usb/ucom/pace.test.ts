/** How long the controller rests while a stream comes: far enough apart to save wake-ups, never so long that reads run out. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { RestTimer } from "../../../../src/dev/usb/rest-timer.js";
import { MAX_BUSY_REST_MS, Pace } from "../../../../src/dev/usb/ucom/pace.js";
import { createSimulatedRumpuser } from "../../../../src/rumpuser/simulated.js";

const READS = 32;
const PACKET_BYTES = 64;
/** Of a packet that is not full. */
const SHORT = 11;

/** A stream of so many packets a millisecond, for a second: how often they were taken, and how many at most together. */
function stream(packetsPerMs: number, pace: Pace): { turns: number; most: number } {
  let nowMs = 0;
  let turns = 0;
  let most = 0;
  let taken = 0;
  while (nowMs < 1000) {
    const there = Math.floor(nowMs * packetsPerMs) - taken;
    if (there === 0) {
      nowMs += 1 / packetsPerMs;
      continue;
    }
    taken += there;
    turns++;
    if (nowMs > 100) most = Math.max(most, there);
    nowMs += Math.max(pace.next(there, there * SHORT, nowMs), 0.1);
  }
  return { turns, most };
}

test("a packet each millisecond: some 60 turns a second, and half of the reads are always left", () => {
  const { turns, most } = stream(1, new Pace(READS, PACKET_BYTES));
  expect(turns).toBeLessThan(80);
  expect(most).toBeLessThanOrEqual(READS / 2);
});

test("whatever the rate, more reads than there are would not be needed", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.3, max: 15, noNaN: true }), (rate) => {
      expect(stream(rate, new Pace(READS, PACKET_BYTES)).most).toBeLessThanOrEqual(READS);
    }),
  );
});

test("packets far apart, one read at a time, full packets, and a limit of a millisecond: no rest", () => {
  const far = new Pace(READS, PACKET_BYTES);
  for (let n = 0; n < 100; n++) expect(far.next(1, SHORT, n * 10)).toBe(0);
  const single = new Pace(1, PACKET_BYTES);
  for (let n = 0; n < 100; n++) expect(single.next(1, SHORT, n)).toBe(0);
  const full = new Pace(READS, PACKET_BYTES);
  for (let n = 0; n < 100; n++) expect(full.next(4, 4 * PACKET_BYTES, n)).toBe(0);
  const quick = new Pace(READS, PACKET_BYTES);
  quick.limit(1);
  for (let n = 0; n < 100; n++) expect(quick.next(1, SHORT, n)).toBe(0);
});

test("answers that wait for the next question are late now and then, and less and less", () => {
  const pace = new Pace(READS, PACKET_BYTES);
  let nowMs = 0;
  let lateMs = 0;
  for (let n = 0; n < 2000; n++) {
    const restMs = pace.next(1, SHORT, nowMs);
    // The answer takes 3 ms, and waits until the rest is over.
    lateMs += Math.max(0, restMs - 3);
    nowMs += Math.max(3, restMs);
  }
  expect(lateMs / 2000).toBeLessThan(0.15);
});

test("after a pause what comes is taken at once", () => {
  const pace = new Pace(READS, PACKET_BYTES);
  let nowMs = 0;
  for (let n = 0; n < 50; n++) nowMs += Math.max(1, pace.next(8, 8 * SHORT, nowMs));
  expect(pace.next(8, 8 * SHORT, nowMs)).toBeGreaterThan(4);
  expect(pace.next(8, 8 * SHORT, nowMs + 100)).toBe(0);
});

interface Turn {
  readonly atMs: number;
  readonly restMs: number;
}

/** The turns of a stream that brings a packet of so many bytes every so many milliseconds. */
function turnsOf(pace: Pace, bytes: number, everyMs: number, fromMs: number, untilMs: number): Turn[] {
  const turns: Turn[] = [];
  let taken = 0;
  for (let atMs = fromMs + everyMs; atMs < untilMs; ) {
    const ended = Math.floor((atMs - fromMs) / everyMs + 1e-6) - taken;
    taken += ended;
    const restMs = pace.next(ended, ended * bytes, atMs);
    turns.push({ atMs, restMs });
    atMs = Math.max(atMs + restMs, fromMs + (taken + 1) * everyMs);
  }
  return turns;
}

const longest = (turns: readonly Turn[]): number => Math.max(...turns.map(({ restMs }) => restMs));

/** At 115,200 baud. */
const BYTE_MS = 10 / 115.2;
const MANY = 64;

function busyPace(packetBytes: number): Pace {
  const pace = new Pace(MANY, packetBytes);
  pace.setRate(BYTE_MS, { count: MANY, bytes: packetBytes });
  return pace;
}

test.each([
  ["short", PACKET_BYTES, 16],
  ["full", SHORT, 0],
])("%s packets of a line that has been busy for a second are taken every 32 ms", (_, packetBytes, atFirstMs) => {
  const turns = turnsOf(busyPace(packetBytes), SHORT, 1, 0, 3000);
  expect(longest(turns.filter(({ atMs }) => atMs < 900))).toBe(atFirstMs);
  const later = turns.filter(({ atMs }) => atMs >= 2000);
  expect(longest(later)).toBe(40);
  expect(later.length).toBeLessThan(40);
});

test("a device that is faster than its rate has no line, and a slower one pauses: nothing is waited for longer", () => {
  expect(longest(turnsOf(busyPace(SHORT), SHORT, 0.5, 0, 3000))).toBe(0);
  expect(longest(turnsOf(busyPace(PACKET_BYTES), SHORT, 2, 0, 3000))).toBe(16);
});

test("a busy line that pauses is looked at as before; a limit holds there too", () => {
  const pace = busyPace(PACKET_BYTES);
  expect(longest(turnsOf(pace, SHORT, 1, 0, 2000))).toBe(40);
  expect(longest(turnsOf(pace, SHORT, 1, 2060, 2960))).toBe(16);
  pace.limit(4);
  expect(longest(turnsOf(pace, SHORT, 1, 3000, 6000))).toBe(4);
});

test("a line that nothing may wait for is not busy, whatever it moves", () => {
  const pace = busyPace(PACKET_BYTES);
  turnsOf(pace, SHORT, 1, 0, 3000);
  expect(pace.isBusy).toBe(true);
  pace.limit(1);
  expect(pace.isBusy).toBe(false);
});

test("a line that sends without a pause is busy, for as long as it sends", () => {
  let isSending = true;
  const pace = new Pace(MANY, PACKET_BYTES, () => isSending);
  pace.setRate(BYTE_MS, { count: MANY, bytes: PACKET_BYTES });
  for (let nowMs = 0; nowMs <= 3000; nowMs += 100) pace.sent(100 / BYTE_MS, nowMs);
  expect(pace.isBusy).toBe(true);
  // What an FTDI chip says when it has nothing to say, every 16 ms.
  expect(longest(turnsOf(pace, 0, 16, 3000, 4000))).toBe(MAX_BUSY_REST_MS);
  isSending = false;
  expect(pace.next(1, 0, 4016)).toBe(0);
  expect(pace.isBusy).toBe(false);
});

test("a rest ends by itself, with the next one, or when it is told", async () => {
  const { clock } = createSimulatedRumpuser({ seed: 1 });
  const held: boolean[] = [];
  const timer = new RestTimer(clock, (on) => held.push(on));
  timer.rest(0);
  expect(held).toEqual([]);
  timer.rest(5);
  await clock.advance(4);
  timer.rest(5);
  await clock.advance(4);
  expect(held).toEqual([true]);
  await clock.advance(1);
  expect(held).toEqual([true, false]);
  timer.rest(5);
  timer.rest(0);
  expect(held).toEqual([true, false, true, false]);
  timer.rest(5);
  timer.cancel();
  await clock.advance(10);
  expect(clock.pendingTimers).toBe(0);
});
