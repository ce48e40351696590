/** Requests that wait next to each other and stand next to each other on the medium go out as one command. */
import { describe, expect, test } from "vitest";
import { OPCODE } from "../../../src/dev/scsipi/cdb.js";
import { RequestLine } from "../../../src/dev/scsipi/request-line.js";
import type { Disk } from "../../../src/rump/devsw.js";
import { type FakeTarget, SENSE } from "./fake-target.js";
import { attachTarget, type Rig } from "./rig.js";

/** Blocks with their number in every byte. */
async function numbered(disk: Disk, count: number): Promise<void> {
  const data = Uint8Array.from({ length: count * 512 }, (_, at) => Math.floor(at / 512));
  await disk.write(0, data);
}

/** READ (10) as `first + count`. */
function reads(target: FakeTarget): string[] {
  return target.commands
    .filter(({ cdb }) => cdb[0] === OPCODE.READ_10)
    .map(({ cdb }) => `${cdb[5] ?? 0} + ${cdb[8] ?? 0}`);
}

/** Queues requests while the target holds the first one, and lets it go. */
async function queued<T>(rig: Rig, requests: (disk: Disk) => Promise<T>[]): Promise<PromiseSettledResult<T>[]> {
  await rig.settle(numbered(rig.disk, 64));
  rig.target.commands.length = 0;
  const release = rig.target.hold();
  const all = Promise.allSettled(requests(rig.disk));
  release();
  return rig.settle(all);
}

const values = (results: readonly PromiseSettledResult<unknown>[]): unknown[] =>
  results.map((result) => {
    if (result.status === "rejected") return (result.reason as { code: string }).code;
    return result.value instanceof Uint8Array
      ? `${result.value[0] ?? "-"}..${result.value.at(-1) ?? "-"}`
      : result.value;
  });

describe("reads in the queue", () => {
  test("neighbours are one command; each reader gets its own bytes", async () => {
    const rig = await attachTarget();
    const results = await queued(rig, (disk) => [
      disk.read(50, 1),
      disk.read(8, 4),
      disk.read(12, 2),
      disk.read(14, 1),
    ]);
    expect(values(results)).toEqual(["50..50", "8..11", "12..13", "14..14"]);
    expect(reads(rig.target)).toEqual(["50 + 1", "8 + 7"]);
    const [, first, second] = results.map((result) => (result.status === "fulfilled" ? result.value : undefined));
    first?.fill(0xff);
    expect(second?.[0]).toBe(12);
  });

  test("a gap, a step back, a write or a flush between them keeps them apart", async () => {
    const rig = await attachTarget({ writeCacheEnabled: true });
    const results = await queued<unknown>(rig, (disk) => [
      disk.read(0, 1),
      disk.read(2, 1),
      disk.read(1, 1),
      disk.write(2, new Uint8Array(512).fill(77)),
      disk.read(2, 1),
      disk.flush(),
      disk.read(3, 1),
    ]);
    expect(values(results)).toEqual(["0..0", "2..2", "1..1", undefined, "77..77", undefined, "3..3"]);
    expect(reads(rig.target)).toEqual(["0 + 1", "2 + 1", "1 + 1", "2 + 1", "3 + 1"]);
  });

  test("a bad block fails the reader whose it is", async () => {
    const rig = await attachTarget({}, (target) => {
      target.answer(OPCODE.READ_10, { sense: SENSE.mediumError }, 2);
    });
    const results = await queued(rig, (disk) => [disk.read(0, 2), disk.read(2, 2)]);
    expect(values(results)).toEqual(["EIO", "2..3"]);
    expect(reads(rig.target)).toEqual(["0 + 4", "0 + 2", "2 + 2"]);
  });

  test("another medium fails them all, and is not read", async () => {
    const rig = await attachTarget({}, (target) => {
      target.answer(OPCODE.READ_10, { sense: SENSE.mediumChanged });
    });
    const results = await queued(rig, (disk) => [disk.read(0, 2), disk.read(2, 2)]);
    expect(values(results)).toEqual(["ESTALE", "ESTALE"]);
    expect(reads(rig.target)).toEqual(["0 + 4"]);
  });

  test("one that was aborted takes nothing with it", async () => {
    const rig = await attachTarget();
    const controller = new AbortController();
    const results = await queued(rig, (disk) => {
      const all = [disk.read(40, 1), disk.read(0, 1), disk.read(1, 1, { signal: controller.signal }), disk.read(2, 1)];
      controller.abort();
      return all;
    });
    expect(values(results)).toEqual(["40..40", "0..0", "ECANCELED", "2..2"]);
    expect(reads(rig.target)).toEqual(["40 + 1", "0 + 1", "2 + 1"]);
  });
});

