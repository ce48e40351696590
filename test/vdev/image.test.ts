import { mkdtempSync, openSync, closeSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FlashDrive } from "../../src/vdev/flash-drive.js";
import { checkImageSize, FileStore, ImageError, MAX_MEMORY_BYTES, MemoryStore } from "../../src/vdev/image.js";
import { ManualClock, pattern, TestBus } from "./bus.js";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-image-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function image(name: string, bytes: number | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, typeof bytes === "number" ? "" : bytes);
  if (typeof bytes === "number") truncateSync(path, bytes);
  return path;
}

describe("an image in a file", () => {
  test("reads, writes, zeroes and synchronizes", () => {
    const path = image("plain", pattern(4096));
    const store = new FileStore(path, { blockBytes: 512 });
    store.write(512, pattern(100, 9));
    store.zero(2048, 1000);
    store.sync();
    const expected = pattern(4096);
    expected.set(pattern(100, 9), 512);
    expected.fill(0, 2048, 3048);
    expect(new Uint8Array(store.read(0, 4096))).toEqual(expected);
    store.close();
    store.close();
    expect(new Uint8Array(readFileSync(path))).toEqual(expected);
    expect(() => store.read(0, 1)).toThrow(/used after it was closed/);
  });

  test("zeroing leaves holes where they are", () => {
    const path = image("holes", 64 << 20);
    const store = new FileStore(path, { blockBytes: 512 });
    store.zero(0, 64 << 20);
    store.close();
    expect(statSync(path).blocks).toBe(0);
  });

  test.each([
    ["missing", undefined, 512, {}, "no such file; make one with `truncate"],
    ["odd", 1000, 512, {}, "1000 bytes is not a multiple of the block size 512 (488 left over)"],
    ["big-blocks", 512, 4096, {}, "512 bytes is not a multiple of the block size 4096"],
    ["empty", 0, 512, {}, "at least one block"],
  ])("%s is refused", (name, bytes, blockBytes, options, message) => {
    const path = bytes === undefined ? join(folder, name) : image(name, bytes);
    expect(() => new FileStore(path, { blockBytes, ...options })).toThrow(ImageError);
    expect(() => new FileStore(path, { blockBytes, ...options })).toThrow(message);
    expect(() => new FileStore(path, { blockBytes, ...options })).toThrow(path);
  });

  test("a directory is refused, also read-only", () => {
    expect(() => new FileStore(folder, { blockBytes: 512 })).toThrow(/it is a directory/);
    expect(() => new FileStore(folder, { blockBytes: 512, readOnly: true })).toThrow(/not a regular file/);
  });

  test.skipIf(process.getuid?.() === 0)(
    "a file that may only be read needs readOnly (root may write it, so not as root)",
    () => {
      const path = join(folder, "only-read");
      closeSync(openSync(path, "w", 0o400));
      expect(() => new FileStore(path, { blockBytes: 512 })).toThrow(/needs readOnly/);
    },
  );

  test("a file that is cut while in use is an ImageError", () => {
    const path = image("cut", 4096);
    const store = new FileStore(path, { blockBytes: 512, readOnly: true });
    truncateSync(path, 1024);
    expect(() => store.read(512, 1024)).toThrow("ends at byte 1024 of 4096");
    store.close();
  });

  test("beyond 2 TiB, sparse, through the drive", async ({ skip }) => {
    const bytes = 3 * 2 ** 40;
    let path = "";
    try {
      path = image("huge", bytes);
    } catch (error) {
      skip(`this file system has no files of 3 TiB: ${String(error)}`);
    }
    const store = new FileStore(path, { blockBytes: 512 });
    const drive = new FlashDrive({ clock: new ManualClock(), units: [{ store, blockBytes: 512 }] });
    const bus = new TestBus(drive).configure();
    const lba = bytes / 512 - 2;
    const cdb = (operationCode: number): number[] => {
      const bytes16 = new Uint8Array(16);
      const view = new DataView(bytes16.buffer);
      view.setUint8(0, operationCode);
      view.setBigUint64(2, BigInt(lba));
      view.setUint32(10, 2);
      return [...bytes16];
    };
    const capacity = bus.read([0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], 32);
    expect(new DataView(capacity.data.slice().buffer).getBigUint64(0)).toBe(BigInt(lba + 1));
    expect(bus.write(cdb(0x8a), pattern(1024, 6)).status).toBe(0);
    expect(bus.read(cdb(0x88), 1024).data).toEqual(pattern(1024, 6));
    await drive.close();
    expect(statSync(path).blocks * 512).toBeLessThan(1 << 20);
  });
});

describe("an image in memory", () => {
  test("reads are views, and its size has a bound", () => {
    const memory = pattern(1024);
    const store = new MemoryStore(memory);
    expect(store.read(512, 512).buffer).toBe(memory.buffer);
    expect(() => new MemoryStore(MAX_MEMORY_BYTES + 1)).toThrow(/use a sparse file/);
  });

  test("sizes that are not whole blocks", () => {
    for (const bytes of [0, -512, 511, 513, Number.NaN, 2 ** 60])
      expect(() => checkImageSize(bytes, 512, "size")).toThrow(ImageError);
    expect(() => checkImageSize(1536, 512, "size")).not.toThrow();
  });
});
