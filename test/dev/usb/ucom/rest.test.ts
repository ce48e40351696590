/** What a line costs that never rests: how often it wakes the driver, at the rate of the line, without a pause in what is sent. */
import { expect, test } from "vitest";
import { RestingController } from "../../../fakes/resting-controller.js";
import { attachSerial, CHIPS, SETTINGS } from "./rig.js";

const BYTES_PER_SECOND = SETTINGS.baud / 10;
/** As the host sends them: so long, two at a time. */
const WRITE_BYTES = 2048;
const WRITES = 2;
const WARM_UP_MS = 3000;
const SECONDS = 5;

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

test.each(MOST)("%s, %s, without a pause: at most %d wake-ups a second", async (name, way, most) => {
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
  const wakeUps = (): number => resting.reduce((sum, one) => sum + one.wakeUps, 0);
  const moved = (): number => (way === "out" ? writtenBytes : collector.bytes);
  const [wakeUpsBefore, bytesBefore] = [wakeUps(), moved()];
  await rig.sim.clock.advance(SECONDS * 1000);
  expect((moved() - bytesBefore) / SECONDS).toBeGreaterThan(0.98 * BYTES_PER_SECOND - WRITE_BYTES / SECONDS);
  expect((wakeUps() - wakeUpsBefore) / SECONDS).toBeLessThanOrEqual(most);
  isOver = true;
  await rig.sim.run(() => port.close());
});
