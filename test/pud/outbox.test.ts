/** What an open line brings goes with a frame that leaves anyway, unless it is gathered. */
import { expect, test } from "vitest";
import type { OutgoingFrame } from "../../src/pud/channel.js";
import { RateBound } from "../../src/pud/rate-bound.js";
import { TtyOutbox } from "../../src/pud/served-tty-outbox.js";
import { createVirtualClock } from "../../src/rumpuser/simulated.js";

function openOutbox() {
  const clock = createVirtualClock();
  const frames: OutgoingFrame[] = [];
  const outbox = new TtyOutbox({
    clock,
    statuses: new RateBound(clock, 10, 10),
    send: (frame) => frames.push(frame),
    sent: () => undefined,
    aheadBytes: () => 1 << 20,
    closed: () => undefined,
  });
  outbox.begin();
  const payloads = (): number[] => frames.map(({ payload }) => payload?.length ?? 0);
  return { clock, outbox, payloads };
}

test("bytes that would leave in this turn leave with it", async () => {
  const { clock, outbox, payloads } = openOutbox();
  outbox.received(new Uint8Array(3));
  expect(payloads()).toEqual([]);
  outbox.goAlong();
  expect(payloads()).toEqual([3]);
  outbox.goAlong();
  await clock.advance(100);
  expect(payloads()).toEqual([3]);
});

test("bytes of a steady stream go on being gathered", async () => {
  const { clock, outbox, payloads } = openOutbox();
  for (let n = 0; n < 200; n++) {
    outbox.received(new Uint8Array(1));
    await clock.advance(1);
  }
  const before = payloads().length;
  for (let n = 0; n < 100; n++) {
    outbox.received(new Uint8Array(1));
    outbox.goAlong();
    await clock.advance(1);
  }
  expect(payloads().length - before).toBeLessThan(20);
});

test("nothing goes along once the line is closed", async () => {
  const { clock, outbox, payloads } = openOutbox();
  outbox.received(new Uint8Array(3));
  outbox.end();
  outbox.goAlong();
  await clock.advance(10);
  expect(payloads()).toEqual([]);
});
