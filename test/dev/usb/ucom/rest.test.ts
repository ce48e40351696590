/** What a line costs that never rests: how often it wakes the driver, at the rate of the line, without a pause in what is sent. */
import { expect, test } from "vitest";
import { RestingController } from "../../../fakes/resting-controller.js";
import type { TtyPort } from "../../../../src/rump/devsw.js";
import { attachSerial, CHIPS, type Collector, type SerialRig, SETTINGS } from "./rig.js";

const BYTES_PER_SECOND = SETTINGS.baud / 10;
/** As the host sends them: so long, two at a time. */
const WRITE_BYTES = 2048;
const WRITES = 2;
const WARM_UP_MS = 3000;
const SECONDS = 5;
const LATENCY_MS = 20;

type Way = "in" | "out" | "both";
const FAR_ENDS = { in: "talker", out: "listener", both: "loopback" } as const;

/**
 * Wake-ups a second at 115,200 baud, of chips with a large transmit buffer, a small one, and hardly one; an FT232H has packets of
 * 512 bytes and sends what it has every 16 ms. An FTDI chip that receives nothing says so 62 times a second, which is waited for while it
 * sends.
 */
const MOST: readonly (readonly [string, Way, number])[] = [
  ["acm", "both", 16],
  ["ft232r", "both", 16],
  ["ft232h", "both", 16],
  ["cp2102n", "both", 16],
  ["pl2303-hx", "both", 16],
  ["ch340", "both", 16],
  ["acm", "in", 9],
  ["ft232r", "in", 9],
  ["ft232h", "in", 9],
  ["cp2102n", "in", 9],
  ["pl2303-hx", "in", 9],
  ["ch340", "in", 9],
  ["acm", "out", 7],
  ["ft232r", "out", 16],
  ["ft232h", "out", 16],
  ["cp2102n", "out", 7],
  ["pl2303-hx", "out", 7],
  ["ch340", "out", 7],
];

/** A line that never rests, open, and how often it has woken the driver up. */
async function neverRests(
  name: string,
  way: Way,
): Promise<{
  readonly rig: SerialRig;
  readonly port: TtyPort;
  readonly collector: Collector;
  readonly wakeUps: () => number;
}> {
  const chip = CHIPS.find((one) => one.name === name);
  if (chip === undefined) throw new Error(`no chip ${name}`);
  const resting: RestingController[] = [];
  const rig = await attachSerial(
    (options) => chip.make({ ...options, paced: true, wiring: FAR_ENDS[way] }),
    undefined,
    undefined,
    (bus, clock) => {
      const one = new RestingController(bus, clock);
      resting.push(one);
      return one.controller;
    },
  );
  const { port, collector } = await rig.openPort();
  return { rig, port, collector, wakeUps: () => resting.reduce((sum, one) => sum + one.wakeUps, 0) };
}

test.each(MOST)("%s, %s, without a pause: at most %d wake-ups a second", async (name, way, most) => {
  const { rig, port, collector, wakeUps } = await neverRests(name, way);
  let isOver = false;
  let writtenBytes = 0;
  const write = async (): Promise<void> => {
    while (!isOver && way !== "in") {
      await port.write(new Uint8Array(WRITE_BYTES).fill(0x55));
      writtenBytes += WRITE_BYTES;
    }
  };
  for (let n = 0; n < WRITES; n++) void write().catch(() => undefined);
  await rig.sim.clock.advance(WARM_UP_MS);
  const moved = (): number => (way === "out" ? writtenBytes : collector.bytes);
  const [wakeUpsBefore, bytesBefore] = [wakeUps(), moved()];
  await rig.sim.clock.advance(SECONDS * 1000);
  expect((moved() - bytesBefore) / SECONDS).toBeGreaterThan(0.98 * BYTES_PER_SECOND - WRITE_BYTES / SECONDS);
  expect((wakeUps() - wakeUpsBefore) / SECONDS).toBeLessThanOrEqual(most);
  isOver = true;
  await rig.sim.run(() => port.close());
});

test.each(["acm", "ft232h"])(
  "%s: a latency that is asked for holds on a busy line, with or without a timer",
  async (name) => {
    const { rig, port, collector, wakeUps } = await neverRests(name, "in");
    expect(await rig.sim.run(() => port.setLatency(LATENCY_MS))).toBe(LATENCY_MS);
    await rig.sim.clock.advance(WARM_UP_MS);
    const [wakeUpsBefore, bytesBefore] = [wakeUps(), collector.bytes];
    let longestMs = 0;
    let sinceMs = 0;
    for (let ms = 0; ms < 1000; ms++) {
      const before = collector.bytes;
      await rig.sim.clock.advance(1);
      sinceMs = collector.bytes > before ? 0 : sinceMs + 1;
      longestMs = Math.max(longestMs, sinceMs);
    }
    // Of the driver's part one half, where the chip has no timer.
    expect(longestMs).toBeLessThanOrEqual(name === "acm" ? LATENCY_MS / 2 : LATENCY_MS);
    expect(collector.bytes - bytesBefore).toBeGreaterThan(0.98 * BYTES_PER_SECOND);
    expect(wakeUps() - wakeUpsBefore).toBeLessThan(2500 / LATENCY_MS);
    await rig.sim.run(() => port.close());
  },
);
