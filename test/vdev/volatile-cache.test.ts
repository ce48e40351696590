import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FlashDrive } from "../../src/vdev/flash-drive.js";
import { MemoryStore } from "../../src/vdev/image.js";
import { VolatileCache } from "../../src/vdev/volatile-cache.js";
import { ManualClock, pattern, TestBus } from "./bus.js";

const SECTOR = 512;

describe("the volatile cache", () => {
  test("is invisible to who reads through it, whatever is written, synchronized or zeroed", () => {
    const bytes = 300 * SECTOR;
    const at = fc.nat(bytes - 1);
    const operation = fc.oneof(
      fc.record({
        kind: fc.constant("write" as const),
        at,
        count: fc.integer({ min: 1, max: 70_000 }),
        seed: fc.nat(),
      }),
      fc.record({ kind: fc.constant("zero" as const), at, count: fc.integer({ min: 1, max: 70_000 }) }),
      fc.record({ kind: fc.constant("sync" as const), at, count: fc.integer({ min: 1, max: 70_000 }) }),
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 20 }), fc.integer({ min: 1, max: 3 }), (operations, pages) => {
        const initial = pattern(bytes);
        const expected = initial.slice();
        const cache = new VolatileCache(new MemoryStore(initial), { capacityBytes: pages * 65536 });
        for (const one of operations) {
          const count = Math.min(one.count, bytes - one.at);
          if (one.kind === "write") {
            const data = pattern(count, one.seed);
            cache.write(one.at, data);
            expected.set(data, one.at);
          } else if (one.kind === "zero") {
            cache.zero(one.at, count);
            expected.fill(0, one.at, one.at + count);
          } else cache.syncRange(one.at, count);
          expect(Buffer.compare(cache.read(one.at, count), expected.subarray(one.at, one.at + count))).toBe(0);
        }
        expect(Buffer.compare(cache.read(0, bytes), expected)).toBe(0);
        cache.sync();
        expect(Buffer.compare(initial, expected)).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test("holds no more dirty data than its capacity: the oldest page is written", () => {
    const memory = new Uint8Array(1 << 20);
    const cache = new VolatileCache(new MemoryStore(memory), { capacityBytes: 2 * 65536 });
    for (let page = 0; page < 8; page++) cache.write(page * 65536, pattern(65536, page + 1));
    expect(cache.dirtySectors).toBe(256);
    expect(memory.subarray(0, 65536)).toEqual(pattern(65536, 1));
    expect(memory.subarray(7 * 65536).every((byte) => byte === 0)).toBe(true);
  });
});

test("closing a drive writes what is cached; only a power cut loses it", async () => {
  const memory = new Uint8Array(16 * SECTOR);
  const units = [{ store: new MemoryStore(memory), blockBytes: 512, writeCache: true }];
  const drive = new FlashDrive({ clock: new ManualClock(), units });
  new TestBus(drive).configure().write([0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], pattern(SECTOR, 5));
  expect(memory[0]).toBe(0);
  await drive.close();
  expect(memory.subarray(0, SECTOR)).toEqual(pattern(SECTOR, 5));
});

describe("a power cut", () => {
  test("each unsynchronized sector is old or new, never anything else; some are lost; the seed decides", () => {
    const run = (seed: number): Uint8Array => {
      const memory = pattern(64 * SECTOR, 1);
      const cache = new VolatileCache(new MemoryStore(memory));
      cache.write(0, pattern(64 * SECTOR, 2));
      cache.powerCut(seed);
      expect(cache.dirtySectors).toBe(0);
      return memory;
    };
    const [before, after] = [pattern(64 * SECTOR, 1), pattern(64 * SECTOR, 2)];
    const memory = run(7);
    let lost = 0;
    for (let at = 0; at < memory.length; at += SECTOR) {
      const sector = memory.subarray(at, at + SECTOR);
      const isOld = Buffer.compare(sector, before.subarray(at, at + SECTOR)) === 0;
      const isNew = Buffer.compare(sector, after.subarray(at, at + SECTOR)) === 0;
      expect(isOld || isNew).toBe(true);
      if (isOld) lost++;
    }
    expect(lost).toBeGreaterThan(8);
    expect(lost).toBeLessThan(56);
    expect(Buffer.compare(run(7), memory)).toBe(0);
    expect(Buffer.compare(run(8), memory)).not.toBe(0);
  });

  /** What makes a write of the drive safe, and what does not. */
  const WRITE = (flags = 0): number[] => [0x2a, flags, 0, 0, 0, 8, 0, 0, 4, 0];
  const SYNCHRONIZE_10 = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  const SYNCHRONIZE_16 = [0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  test.each([
    ["SYNCHRONIZE CACHE (10)", WRITE(), SYNCHRONIZE_10, true],
    ["SYNCHRONIZE CACHE (16)", WRITE(), SYNCHRONIZE_16, true],
    ["FUA (SBC-3 §5.32)", WRITE(0x08), undefined, true],
    ["a FUA read of the same blocks", WRITE(), [0x28, 0x08, 0, 0, 0, 8, 0, 0, 4, 0], true],
    ["START STOP UNIT: stop", WRITE(), [0x1b, 0, 0, 0, 0, 0], true],
    ["nothing", WRITE(), undefined, false],
  ])("%s", (_name, write, then, safe) => {
    const memory = pattern(64 * SECTOR, 1);
    const units = [{ store: new MemoryStore(memory), blockBytes: 512, writeCache: true }];
    const drive = new FlashDrive({ clock: new ManualClock(), units });
    const bus = new TestBus(drive).configure();
    let unplugged = false;
    drive.onUnplug(() => (unplugged = true));
    const data = pattern(4 * SECTOR, 3);
    expect(bus.write(write, data).status).toBe(0);
    if (then !== undefined) expect(bus.read(then, then[0] === 0x28 ? 2048 : 0).status).toBe(0);
    const dirty = drive.scsi.units[0]?.cache?.dirtySectors;
    expect(dirty).toBe(safe ? 0 : 4);
    drive.powerCut(2);
    expect(unplugged).toBe(true);
    expect(Buffer.compare(memory.subarray(8 * SECTOR, 12 * SECTOR), data) === 0).toBe(safe);
  });

  test("with WCE off every write is on the medium when it is answered", () => {
    const memory = new Uint8Array(64 * SECTOR);
    const units = [{ store: new MemoryStore(memory), blockBytes: 512, writeCache: true }];
    const drive = new FlashDrive({ clock: new ManualClock(), units });
    const bus = new TestBus(drive).configure();
    bus.write([0x15, 0x10, 0, 0, 24, 0], Uint8Array.from([0, 0, 0, 0, 0x08, 18, ...new Uint8Array(18)]));
    const data = pattern(4 * SECTOR, 3);
    bus.write(WRITE(), data);
    bus.write([0x41, 0, 0, 0, 0, 20, 0, 0, 1, 0], pattern(SECTOR, 4));
    drive.powerCut(1);
    expect(memory.subarray(8 * SECTOR, 12 * SECTOR)).toEqual(data);
    expect(memory.subarray(20 * SECTOR, 21 * SECTOR)).toEqual(pattern(SECTOR, 4));
  });
});
