/** Reads that follow one another over USB/IP: what wakes the driver, and what does not. */
import { expect, test } from "vitest";
import { ADDRESS, Bench } from "../../contract/host-controller-bench.js";
import { ECHO } from "../../fakes/echo-model.js";
import { usbipInMemory } from "../../fakes/usbip-rig.js";

const SLOTS = 4;
const SLOT_BYTES = 8;
const STATUS = [1, 0x60];

async function openReads() {
  const rig = await usbipInMemory();
  const bench = new Bench();
  await bench.open(Promise.resolve({ ...rig, dispose: async () => undefined }));
  await bench.bringUp();
  const calls: number[][][] = [];
  const reads = {
    address: ADDRESS,
    endpointAddress: ECHO.SCRIPT_IN,
    type: "interrupt",
    memory: new Uint8Array(SLOTS * SLOT_BYTES),
    slotBytes: SLOT_BYTES,
    repeatBytes: 2,
  } as const;
  const queue = rig.hc.openReads?.(reads, (ends) => calls.push(ends.map(({ data }) => [...data])));
  if (queue === undefined) throw new Error("no queue of reads");
  const { clock, model } = rig;
  /** The device answers so many times with these bytes, so far apart. */
  const answers = async (count: number, bytes: readonly number[], gapMs: number): Promise<void> => {
    for (let n = 0; n < count; n++) {
      model.script(ECHO.SCRIPT_IN, "ok", Uint8Array.from(bytes));
      await clock.advance(gapMs);
    }
  };
  return { queue, calls, model, clock, answers };
}

test("an idle FTDI chip's status is told once, and its reads stay in flight", async () => {
  const { queue, calls, model, clock, answers } = await openReads();
  queue.start(SLOTS, SLOT_BYTES);
  await clock.advance(1);
  await answers(1000, STATUS, 16);
  expect(calls).toEqual([[STATUS]]);
  expect(model.pending.length).toBe(SLOTS - 1);
  await answers(1, [0x11, 0x60], 1);
  expect(calls.slice(1)).toEqual([[[0x11, 0x60]]]);
  await answers(1, STATUS, 1);
  expect(calls.slice(2)).toEqual([[STATUS]]);
});

test("after data the first status is told, whatever it was before", async () => {
  const { queue, calls, clock, answers } = await openReads();
  queue.start(SLOTS, SLOT_BYTES);
  await clock.advance(1);
  await answers(2, STATUS, 16);
  await answers(1, [...STATUS, 0x55], 16);
  await answers(2, STATUS, 16);
  expect(calls).toEqual([[STATUS], [[...STATUS, 0x55]], [STATUS]]);
});

test("answers without a pause are told, so that the driver asks more rarely; so is what ends while it cancels", async () => {
  const { queue, calls, clock, answers } = await openReads();
  queue.start(SLOTS, SLOT_BYTES);
  await clock.advance(1);
  for (let n = 0; n < 3; n++) await answers(1, STATUS, 0.1);
  expect(calls.length).toBe(3);
  queue.cancel();
  await clock.advance(10);
  expect(calls.flat().length).toBe(SLOTS);
});

test("empty answers are told, however often they come", async () => {
  const { queue, calls, clock, answers } = await openReads();
  queue.start(SLOTS, SLOT_BYTES);
  await clock.advance(1);
  await answers(SLOTS, [], 16);
  expect(calls.length).toBe(SLOTS);
});
