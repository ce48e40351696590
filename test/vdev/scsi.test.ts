import { describe, expect, test } from "vitest";
import { FlashDrive, type FlashDriveOptions } from "../../src/vdev/flash-drive.js";
import { ImageError, type ImageStore, MemoryStore } from "../../src/vdev/image.js";
import type { UnitOptions } from "../../src/vdev/scsi/unit.js";
import { ManualClock, pattern, TestBus } from "./bus.js";

const BLOCKS = 320;

function rig(unit: Partial<UnitOptions> = {}, options: Partial<FlashDriveOptions> = {}) {
  const image = pattern(BLOCKS * 512);
  const units = [{ store: new MemoryStore(image), blockBytes: 512, ...unit }];
  const drive = new FlashDrive({ clock: new ManualClock(), units, ...options });
  return { drive, image, bus: new TestBus(drive).configure() };
}

/** A medium that says how large it is, and holds nothing. */
function sparse(bytes: number): ImageStore {
  return {
    bytes,
    readOnly: false,
    read: (_at, count) => new Uint8Array(count),
    write: () => undefined,
    zero: () => undefined,
    sync: () => undefined,
    close: () => undefined,
  };
}

const u32 = (value: number): number[] => [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
const u64 = (value: number): number[] => [...u32(Math.floor(value / 2 ** 32)), ...u32(value >>> 0)];
const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];
const inquiry = (page: number | undefined, length = 255): number[] => [
  0x12,
  page === undefined ? 0 : 1,
  page ?? 0,
  0,
  length,
  0,
];
const text = (data: Uint8Array, from: number, to: number): string =>
  Buffer.from(data.subarray(from, to)).toString("latin1");

/** Runs a command and returns its data; the host asks for exactly what it gets. */
function reply(bus: TestBus, cdb: readonly number[], bytes: number, lun = 0): Uint8Array {
  const { status, data, residueBytes } = bus.read(cdb, bytes, lun);
  expect({ status, residueBytes }).toEqual({ status: 0, residueBytes: 0 });
  return data;
}

/** "ok", or the sense data of a command that failed. `out`: bytes to send with it. */
function outcome(bus: TestBus, cdb: readonly number[], out?: Uint8Array, lun = 0): string {
  const { status } = out === undefined ? bus.read(cdb, 0, lun) : bus.write(cdb, out, lun);
  return status === 0 ? "ok" : bus.sense(lun);
}

