import { describe, expect, test } from "vitest";
import { OPCODE } from "../../../src/dev/scsipi/cdb.js";
import { diskContract } from "../../contract/disk.js";
import { type Answer, SENSE } from "./fake-target.js";
import { attachTarget } from "./rig.js";

diskContract("sd on a fake target", async () => {
  const { disk, target, host } = await attachTarget({ provisioned: true, writeCacheEnabled: true });
  const { disk: readOnly } = await attachTarget({ writeProtected: true });
  return { disk, readOnly, powerCut: () => target.powerCut(), hold: () => target.hold(), close: () => host.detach() };
});

diskContract("sd with FUA and without UNMAP, 4096-byte blocks", async () => {
  const { disk, target, host } = await attachTarget({ blockBytes: 4096, dpoFua: true, writeCacheEnabled: true });
  const { disk: readOnly } = await attachTarget({ writeProtected: true, blockBytes: 4096 });
  return { disk, readOnly, powerCut: () => target.powerCut(), hold: () => target.hold(), close: () => host.detach() };
});

/** What a READ of blocks 8..15 ends in when the unit answers so. `reads` counts what it saw, `settles` lets it succeed. */
const OUTCOMES: readonly {
  readonly name: string;
  readonly answers: readonly Answer[];
  readonly reads: number;
  readonly code?: string;
  readonly says?: RegExp;
}[] = [
  { name: "good", answers: [], reads: 1 },
  {
    name: "MEDIUM ERROR is final and readable",
    answers: [{ sense: SENSE.mediumError }],
    reads: 1,
    code: "EIO",
    says: /^READ\(10\) block 8 \+ 8: MEDIUM ERROR, unrecovered read error \(11h\/00h\)$/,
  },
  { name: "HARDWARE ERROR is final", answers: [{ sense: SENSE.hardware }], reads: 1, code: "EIO" },
  { name: "ABORTED COMMAND is repeated", answers: [{ sense: SENSE.aborted }], reads: 2 },
  {
    name: "ABORTED COMMAND twice is not",
    answers: [{ sense: SENSE.aborted }, { sense: SENSE.aborted }],
    reads: 2,
    code: "EIO",
  },
  { name: "29h, reset: once more", answers: [{ sense: SENSE.reset }], reads: 2 },
  { name: "2Ah, modes changed: once more", answers: [{ sense: SENSE.modesChanged }], reads: 2 },
  { name: "29h and then 2Ah", answers: [{ sense: SENSE.reset }, { sense: SENSE.modesChanged }], reads: 3 },
  { name: "29h for ever", answers: [{ sense: SENSE.reset }, { sense: SENSE.reset }], reads: 2, code: "EIO" },
  { name: "28h, medium changed: never again", answers: [{ sense: SENSE.mediumChanged }], reads: 1, code: "ESTALE" },
  {
    name: "2Ah/09h, capacity changed: never again",
    answers: [{ sense: SENSE.capacityChanged }],
    reads: 1,
    code: "EIO",
  },
  { name: "no medium", answers: [{ sense: SENSE.noMedium }], reads: 1, code: "ENOMEDIUM" },
  { name: "a lost transport is tried once more", answers: [{ fails: "SCSI_TRANSPORT" }], reads: 2 },
  {
    name: "a transport lost twice is an error",
    answers: [{ fails: "SCSI_TRANSPORT" }, { fails: "SCSI_TRANSPORT" }],
    reads: 2,
    code: "EIO",
  },
  { name: "one that is not answered in time: once more", answers: [{ fails: "SCSI_TIMED_OUT" }], reads: 2 },
  {
    name: "not answered in time twice",
    answers: [{ fails: "SCSI_TIMED_OUT" }, { fails: "SCSI_TIMED_OUT" }],
    reads: 2,
    code: "ETIMEDOUT",
  },
  {
    name: "not answered in time, then a lost transport: two in all",
    answers: [{ fails: "SCSI_TIMED_OUT" }, { fails: "SCSI_TRANSPORT" }],
    reads: 2,
    code: "EIO",
  },
  { name: "an unplug", answers: [{ fails: "SCSI_GONE" }], reads: 1, code: "ENODEV" },
  { name: "half the data, then all", answers: [{ data: new Uint8Array(2048) }], reads: 2 },
  {
    name: "half the data twice",
    answers: [{ data: new Uint8Array(2048) }, { data: new Uint8Array(2048) }],
    reads: 2,
    code: "EIO",
    says: /2048 bytes not moved/,
  },
  { name: "all data and a residue", answers: [{ data: new Uint8Array(4096), residueBytes: 1 }], reads: 2 },
  {
    name: "becoming ready, then ready",
    answers: [{ sense: SENSE.becomingReady }, { sense: SENSE.becomingReady }],
    reads: 3,
  },
  { name: "needs a START UNIT", answers: [{ sense: SENSE.needsStart }], reads: 2 },
];

