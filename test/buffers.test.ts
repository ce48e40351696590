import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BufferPool } from "../src/buffers.js";

const KIB = 1024;

describe("buffer pool", () => {
  test("gives the memory that came back last, at the length that is asked for", () => {
    const pool = new BufferPool(1 << 20);
    const first = pool.take(100 * KIB);
    const second = pool.take(128 * KIB);
    pool.give(first);
    pool.give(second);
    const again = pool.take(65 * KIB);
    expect(again.buffer).toBe(second.buffer);
    expect(again.length).toBe(65 * KIB);
    expect(pool.take(128 * KIB).buffer).toBe(first.buffer);
  });

  test("keeps no more than it may", () => {
    const pool = new BufferPool(128 * KIB);
    const buffers = [pool.take(64 * KIB), pool.take(64 * KIB), pool.take(64 * KIB)];
    for (const buffer of buffers) pool.give(buffer);
    expect(pool.idleBytes).toBe(128 * KIB);
    const again = [pool.take(64 * KIB), pool.take(64 * KIB), pool.take(64 * KIB)].map(({ buffer }) => buffer);
    expect(again.map((buffer) => buffers.findIndex((one) => one.buffer === buffer))).toEqual([1, 0, -1]);
  });

  test.each([
    ["small memory", () => new Uint8Array(2 * KIB)],
    ["memory of another size", () => new Uint8Array(100 * KIB)],
    ["shared memory", () => new Uint8Array(new SharedArrayBuffer(64 * KIB))],
  ])("does not keep %s", (_, make) => {
    const pool = new BufferPool(1 << 20);
    pool.give(make());
    expect(pool.idleBytes).toBe(0);
  });

  test("never gives the same memory to two who have it", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.integer({ min: 1, max: 300 * KIB }), fc.constant("give"))), (steps) => {
        const pool = new BufferPool(512 * KIB);
        const taken: Uint8Array[] = [];
        for (const step of steps) {
          if (step === "give") {
            const memory = taken.shift();
            if (memory !== undefined) pool.give(memory);
          } else {
            const memory = pool.take(step as number);
            expect(memory.length).toBe(step);
            expect(taken.some(({ buffer }) => buffer === memory.buffer)).toBe(false);
            taken.push(memory);
          }
          expect(pool.idleBytes).toBeLessThanOrEqual(512 * KIB);
        }
      }),
    );
  });
});
