/** A device is unplugged and comes back: the same medium goes on with nothing lost, another one never sees a request. */
import { describe, expect, test } from "vitest";
import type { PudLimits } from "../../src/pud/host.js";
import { DEPARTURE_MS } from "../../src/pud/host-node.js";
import { DeviceError, type Disk } from "../../src/rump/devsw.js";
import { MemoryDisk, type MemoryDiskOptions } from "../fakes/memory-disk.js";
import { connectRump, type HostRig, hostRig, type RumpRig, turn, until } from "../fakes/pud-pair.js";

const STICK = {
  driver: "umass0",
  vendor: 0x0951,
  product: 0x1666,
  revision: 0x0100,
  interfaceNumber: 0,
  manufacturer: "",
  productName: "",
  serial: "A1",
};

const filled = (byte: number, blocks = 1): Uint8Array => new Uint8Array(512 * blocks).fill(byte);

function outcome(result: Promise<unknown>): Promise<string> {
  return result.then(
    () => "ok",
    (error: unknown) => (error instanceof DeviceError ? error.code : String(error)),
  );
}

function plug(rig: HostRig, medium: MemoryDisk, stick: Partial<typeof STICK> = {}): RumpRig {
  const rump = connectRump(rig, { deviceKept: false });
  rump.server.announceDevice({ ...STICK, ...stick });
  rump.server.publish("sd", medium);
  rump.server.ready();
  return rump;
}

interface Rig {
  readonly rig: HostRig;
  readonly rump: RumpRig;
  readonly medium: MemoryDisk;
  readonly disk: Disk;
}

async function plugged(
  options: { journalBytes?: number; limits?: Partial<PudLimits>; disk?: MemoryDiskOptions } = {},
): Promise<Rig> {
  const rig = hostRig("hold", options.limits ?? {}, { journalBytes: options.journalBytes ?? 1 << 20 });
  const medium = new MemoryDisk(options.disk).fillPattern();
  const rump = plug(rig, medium);
  await until("READY", () => rig.readyCount === 1 && medium.calls.length === 2); // both edges are read
  return { rig, rump, medium, disk: rig.node().device };
}

/** As a rump process whose device has gone: the nodes go, then the channel ends. */
async function unplug({ rig, rump, medium }: Rig): Promise<void> {
  const losses = rig.lost.length;
  rump.server.close();
  medium.powerCut();
  await until("the loss", () => rig.lost.length > losses);
}

async function back(rig: HostRig, count = 1): Promise<void> {
  await until("the node", () => rig.back.length >= count);
}

describe("the same medium", () => {
  test("what was answered and not flushed is written again, before what waited", async () => {
    const all = await plugged();
    const { rig, medium, disk } = all;
    await disk.write(1, filled(1));
    await disk.flush();
    await disk.write(2, filled(2, 2));
    await disk.write(3, filled(3));
    await disk.writeZeroes(4, 1);
    await unplug(all);
    expect(medium.blocks(2, 1)).not.toEqual(filled(2)); // lost with the power
    const waiting = [disk.read(2, 3), disk.write(3, filled(4)), disk.flush()];
    medium.calls.length = 0;
    plug(rig, medium);
    await back(rig);
    const [data] = await Promise.all(waiting);
    expect(data).toEqual(Uint8Array.from([...filled(2), ...filled(3), ...filled(0)]));
    expect(medium.calls.map(({ operation, firstBlock }) => `${operation} ${firstBlock}`)).toEqual([
      "read 0",
      "read 2040",
      "write 2",
      "write 3",
      "writeZeroes 4",
      "flush 0",
      "read 2",
      "write 3",
      "flush 0",
    ]);
    medium.powerCut();
    expect(medium.blocks(1, 3)).toEqual(Uint8Array.from([...filled(1), ...filled(2), ...filled(4)]));
    expect(rig.gone).toEqual([]);
  });

  test("what was flushed or written with FUA is not written again, nor what is older than that", async () => {
    const all = await plugged();
    const { rig, medium, disk } = all;
    await disk.write(9, filled(1));
    await disk.flush();
    await disk.write(10, filled(2));
    await disk.write(10, filled(3), { forceUnitAccess: true });
    await unplug(all);
    medium.calls.length = 0;
    plug(rig, medium);
    await back(rig);
    expect(medium.calls.filter(({ operation }) => operation === "write")).toEqual([]);
    expect(medium.blocks(10, 1)).toEqual(filled(3));
  });

  test("it loses its power again while it is written again: from the beginning", async () => {
    const all = await plugged();
    const { rig, medium, disk } = all;
    for (let block = 20; block < 24; block++) await disk.write(block, filled(block));
    await unplug(all);
    medium.hold("write");
    const rump = plug(rig, medium);
    await until("the writes", () => medium.inProgress === 4);
    await unplug({ ...all, rump });
    const whole = new MemoryDisk().fillPattern();
    plug(rig, whole);
    await back(rig);
    for (let block = 20; block < 24; block++) expect(whole.blocks(block, 1)).toEqual(filled(block));
  });

  test("requests that end in ENODEV as it goes are held, not failed; cancelled ones end", async () => {
    const all = await plugged();
    const { rig, rump, medium, disk } = all;
    medium.fail({ operation: "write", error: "ENODEV" }).fail({ operation: "read", error: "ENODEV" });
    const controller = new AbortController();
    const held = outcome(disk.write(5, filled(5)));
    const cancelled = outcome(disk.read(5, 1, { signal: controller.signal }));
    await until("both answers", () => medium.inProgress === 0 && medium.calls.length === 4);
    controller.abort();
    rump.server.close();
    await until("the loss", () => rig.lost.length === 1);
    expect(await cancelled).toBe("ECANCELED");
    plug(rig, medium);
    expect(await held).toBe("ok");
  });

  test("blocks at the edges that were being written may hold anything", async () => {
    const all = await plugged();
    const { rig, medium, disk } = all;
    await disk.write(0, filled(1)); // in the journal
    medium.hold("write");
    const torn = disk.write(1, filled(2)); // not answered
    await until("it", () => medium.inProgress === 1);
    await unplug(all);
    const whole = new MemoryDisk().fillPattern();
    whole.contents.set(filled(0xee, 2));
    plug(rig, whole);
    await torn;
    expect(whole.blocks(0, 2)).toEqual(Uint8Array.from([...filled(1), ...filled(2)]));
  });
});

