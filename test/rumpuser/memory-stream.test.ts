import { describe, expect, test } from "vitest";
import { createMemoryStreamPair } from "../../src/rumpuser/memory-stream.js";
import { createVirtualClock } from "../../src/rumpuser/simulated.js";
import { byteStreamContract } from "./byte-stream-contract.js";

for (const maxChunkBytes of [1 << 30, 1000])
  describe(`stream in memory, pieces of at most ${maxChunkBytes} bytes`, () => {
    byteStreamContract(async () => {
      const clock = createVirtualClock();
      return {
        ends: createMemoryStreamPair({ clock, maxChunkBytes }),
        until: (promise) => clock.runUntil(promise),
        dispose: async () => undefined,
      };
    });
  });

test("delivery waits for a turn of the clock", async () => {
  const clock = createVirtualClock();
  const [a, b] = createMemoryStreamPair({ clock });
  const sizes: number[] = [];
  b.onData((chunk) => sizes.push(chunk.length));
  a.write([new Uint8Array(3)]);
  expect(sizes).toEqual([]);
  await clock.run();
  expect(sizes).toEqual([3]);
});

test("destroy loses what is buffered", async () => {
  const clock = createVirtualClock();
  const [a, b] = createMemoryStreamPair({ clock });
  let received = 0;
  b.onData((chunk) => {
    received += chunk.length;
  });
  a.write([new Uint8Array(3)]);
  a.destroy();
  await clock.run();
  expect(received).toBe(0);
});