describe.each([1, 32])("a target that takes %i commands at a time:", (queueDepth) => {
  const attach: typeof attachTarget = async (options, prepare, quirks) =>
    await attachTarget({ ...options, queueDepth }, prepare, quirks);

  describe("what a request ends in", () => {
    for (const { name, answers, reads, code, says } of OUTCOMES)
      test(name, async () => {
        const { disk, target, settle } = await attach();
        for (const answer of answers) target.answer(OPCODE.READ_10, answer);
        const result = settle(disk.read(8, 8));
        if (code === undefined) expect((await result).length).toBe(4096);
        else await expect(result).rejects.toMatchObject({ name: "DeviceError", code });
        if (says !== undefined) await expect(result).rejects.toThrow(says);
        expect(target.count(OPCODE.READ_10)).toBe(reads);
      });

    test("what failed is logged once, in full: a client is told no more than an errno", async () => {
      const { disk, target, host, settle } = await attach();
      target.answer(OPCODE.READ_10, { sense: SENSE.mediumError });
      const before = host.lines.length;
      await expect(settle(disk.read(8, 8))).rejects.toMatchObject({ code: "EIO" });
      expect(host.lines.slice(before)).toEqual([
        expect.stringMatching(/^warn: lun 0: READ\(10\) block 8 \+ 8: MEDIUM ERROR/),
      ]);
    });

    test("a unit that stays becoming ready is given up after 30 s", async () => {
      const { disk, target, host, settle } = await attach();
      target.answer(OPCODE.READ_10, { sense: SENSE.becomingReady }, 1000);
      const before = host.clock.nowMs();
      await expect(settle(disk.read(0, 1))).rejects.toMatchObject({ code: "ETIMEDOUT" });
      expect(host.clock.nowMs() - before).toBe(30_000);
    });

    test("a write or a flush that is not answered in time is sent once more, with the same bytes", async () => {
      const { disk, target, settle } = await attach();
      for (const opcode of [OPCODE.WRITE_10, OPCODE.SYNCHRONIZE_CACHE_10])
        target.answer(opcode, { fails: "SCSI_TIMED_OUT" });
      const flushes = target.count(OPCODE.SYNCHRONIZE_CACHE_10);
      const data = new Uint8Array(512).fill(7);
      await settle(disk.write(3, data));
      await settle(disk.flush());
      expect(await settle(disk.read(3, 1))).toEqual(data);
      expect(target.count(OPCODE.WRITE_10)).toBe(2);
      expect(target.count(OPCODE.SYNCHRONIZE_CACHE_10) - flushes).toBe(2);
    });

    test("not sent again when the medium is another one by then", async () => {
      const { disk, target, settle } = await attach();
      target.answer(OPCODE.WRITE_10, { fails: "SCSI_TIMED_OUT" });
      target.answer(OPCODE.READ_CAPACITY_10, { sense: SENSE.mediumChanged });
      await expect(settle(disk.write(3, new Uint8Array(512)))).rejects.toMatchObject({ code: "ESTALE" });
      expect(target.count(OPCODE.WRITE_10)).toBe(1);
    });

    test("many at once that are not answered: each once more; when that is in vain, no more of them", async () => {
      const { disk, target, settle } = await attach();
      const readsOf = async (failures: number): Promise<[number, number]> => {
        const before = target.count(OPCODE.READ_10);
        target.answer(OPCODE.READ_10, { fails: "SCSI_TIMED_OUT" }, failures);
        const reads = [0, 200, 400, 600].map((block) => disk.read(block, 1));
        const results = await settle(Promise.allSettled(reads));
        const failed = results.filter(({ status }) => status === "rejected").length;
        return [failed, target.count(OPCODE.READ_10) - before];
      };
      if (queueDepth > 1) {
        expect(await readsOf(4)).toEqual([0, 8]);
        expect(await readsOf(5)).toEqual([4, 5]);
      } else {
        expect(await readsOf(1)).toEqual([0, 5]);
        expect(await readsOf(5)).toEqual([4, 5]);
      }
    });

    test("a unit that answers nothing: the requests behind the first one are not repeated, until it answers again", async () => {
      const { disk, target, settle } = await attach();
      target.answer(OPCODE.READ_10, { fails: "SCSI_TIMED_OUT" }, 4);
      for (const reads of [2, 3, 4]) {
        await expect(settle(disk.read(0, 1))).rejects.toMatchObject({ code: "ETIMEDOUT" });
        expect(target.count(OPCODE.READ_10)).toBe(reads);
      }
      await settle(disk.read(0, 1));
      target.answer(OPCODE.READ_10, { fails: "SCSI_TIMED_OUT" });
      await settle(disk.read(100, 1));
      expect(target.count(OPCODE.READ_10)).toBe(7);
    });
  });

  describe("no byte acknowledged and lost", () => {
    test("a write with a residue is not acknowledged: once more, then EIO", async () => {
      const { disk, target } = await attach();
      const short: Answer = { data: new Uint8Array(0), residueBytes: 512 };
      target.answer(OPCODE.WRITE_10, short);
      await disk.write(0, new Uint8Array(512));
      expect(target.count(OPCODE.WRITE_10)).toBe(2);
      target.answer(OPCODE.WRITE_10, short, 2);
      await expect(disk.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: "EIO" });
      expect(target.count(OPCODE.WRITE_10)).toBe(4);
    });

    test("a flush reaches the device as SYNCHRONIZE CACHE before it is answered", async () => {
      const { disk, target } = await attach({ writeCacheEnabled: true });
      await disk.write(3, new Uint8Array(512).fill(7));
      target.powerCut();
      expect(target.medium.has(3)).toBe(false);
      await disk.write(3, new Uint8Array(512).fill(7));
      await disk.flush();
      expect(target.medium.get(3)).toEqual(new Uint8Array(512).fill(7));
    });

    test("FUA is the bit where it is offered, a SYNCHRONIZE CACHE where it is not, or turns out to be refused", async () => {
      const withFua = await attach({ dpoFua: true });
      const syncs = withFua.target.count(OPCODE.SYNCHRONIZE_CACHE_10);
      await withFua.disk.write(0, new Uint8Array(512), { forceUnitAccess: true });
      expect(withFua.target.commands.at(-1)?.cdb[1]).toBe(0x08);
      expect(withFua.target.count(OPCODE.SYNCHRONIZE_CACHE_10)).toBe(syncs);

      withFua.target.answer(OPCODE.WRITE_10, { sense: SENSE.invalidField });
      await withFua.disk.write(0, new Uint8Array(512), { forceUnitAccess: true });
      await withFua.disk.write(0, new Uint8Array(512), { forceUnitAccess: true });
      expect(withFua.target.opcodes.slice(-6)).toEqual([0x2a, 0x03, 0x2a, 0x35, 0x2a, 0x35]);

      const without = await attach({ dpoFua: true }, undefined, { brokenFua: true });
      await without.disk.write(0, new Uint8Array(512), { forceUnitAccess: true });
      expect(without.target.opcodes.slice(-2)).toEqual([OPCODE.WRITE_10, OPCODE.SYNCHRONIZE_CACHE_10]);
      expect(without.target.commands.at(-2)?.cdb[1]).toBe(0);
    });

    test("a flush that is refused is remembered and said", async () => {
      const { disk, target, host } = await attach({ writeCacheEnabled: true });
      target.answer(OPCODE.SYNCHRONIZE_CACHE_10, { sense: SENSE.invalidOpcode });
      await disk.flush();
      const syncs = target.count(OPCODE.SYNCHRONIZE_CACHE_10);
      await disk.flush();
      expect(target.count(OPCODE.SYNCHRONIZE_CACHE_10)).toBe(syncs);
      expect(host.lines.filter((line) => line.includes("flush unsupported"))).toHaveLength(1);
    });

    test("a flush that fails is an error, and is tried again the next time", async () => {
      const { disk, target } = await attach();
      target.answer(OPCODE.SYNCHRONIZE_CACHE_10, { sense: SENSE.hardware });
      await expect(disk.flush()).rejects.toMatchObject({ code: "EIO" });
      await disk.flush();
    });

    test("a reset that is not ours, with writes in the cache, fails the next flush once", async () => {
      const { disk, target } = await attach();
      await disk.write(0, new Uint8Array(512));
      target.answer(OPCODE.READ_10, { sense: SENSE.reset });
      await disk.read(0, 1);
      await expect(disk.flush()).rejects.toThrow(/may be missing after a reset: UNIT ATTENTION.*29h/);
      await disk.flush();
    });

    test("a reset of ours does not, nor one with nothing in the cache", async () => {
      const { disk, target } = await attach();
      await disk.write(0, new Uint8Array(512));
      target.answer(OPCODE.READ_10, { fails: "SCSI_TRANSPORT", resets: true });
      target.answer(OPCODE.READ_CAPACITY_10, { sense: SENSE.reset });
      await disk.read(0, 1);
      await disk.flush();
      target.answer(OPCODE.READ_10, { sense: SENSE.reset });
      await disk.read(0, 1);
      await disk.flush();
    });

    test("a deferred error repeats the command and fails the next flush (SPC-4 §4.5.5)", async () => {
      const { disk, target } = await attach();
      await disk.write(0, new Uint8Array(512));
      target.answer(OPCODE.READ_10, { sense: SENSE.mediumError, deferred: true });
      await disk.read(0, 1);
      await expect(disk.flush()).rejects.toThrow(/a deferred error: MEDIUM ERROR/);
    });
  });

  describe("the medium under the requests", () => {
    test("28h: the node goes, what waits fails with ESTALE and never reaches the device; the next medium is a new node", async () => {
      const { disk, target, host, settle } = await attach({ removable: true });
      target.answer(OPCODE.WRITE_10, { sense: SENSE.mediumChanged });
      const requests = [disk.write(0, new Uint8Array(512)), disk.write(1, new Uint8Array(512)), disk.read(0, 1)];
      target.blockCount = 8192;
      const results = await settle(Promise.allSettled(requests));
      for (const result of results)
        expect(result).toMatchObject({ status: "rejected", reason: { name: "DeviceError", code: "ESTALE" } });
      expect(target.count(OPCODE.WRITE_10)).toBe(1);
      expect(target.count(OPCODE.READ_10)).toBe(0);
      expect(host.nodes[0]?.removed).toMatch(/medium may have changed/);
      await host.clock.advance(2_000);
      expect(host.nodes).toHaveLength(2);
      expect(host.disk(1).info.blockCount).toBe(8192);
      await expect(disk.read(0, 1)).rejects.toMatchObject({ code: "ESTALE" });
      expect((await host.disk(1).read(0, 1)).length).toBe(512);
      await host.detach();
    });

    test("a medium that is changed all the time is looked for at the pace of the poll", async () => {
      const { target, host } = await attach({ removable: true });
      target.answer(OPCODE.READ_10, { sense: SENSE.mediumChanged }, 1000);
      for (let change = 0; change < 5; change++) {
        await expect(host.disk().read(0, 1)).rejects.toMatchObject({ code: "ESTALE" });
        await host.clock.advance(1_999);
        expect(host.nodes).toHaveLength(change + 1);
        await host.clock.advance(1);
      }
      await host.detach();
    });

    test("another capacity after a reset closes the node for good", async () => {
      const { disk, target, host } = await attach();
      target.answer(OPCODE.READ_10, { sense: SENSE.reset });
      target.blockCount = 100;
      await expect(disk.read(0, 1)).rejects.toMatchObject({ code: "EIO", message: /changed its capacity/ });
      expect(host.nodes[0]?.removed).toMatch(/was 4096 blocks of 512 bytes, is 100/);
      expect(host.clock.pendingTimers).toBe(0);
      await expect(disk.read(0, 1)).rejects.toMatchObject({ code: "EIO" });
    });

    test("an unplug takes the node away and looks for nothing", async () => {
      const { disk, target, host } = await attach();
      target.answer("any", { fails: "SCSI_GONE" }, 100);
      await expect(disk.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: "ENODEV" });
      expect(host.nodes[0]?.removed).toBeDefined();
      await host.detach();
      expect(host.clock.pendingTimers).toBe(0);
      expect(host.lines.filter((line) => /^(error|warn)/.test(line))).toEqual([
        expect.stringContaining("before the last writes were flushed"),
      ]);
    });
  });

  describe("large and small", () => {
    test("beyond 2 TiB: READ(16), WRITE(16), SYNCHRONIZE CACHE(16)", async () => {
      const { disk, target } = await attach({ blockCount: 2 ** 33 });
      expect(disk.info.blockCount).toBe(2 ** 33);
      const data = new Uint8Array(512).fill(9);
      await disk.write(2 ** 32, data);
      await disk.write(2 ** 32 - 1, new Uint8Array(1024).fill(8));
      expect(await disk.read(2 ** 32 - 1, 1)).toEqual(new Uint8Array(512).fill(8));
      await disk.flush();
      expect(target.opcodes.slice(-4)).toEqual([
        OPCODE.WRITE_16,
        OPCODE.WRITE_16,
        OPCODE.READ_10,
        OPCODE.SYNCHRONIZE_CACHE_16,
      ]);
    });

    test("more than 65535 blocks in one command: READ(16)", async () => {
      const { disk, target } = await attach({ blockCount: 2 ** 20, maxTransferBytes: 2 ** 26 });
      expect((await disk.read(0, 2 ** 16)).length).toBe(2 ** 25);
      expect(target.opcodes.at(-1)).toBe(OPCODE.READ_16);
    });

    test("UNMAP and WRITE SAME keep to the unit's limits (SBC-3 §6.6.3)", async () => {
      const { disk, target } = await attach({ provisioned: true });
      await disk.trim(0, 600);
      expect(target.count(OPCODE.UNMAP)).toBe(3);
      await disk.writeZeroes(0, 2500);
      const counts = target.commands
        .filter((c) => c.cdb[0] === OPCODE.WRITE_SAME_16)
        .map((c) => (c.cdb[12] ?? 0) * 256 + (c.cdb[13] ?? 0));
      expect(counts).toEqual([1024, 1024, 452]);
    });

    test("zeroes are plain writes of at most one transfer where WRITE SAME is refused", async () => {
      const { disk, target, host } = await attach({ provisioned: true, maxTransferBytes: 65536 });
      target.answer(OPCODE.WRITE_SAME_16, { sense: SENSE.invalidOpcode });
      await disk.writeZeroes(10, 300);
      expect(target.count(OPCODE.WRITE_SAME_16)).toBe(1);
      expect(target.count(OPCODE.WRITE_10)).toBe(3);
      expect(host.lines.filter((line) => line.includes("plain writes"))).toHaveLength(1);
    });
  });

  describe("cancel and detach", () => {
    test("a signal ends a request in flight, the others go on", async () => {
      const { disk, target } = await attach();
      target.answer(OPCODE.READ_10, "hang");
      const controller = new AbortController();
      const first = disk.read(0, 1, { signal: controller.signal });
      const second = disk.read(1, 1);
      await target.arrived(OPCODE.READ_10);
      controller.abort();
      await expect(first).rejects.toMatchObject({ code: "ECANCELED" });
      expect((await second).length).toBe(512);
    });

    test("detach flushes, lets the medium go, and fails what waits", async () => {
      const { disk, target, host } = await attach({ removable: true, writeCacheEnabled: true });
      await disk.write(5, new Uint8Array(512).fill(5));
      const release = target.hold();
      const waiting = Promise.allSettled([disk.read(0, 1), disk.read(1, 1)]);
      await target.arrived(OPCODE.READ_10);
      const detached = host.detach();
      release();
      await detached;
      expect(target.medium.has(5)).toBe(true);
      expect(target.opcodes.slice(-2)).toEqual([OPCODE.SYNCHRONIZE_CACHE_10, OPCODE.PREVENT_ALLOW]);
      expect(target.commands.at(-1)?.cdb[4]).toBe(0);
      expect((await waiting).map((result) => result.status)).toEqual(["fulfilled", "rejected"]);
      await expect(disk.read(0, 1)).rejects.toMatchObject({ code: "ENODEV" });
      expect(host.clock.pendingTimers).toBe(0);
    });

    test("a device that hangs at detach is left after 10 s", async () => {
      const { disk, target, host, settle } = await attach();
      target.answer("any", "hang", 100);
      const stuck = disk.read(0, 1).catch((error: unknown) => error);
      const before = host.clock.nowMs();
      await settle(host.detach());
      expect(host.clock.nowMs() - before).toBe(10_000);
      expect(await stuck).toMatchObject({ code: "ENODEV" });
      expect(host.clock.pendingTimers).toBe(0);
    });
  });
});