describe("what was read or written last is looked at, as far as it is known", () => {
  async function comesBack(change: (all: Rig) => Promise<void>): Promise<void> {
    const all = await plugged({ disk: { volatileCache: false } });
    await change(all);
    await unplug(all);
    plug(all.rig, all.medium);
    await back(all.rig);
    expect(all.rig.gone).toEqual([]);
  }

  test("the last value counts, trimmed blocks may hold anything", async () =>
    await comesBack(async ({ disk, medium }) => {
      await disk.write(300, filled(1));
      await disk.write(298, filled(2, 8));
      await disk.write(400, filled(3));
      await disk.trim(396, 8);
      medium.contents.fill(0x77, 400 * 512, 401 * 512);
      medium.durable.set(medium.contents);
    }));

  test("a write that failed may have been done or not", async () =>
    await comesBack(async ({ disk, medium }) => {
      await disk.write(300, filled(1));
      medium.fail({ operation: "write", error: "EIO" });
      expect(await outcome(disk.write(300, filled(2)))).toBe("EIO");
      medium.contents.fill(2, 300 * 512, 301 * 512);
      medium.durable.set(medium.contents);
    }));

  test("a read that was under way when a write was answered shows nothing", async () =>
    await comesBack(async ({ disk, medium }) => {
      const release = medium.hold("read");
      const read = disk.read(300, 1);
      await until("it", () => medium.inProgress === 1);
      for (let at = 0; at < 20; at++) await disk.write(300 + 20 * at, filled(at + 1));
      medium.contents.fill(0xee, 300 * 512, 301 * 512); // what a driver that reads early would have seen
      release();
      expect(await read).toEqual(filled(0xee));
      medium.contents.fill(1, 300 * 512, 301 * 512);
    }));

  test("no more than sixteen blocks are read", async () => {
    const all = await plugged({ disk: { volatileCache: false } });
    for (let block = 100; block < 200; block++) await all.disk.write(block, filled(block));
    await unplug(all);
    all.medium.calls.length = 0;
    plug(all.rig, all.medium);
    await back(all.rig);
    expect(all.medium.calls.map(({ firstBlock }) => firstBlock).slice(2)).toEqual(
      Array.from({ length: 16 }, (_, at) => 184 + at),
    );
  });
});