describe("what the unit says about itself", () => {
  test("standard INQUIRY (SPC-4 §6.6.2)", () => {
    const identity = { vendor: "ACME", product: "Stick", revision: "2.0" };
    const { bus } = rig({ removable: true }, { identity });
    const data = reply(bus, inquiry(undefined, 36), 36);
    expect([...data.subarray(0, 5)]).toEqual([0x00, 0x80, 0x06, 0x02, 31]);
    expect([text(data, 8, 16), text(data, 16, 32), text(data, 32, 36)]).toEqual([
      "ACME    ",
      "Stick           ",
      "2.0 ",
    ]);
  });

  test("vital product data (SPC-4 §7.8, SBC-3 §6.6)", () => {
    const { bus } = rig({}, { identity: { serial: "0123456789AB" } });
    const pages = reply(bus, inquiry(0x00, 10), 10);
    expect([...pages]).toEqual([0, 0, 0, 6, 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    expect(text(reply(bus, inquiry(0x80, 16), 16), 4, 16)).toBe("0123456789AB");
    const identification = reply(bus, inquiry(0x83, 44), 44);
    expect([[...identification.subarray(4, 8)], text(identification, 8, 44)]).toEqual([
      [2, 1, 0, 36],
      "rumpusb Flash Drive     0123456789AB",
    ]);
    const limits = new DataView(reply(bus, inquiry(0xb0, 64), 64).buffer);
    expect([limits.getUint16(2), limits.getUint8(4)]).toEqual([60, 1]);
    expect([limits.getUint32(8), limits.getUint32(20), limits.getBigUint64(36)]).toEqual([65536, 131072, 131072n]);
    expect(new DataView(reply(bus, inquiry(0xb1, 64), 64).buffer).getUint16(4)).toBe(1);
    expect([...reply(bus, inquiry(0xb2, 8), 8)]).toEqual([0, 0xb2, 0, 4, 0, 0xe4, 2, 0]);
    expect(outcome(bus, inquiry(0x86))).toBe("5/24/00");
    expect(outcome(bus, [0x12, 0, 0x80, 0, 36, 0])).toBe("5/24/00");
  });

  test("a LUN that is not there: qualifier 3 for INQUIRY, 25h for the rest (SPC-4 §6.6.2)", () => {
    const { bus } = rig();
    expect(reply(bus, inquiry(undefined, 36), 36, 5)[0]).toBe(0x7f);
    expect(outcome(bus, TEST_UNIT_READY, undefined, 5)).toBe("5/25/00");
    expect(outcome(bus, inquiry(0x80), undefined, 5)).toBe("5/25/00");
  });

  test("REPORT LUNS (SPC-4 §6.33)", () => {
    const unit = { store: sparse(512), blockBytes: 512 };
    const { bus } = rig({}, { units: [unit, unit, unit] });
    expect([...reply(bus, [0xa0, 0, 0, 0, 0, 0, ...u32(32), 0, 0], 32)]).toEqual([
      ...u32(24),
      ...u32(0),
      ...u64(0),
      ...u64(2 ** 48),
      ...u64(2 ** 49),
    ]);
    expect([...reply(bus, [0xa0, 0, 1, 0, 0, 0, ...u32(16), 0, 0], 8)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(outcome(bus, [0xa0, 0, 0, 0, 0, 0, ...u32(8), 0, 0])).toBe("5/24/00");
  });

  const READ_CAPACITY_16 = [0x9e, 0x10, ...u64(0), ...u32(32), 0, 0];
  test.each([
    [512, 64, 63, 63n],
    [4096, 8, 7, 7n],
    [512, 2 ** 32, 0xffffffff, 0xffffffffn],
    [512, 2 ** 33 + 1, 0xffffffff, 2n ** 33n],
  ])("READ CAPACITY of blocks of %i, %i of them", (blockBytes, blocks, last10, last16) => {
    const { bus } = rig({ store: sparse(blockBytes * blocks), blockBytes });
    const short = new DataView(reply(bus, [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8).buffer);
    expect([short.getUint32(0), short.getUint32(4)]).toEqual([last10, blockBytes]);
    const long = new DataView(reply(bus, READ_CAPACITY_16, 32).buffer);
    expect([long.getBigUint64(0), long.getUint32(8), long.getUint16(14)]).toEqual([last16, blockBytes, 0xc000]);
    expect(outcome(bus, [0x9e, 0x12, ...u64(0), ...u32(32), 0, 0])).toBe("5/24/00");
  });
});

describe("mode pages (SPC-4 §7.5, SBC-3 §6.5.5)", () => {
  const sense6 = (page: number): number[] => [0x1a, 0, page, 0, 24, 0];
  test.each([
    ["caching page, with a cache", { writeCache: true }, 0x08, 0x10, 0x04],
    ["all pages, without", {}, 0x3f, 0x10, 0x00],
    ["write protected", { writeProtected: true }, 0x3f, 0x90, 0x00],
    ["changeable values", { writeCache: true }, 0x48, 0x10, 0x04],
    ["changeable values without a cache", {}, 0x48, 0x10, 0x00],
  ])("MODE SENSE: %s", (_name, unit, page, flags, wce) => {
    const { bus } = rig(unit);
    const six = reply(bus, sense6(page), 24);
    expect([...six.subarray(0, 7)]).toEqual([23, 0, flags, 0, 0x08, 18, wce]);
    const ten = reply(bus, [0x5a, 0, page, 0, 0, 0, 0, 0, 28, 0], 28);
    expect([...ten.subarray(0, 11)]).toEqual([0, 26, 0, flags, 0, 0, 0, 0, 0x08, 18, wce]);
  });

  test("pages, subpages and saved values that are not there", () => {
    const { bus } = rig();
    expect(outcome(bus, sense6(0x1c))).toBe("5/24/00");
    expect(outcome(bus, sense6(0xc8))).toBe("5/39/00");
    expect(outcome(bus, [0x1a, 0, 0x08, 1, 24, 0])).toBe("5/24/00");
  });

  const select6 = [0x15, 0x10, 0, 0, 24, 0];
  const list = (wce: number): Uint8Array => Uint8Array.from([0, 0, 0, 0, 0x08, 18, wce, ...new Uint8Array(17)]);
  test("MODE SELECT switches the write cache, and nothing else", () => {
    const { bus, drive } = rig({ writeCache: true });
    const unit = drive.scsi.units[0];
    expect(outcome(bus, select6, list(0))).toBe("ok");
    expect(unit?.writeCacheEnabled).toBe(false);
    expect(
      outcome(
        bus,
        [0x55, 0x10, 0, 0, 0, 0, 0, 0, 28, 0],
        Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, ...list(4).subarray(4)]),
      ),
    ).toBe("ok");
    expect(unit?.writeCacheEnabled).toBe(true);
    expect(outcome(bus, select6, list(5))).toBe("5/26/00");
    expect(outcome(bus, [0x15, 0x10, 0, 0, 8, 0], list(0).subarray(0, 8))).toBe("5/1a/00");
    expect(outcome(bus, [0x15, 0x11, 0, 0, 24, 0], list(0))).toBe("5/24/00");
    expect(outcome(rig().bus, select6, list(4))).toBe("5/26/00");
  });
});

describe("reading and writing (SBC-3 §5)", () => {
  const at = (operationCode: number, lba: number, count: number, flags = 0): number[] => {
    if (operationCode < 0x20) return [operationCode, lba >> 16, (lba >> 8) & 0xff, lba & 0xff, count, 0];
    if (operationCode < 0x60) return [operationCode, flags, ...u32(lba), 0, count >> 8, count & 0xff, 0];
    if (operationCode >= 0xa0) return [operationCode, flags, ...u32(lba), ...u32(count), 0, 0];
    return [operationCode, flags, ...u64(lba), ...u32(count), 0, 0];
  };

  test.each([
    ["6", 0x08, 0x0a],
    ["10", 0x28, 0x2a],
    ["12", 0xa8, 0xaa],
    ["16", 0x88, 0x8a],
  ])("READ and WRITE (%s)", (_name, read, write) => {
    const { bus, image } = rig();
    const data = pattern(3 * 512, 5);
    expect(bus.write(at(write, 100, 3), data)).toMatchObject({ status: 0, residueBytes: 0 });
    expect(image.slice(100 * 512, 103 * 512)).toEqual(data);
    expect(reply(bus, at(read, 99, 4), 2048)).toEqual(image.slice(99 * 512, 103 * 512));
    expect(outcome(bus, at(read, BLOCKS, 1))).toBe("5/21/00");
    expect(outcome(bus, at(write, BLOCKS - 1, 2))).toBe("5/21/00");
  });

  test("READ (6) of 0 blocks reads 256; the others read none (SBC-3 §5.9)", () => {
    const { bus } = rig();
    expect(reply(bus, at(0x08, 0, 0), 256 * 512).length).toBe(256 * 512);
    expect(outcome(bus, at(0x28, 0, 0))).toBe("ok");
    expect(outcome(bus, at(0x28, BLOCKS, 0))).toBe("ok");
    expect(outcome(bus, at(0x28, BLOCKS + 1, 0))).toBe("5/21/00");
  });

  test("blocks of 4096 bytes beyond 2 TiB", () => {
    const { bus } = rig({ store: sparse(2 ** 43), blockBytes: 4096 });
    expect(reply(bus, at(0x88, 2 ** 31 - 1, 1), 4096).length).toBe(4096);
    expect(outcome(bus, at(0x88, 2 ** 31, 1))).toBe("5/21/00");
    expect(outcome(bus, at(0x88, 2 ** 60, 1))).toBe("5/21/00");
  });

  test("more than the maximum transfer length, and protection information, are refused", () => {
    const { bus } = rig({ store: sparse(2 ** 43) });
    expect(outcome(bus, at(0x88, 0, 65537))).toBe("5/24/00");
    expect(outcome(bus, at(0x88, 0, 0xffffffff))).toBe("5/24/00");
    expect(outcome(bus, at(0x28, 0, 1, 0x20))).toBe("5/24/00");
  });

  test("write protection (27h) for every command that writes", () => {
    const { bus, image } = rig({ writeProtected: true });
    const before = image.slice();
    const block = new Uint8Array(512);
    for (const code of [0x0a, 0x2a, 0xaa, 0x8a, 0x41, 0x93])
      expect(outcome(bus, at(code, 0, 1), block)).toBe("7/27/00");
    expect(outcome(bus, [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], new Uint8Array(24))).toBe("7/27/00");
    expect(image).toEqual(before);
  });

  test("a read-only store is write protected whatever the option says", () => {
    const { bus } = rig({ store: new MemoryStore(512, { readOnly: true }) });
    expect(outcome(bus, at(0x2a, 0, 1), new Uint8Array(512))).toBe("7/27/00");
  });

  test("VERIFY: the blocks exist, or are compared (SBC-3 §5.28)", () => {
    const { bus, image } = rig();
    for (const code of [0x2f, 0xaf, 0x8f]) {
      expect(outcome(bus, at(code, 0, BLOCKS))).toBe("ok");
      expect(outcome(bus, at(code, 0, BLOCKS + 1))).toBe("5/21/00");
      expect(outcome(bus, at(code, 4, 1, 0x02), image.slice(2048, 2560))).toBe("ok");
      expect(outcome(bus, at(code, 4, 1, 0x02), new Uint8Array(512))).toBe("e/1d/00");
      expect(outcome(bus, at(code, 0, 1, 0x04))).toBe("5/24/00");
    }
  });

  test("an I/O error of the host is a medium error (SPC-4 key 3h)", () => {
    const { bus } = rig({ store: { ...sparse(2 ** 20), ...failing } });
    expect(bus.read(at(0x28, 0, 2), 1024)).toMatchObject({ status: 1, stalled: true, residueBytes: 1024 });
    expect(bus.sense()).toBe("3/11/00");
    expect(outcome(bus, [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0])).toBe("3/0c/00");
    expect(outcome(bus, at(0x2a, 0, 1), new Uint8Array(512))).toBe("3/0c/00");
  });

  test("UNMAP (SBC-3 §5.27): all ranges are checked before any is cleared", () => {
    const { bus, image } = rig();
    const range = (lba: number, count: number): number[] => [...u64(lba), ...u32(count), 0, 0, 0, 0];
    const unmap = (...ranges: number[][]): string => {
      const body = ranges.flat();
      const list = Uint8Array.from([0, body.length + 6, 0, body.length, 0, 0, 0, 0, ...body]);
      return outcome(bus, [0x42, 0, 0, 0, 0, 0, 0, 0, list.length, 0], list);
    };
    expect(unmap(range(0, 1), range(BLOCKS, 1))).toBe("5/21/00");
    expect(image[0]).not.toBe(0);
    expect(unmap(range(1, 2), range(10, 1))).toBe("ok");
    expect(image.subarray(512, 1536).every((byte) => byte === 0)).toBe(true);
    expect(image.subarray(5120, 5632).every((byte) => byte === 0)).toBe(true);
    expect(image[512 * 11]).not.toBe(0);
    expect(outcome(bus, [0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0], Uint8Array.of(0, 22, 0, 16, 0, 0, 0, 0))).toBe("5/1a/00");
    expect(outcome(bus, [0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0], new Uint8Array(24))).toBe("5/24/00");
    const thick = rig({ thinProvisioning: false }).bus;
    expect(outcome(thick, [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], new Uint8Array(24))).toBe("5/20/00");
  });

  test("UNMAP and WRITE SAME of more than the block limits are refused", () => {
    const { bus } = rig({ store: sparse(2 ** 43) });
    const list = Uint8Array.from([0, 22, 0, 16, 0, 0, 0, 0, ...u64(0), ...u32(131073), 0, 0, 0, 0]);
    expect(outcome(bus, [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], list)).toBe("5/26/00");
    expect(outcome(bus, at(0x93, 0, 131073), new Uint8Array(512))).toBe("5/24/00");
  });

  test("WRITE SAME: a pattern, zeroes, UNMAP, no data (SBC-3 §5.45)", () => {
    const { bus, image } = rig();
    const zeroes = (from: number, to: number): boolean =>
      image.subarray(from * 512, to * 512).every((byte) => byte === 0);
    const block = pattern(512, 3);
    expect(outcome(bus, at(0x41, 10, 3), block)).toBe("ok");
    for (const lba of [10, 11, 12]) expect(image.subarray(lba * 512, (lba + 1) * 512)).toEqual(block);
    expect(outcome(bus, at(0x93, 20, 2, 0x08), new Uint8Array(512))).toBe("ok");
    expect([zeroes(20, 22), zeroes(22, 23)]).toEqual([true, false]);
    expect(outcome(bus, at(0x93, 30, 2, 0x09))).toBe("ok");
    expect(zeroes(30, 32)).toBe(true);
    expect(outcome(bus, at(0x93, 0, 0), new Uint8Array(512))).toBe("5/24/00");
    expect(outcome(bus, at(0x93, 0, 1, 0x10), new Uint8Array(512))).toBe("5/24/00");
  });

  test("unknown operation codes and commands that are cut", () => {
    const { bus } = rig();
    for (const code of [0x01, 0x04, 0x5e, 0x7f, 0xff]) expect(outcome(bus, [code, 0, 0, 0, 0, 0])).toBe("5/20/00");
    expect(outcome(bus, [0x28, 0, 0, 0, 0, 0])).toBe("5/24/00");
    expect(outcome(bus, [0x03, 1, 0, 0, 18, 0])).toBe("5/24/00");
  });
});

const failing = {
  read: (): never => {
    throw new ImageError("read failed", { access: "read" });
  },
  write: (): never => {
    throw new ImageError("write failed", { access: "write" });
  },
  sync: (): never => {
    throw new ImageError("sync failed", { access: "write" });
  },
};

describe("media, attention and readiness", () => {
  test("insert and eject: 3Ah without a medium, 28h after an insert", () => {
    const { bus, drive } = rig({ removable: true, store: undefined });
    expect(outcome(bus, TEST_UNIT_READY)).toBe("2/3a/00");
    expect(outcome(bus, [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0])).toBe("2/3a/00");
    drive.insert(0, new MemoryStore(pattern(1024, 2)));
    expect(outcome(bus, TEST_UNIT_READY)).toBe("6/28/00");
    expect(outcome(bus, TEST_UNIT_READY)).toBe("ok");
    expect(() => drive.insert(0, new MemoryStore(512))).toThrow(/inserted already/);
    expect([drive.eject(0), drive.eject(0)]).toEqual([true, false]);
    expect(outcome(bus, [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0])).toBe("2/3a/00");
    drive.load(0);
    expect([outcome(bus, TEST_UNIT_READY), outcome(bus, TEST_UNIT_READY)]).toEqual(["6/28/00", "ok"]);
    expect(() => drive.insert(1, new MemoryStore(512))).toThrow(/no LUN 1/);
    expect(() => rig().drive.insert(0, new MemoryStore(512))).toThrow(/not removable/);
    expect(() => rig({ store: undefined })).toThrow(/only a removable unit/);
  });

  test("START STOP UNIT and PREVENT ALLOW (SBC-3 §5.20, SPC-4 §6.17)", () => {
    const { bus, drive } = rig({ removable: true });
    const startStop = (flags: number): number[] => [0x1b, 0, 0, 0, flags, 0];
    const prevent = (flag: number): number[] => [0x1e, 0, 0, 0, flag, 0];
    expect(outcome(bus, startStop(0))).toBe("ok");
    expect(outcome(bus, TEST_UNIT_READY)).toBe("2/04/02");
    expect(outcome(bus, startStop(1))).toBe("ok");
    expect(outcome(bus, prevent(1))).toBe("ok");
    expect([drive.eject(0), outcome(bus, startStop(2))]).toEqual([false, "5/53/02"]);
    expect(outcome(bus, prevent(0))).toBe("ok");
    expect(outcome(bus, startStop(2))).toBe("ok");
    expect(outcome(bus, TEST_UNIT_READY)).toBe("2/3a/00");
    expect(outcome(bus, startStop(3))).toBe("ok");
    expect(outcome(bus, TEST_UNIT_READY)).toBe("6/28/00");
    expect(outcome(bus, TEST_UNIT_READY)).toBe("ok");
    expect(outcome(bus, startStop(0x11))).toBe("5/24/00");
    expect(outcome(rig().bus, startStop(2))).toBe("5/24/00");
    expect(outcome(rig().bus, prevent(1))).toBe("5/24/00");
  });

  test("a locked medium comes out by force, and a bus reset releases the lock", () => {
    const { bus, drive } = rig({ removable: true });
    bus.read([0x1e, 0, 0, 0, 1, 0], 0);
    expect([drive.eject(0), drive.eject(0, { force: true })]).toEqual([false, true]);
    const other = rig({ removable: true });
    other.bus.read([0x1e, 0, 0, 0, 1, 0], 0);
    other.drive.reset();
    expect(other.drive.eject(0)).toBe(true);
  });

  test("becoming ready takes as many commands as it was told", () => {
    const { bus } = rig({ startupCommands: 2 });
    const states = [0, 1, 2].map(() => outcome(bus, TEST_UNIT_READY));
    expect(states).toEqual(["2/04/01", "2/04/01", "ok"]);
  });

  test("a power-on attention waits for the first command that reports one (SPC-4 §5.9)", () => {
    const { bus, drive } = rig({ powerOnAttention: true });
    expect(reply(bus, inquiry(undefined, 36), 36)[0]).toBe(0);
    expect(outcome(bus, TEST_UNIT_READY)).toBe("6/29/01");
    expect(outcome(bus, TEST_UNIT_READY)).toBe("ok");
    drive.setWriteProtected(0, true);
    expect(outcome(bus, TEST_UNIT_READY)).toBe("6/2a/01");
    drive.setWriteProtected(0, false);
    expect([bus.sense(), outcome(bus, TEST_UNIT_READY)]).toEqual(["6/2a/01", "ok"]);
  });

  test("sense data belongs to its unit and is given once", () => {
    const unit = { store: sparse(512), blockBytes: 512 };
    const { bus } = rig({}, { units: [unit, unit] });
    expect(bus.read([0xff, 0, 0, 0, 0, 0], 0, 1).status).toBe(1);
    expect([bus.sense(0), bus.sense(1), bus.sense(1)]).toEqual(["0/00/00", "5/20/00", "0/00/00"]);
  });

  test("commands are counted by operation code", () => {
    const { bus, drive } = rig();
    bus.read(TEST_UNIT_READY, 0);
    bus.read(TEST_UNIT_READY, 0);
    expect([drive.counters.commands(0x00), drive.counters.commands(0x28)]).toEqual([2, 0]);
  });
});
