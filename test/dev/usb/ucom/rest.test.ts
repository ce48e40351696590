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
 * 512 bytes and sends what it has every 16 ms. An FTDI chip that receives nothing says so 62 times a second, and this controller
 * tells that each time, which those of real devices do not (test/contract/host-controller-reads.ts).
 */
const MOST: readonly (readonly [string, Way, number])[] = [
  ["acm", "both", 27],
  ["ft232r", "both", 30],
  ["ft232h", "both", 28],
  ["cp2102n", "both", 27],
  ["pl2303-hx", "both", 28],
  ["ch340", "both", 28],
  ["acm", "in", 26],
  ["ft232r", "in", 25],
  ["ft232h", "in", 28],
  ["cp2102n", "in", 26],
  ["pl2303-hx", "in", 26],
  ["ch340", "in", 26],
  ["acm", "out", 7],
  ["ft232r", "out", 70],
  ["ft232h", "out", 70],
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