/** WRITE (10) as `first + count`, with ` FUA`. */
function writes(target: FakeTarget): string[] {
  return target.commands
    .filter(({ cdb }) => cdb[0] === OPCODE.WRITE_10)
    .map(({ cdb }) => `${cdb[5] ?? 0} + ${cdb[8] ?? 0}${((cdb[1] ?? 0) & 8) === 0 ? "" : " FUA"}`);
}

const filled = (value: number, blocks = 1): Uint8Array => new Uint8Array(blocks * 512).fill(value);

describe("writes in the queue", () => {
  test("neighbours are one command, in their order", async () => {
    const rig = await attachTarget();
    const results = await queued<unknown>(rig, (disk) => [
      disk.write(40, filled(1)),
      disk.write(8, filled(2, 2)),
      disk.write(10, filled(3)),
      disk.write(11, filled(4)),
      disk.read(7, 6),
    ]);
    expect(results.every(({ status }) => status === "fulfilled")).toBe(true);
    expect(writes(rig.target)).toEqual(["40 + 1", "8 + 4"]);
    const last = results.at(-1);
    if (last?.status !== "fulfilled") throw new Error("not read");
    const data = last.value as Uint8Array;
    expect([0, 1, 2, 3, 4, 5].map((block) => data[block * 512])).toEqual([7, 2, 2, 3, 4, 12]);
  });

  test("a read, a flush, the same block again, or another wish for durability keeps them apart", async () => {
    const rig = await attachTarget({ writeCacheEnabled: true, dpoFua: true });
    await queued<unknown>(rig, (disk) => [
      disk.write(0, filled(1)),
      disk.write(0, filled(2)),
      disk.read(1, 1),
      disk.write(1, filled(3)),
      disk.flush(),
      disk.write(2, filled(4)),
      disk.write(3, filled(5), { forceUnitAccess: true }),
      disk.write(4, filled(6), { forceUnitAccess: true }),
    ]);
    expect(writes(rig.target)).toEqual(["0 + 1", "0 + 1", "1 + 1", "2 + 1", "3 + 2 FUA"]);
  });

  test("a bad block fails the writer whose it is", async () => {
    const rig = await attachTarget({}, (target) => target.answer(OPCODE.WRITE_10, { sense: SENSE.mediumError }, 0));
    await rig.settle(numbered(rig.disk, 64));
    rig.target.answer(OPCODE.WRITE_10, { sense: SENSE.mediumError }, 2);
    rig.target.commands.length = 0;
    const release = rig.target.hold();
    const all = Promise.allSettled([rig.disk.write(0, filled(1, 2)), rig.disk.write(2, filled(2, 2))]);
    release();
    expect(values(await rig.settle(all))).toEqual(["EIO", undefined]);
    expect(writes(rig.target)).toEqual(["0 + 4", "0 + 2", "2 + 2"]);
  });

  test("another medium gets nothing of what the writers behind had to say", async () => {
    const rig = await attachTarget();
    await rig.settle(numbered(rig.disk, 64));
    rig.target.answer(OPCODE.WRITE_10, { sense: SENSE.mediumChanged });
    rig.target.commands.length = 0;
    const release = rig.target.hold();
    const all = Promise.allSettled([rig.disk.write(0, filled(1)), rig.disk.write(1, filled(2))]);
    release();
    expect(values(await rig.settle(all))).toEqual(["ESTALE", "ESTALE"]);
    expect(writes(rig.target)).toEqual(["0 + 2"]);
  });
});

test("a line gives no more than fits one command", () => {
  const line = new RequestLine();
  const entries = [0, 4, 8, 12].map((firstBlock) => line.join("read", { firstBlock, blockCount: 4 }));
  const [head, second] = entries;
  if (head === undefined || second === undefined) throw new Error("no entries");
  expect(line.followers(head, 12)).toEqual(entries.slice(1, 3));
  expect(line.followers(head, 7)).toEqual([]);
  line.leave(head);
  expect(line.followers(second, 100)).toEqual(entries.slice(2));
});
