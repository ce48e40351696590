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

/** Wake-ups a second at 115,200 baud both ways, of chips with a large transmit buffer, a small one, and hardly one; an FT232H has packets of 512 bytes and sends what it has every 16 ms. */
const MOST: readonly (readonly [string, number])[] = [
  ["acm", 27],
  ["ft232r", 30],
  ["ft232h", 28],
  ["cp2102n", 27],
  ["pl2303-hx", 28],
  ["ch340", 28],
];

test.each(MOST)("%s: both ways without a pause, at most %d wake-ups a second", async (name, most) => {
  const chip = CHIPS.find((one) => one.name === name);
  if (chip === undefined) throw new Error(`no chip ${name}`);
  const resting: RestingController[] = [];
  const rig = await attachSerial(
    (options) => chip.make({ ...options, paced: true }),
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
  const write = async (): Promise<void> => {
    while (!isOver) await port.write(new Uint8Array(WRITE_BYTES).fill(0x55));
  };
  for (let n = 0; n < WRITES; n++) void write().catch(() => undefined);
  await rig.sim.clock.advance(WARM_UP_MS);
  const wakeUps = (): number => resting.reduce((sum, one) => sum + one.wakeUps, 0);
  const [wakeUpsBefore, bytesBefore] = [wakeUps(), collector.bytes];
  await rig.sim.clock.advance(SECONDS * 1000);
  expect((collector.bytes - bytesBefore) / SECONDS).toBeGreaterThan(0.98 * BYTES_PER_SECOND);
  expect((wakeUps() - wakeUpsBefore) / SECONDS).toBeLessThanOrEqual(most);
  isOver = true;
  await rig.sim.run(() => port.close());
});