describe("another medium: what waits is EIO, the node goes, and a new one comes", () => {
  test.each([
    ["another serial number", {}, { serial: "B2" }, undefined],
    ["another product", {}, { product: 0x1667 }, undefined],
    ["another size", { blockCount: 1024 }, {}, undefined],
    ["other first blocks", {}, {}, 3 * 512],
    ["other last blocks", {}, {}, 2047 * 512 + 511],
  ] as const)("%s", async (_name, disk, stick, changeAt) => {
    const all = await plugged();
    await unplug(all);
    const waiting = [outcome(all.disk.write(100, filled(1))), outcome(all.disk.flush())];
    const other = new MemoryDisk(disk).fillPattern();
    if (changeAt !== undefined) other.contents[changeAt] = (other.contents[changeAt] ?? 0) ^ 1;
    plug(all.rig, other, stick);
    expect(await Promise.all(waiting)).toEqual(["EIO", "EIO"]);
    await until("the new node", () => all.rig.nodes.length === 2);
    expect(all.rig.gone.map(({ node }) => node)).toEqual([all.rig.nodes[0]]);
    expect(all.rig.back).toEqual([]);
    expect(await outcome(all.disk.read(0, 1))).toBe("EIO");
    await all.rig.nodes[1]?.device.write(1, filled(7));
    expect(other.blocks(1, 1)).toEqual(filled(7));
    expect(other.calls.filter(({ operation }) => operation === "write")).toHaveLength(1);
  });

  test.each([
    ["written and flushed", async (disk: Disk) => await disk.write(300, filled(9, 4)).then(() => disk.flush())],
    ["zeroed and flushed", async (disk: Disk) => await disk.writeZeroes(300, 4).then(() => disk.flush())],
    ["written with FUA", async (disk: Disk) => await disk.write(300, filled(9), { forceUnitAccess: true })],
    ["read", async (disk: Disk) => await disk.read(300, 4)],
  ] as const)("equal edges, other contents where it was %s", async (_name, before) => {
    const all = await plugged();
    await before(all.disk);
    await unplug(all);
    const waiting = outcome(all.disk.flush());
    const copy = new MemoryDisk().fillPattern();
    copy.contents[300 * 512 + 5] = 0x11;
    plug(all.rig, copy);
    expect(await waiting).toBe("EIO");
    expect(all.rig.back).toEqual([]);
    expect(copy.calls.filter(({ operation }) => operation !== "read")).toEqual([]);
  });

  test("a medium that cannot be read is not taken back", async () => {
    const all = await plugged();
    await unplug(all);
    const waiting = outcome(all.disk.flush());
    plug(all.rig, all.medium.fail({ operation: "read", error: "EIO" }));
    expect(await waiting).toBe("EIO");
    await until("the new node", () => all.rig.nodes.length === 2);
  });
});

describe("bounds", () => {
  test("a journal that is full forces a flush, and the write goes on", async () => {
    const { medium, disk } = await plugged({ journalBytes: 8192 });
    for (let block = 100; block < 200; block++) await disk.write(block, filled(block));
    const flushes = medium.calls.filter(({ operation }) => operation === "flush").length;
    expect(flushes).toBeGreaterThan(5);
    expect(flushes).toBeLessThan(20);
  });

  test("also when all writes are there at once", async () => {
    const { disk } = await plugged({ journalBytes: 8192 });
    const writes = Array.from({ length: 100 }, (_, at) => outcome(disk.write(100 + at, filled(at))));
    expect(new Set(await Promise.all(writes))).toEqual(new Set(["ok"]));
  });

  test("a forced flush that fails fails the write that needed it, and no other", async () => {
    const { medium, disk } = await plugged({ journalBytes: 2048 });
    medium.fail({ operation: "flush", error: "EIO" });
    const results: string[] = [];
    for (let block = 100; block < 106; block++) results.push(await outcome(disk.write(block, filled(block))));
    expect(results.filter((result) => result === "EIO")).toHaveLength(1);
  });

  test("a disk without a volatile cache is not journalled", async () => {
    const all = await plugged({ journalBytes: 1024, disk: { volatileCache: false } });
    for (let block = 100; block < 150; block++) await all.disk.write(block, filled(block));
    expect(all.medium.calls.filter(({ operation }) => operation === "flush")).toHaveLength(0);
    await unplug(all);
    all.medium.calls.length = 0;
    plug(all.rig, all.medium);
    await back(all.rig);
    expect(new Set(all.medium.calls.map(({ operation }) => operation))).toEqual(new Set(["read"]));
  });

  test("a driver that says ENODEV and stays is believed after a while", async () => {
    const { rig, medium, disk } = await plugged();
    medium.fail({ operation: "write", error: "ENODEV" });
    const write = outcome(disk.write(5, filled(5)));
    await until("the answer", () => medium.calls.length === 3);
    for (let turns = 0; turns < 5; turns++) await turn();
    rig.clock.advance(DEPARTURE_MS);
    expect(await write).toBe("ENODEV");
    expect(await outcome(disk.write(5, filled(5)))).toBe("ok");
  });

  test("a node that goes while its process stays has gone: the medium was taken out", async () => {
    const rig = hostRig("hold", {}, { journalBytes: 1 << 20 });
    const rump = connectRump(rig);
    rump.server.announceDevice(STICK);
    const node = rump.server.publish("sd", new MemoryDisk());
    rump.server.ready();
    await until("READY", () => rig.readyCount === 1);
    node.remove("no medium");
    const read = outcome(rig.node().device.read(0, 1));
    for (let turns = 0; turns < 5; turns++) await turn();
    expect(rig.gone).toEqual([]);
    rig.clock.advance(DEPARTURE_MS);
    expect(await read).toBe("ENODEV");
    expect(rig.gone).toHaveLength(1);
  });

  test("given up: every request fails with the code", async () => {
    const all = await plugged();
    await unplug(all);
    const waiting = [outcome(all.disk.write(1, filled(1))), outcome(all.disk.flush())];
    all.rig.host.abandon("it did not come back", "EIO");
    expect(await Promise.all(waiting)).toEqual(["EIO", "EIO"]);
    expect(all.rig.gone).toHaveLength(1);
  });
});
