/** Reads that wait next to each other and stand next to each other on the medium go out as one command. */
import { describe, expect, test } from "vitest";
import { OPCODE } from "../../../src/dev/scsipi/cdb.js";
import { ReadLine } from "../../../src/dev/scsipi/read-line.js";
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

test("a line gives no more than fits one command", () => {
  const line = new ReadLine();
  const entries = [0, 4, 8, 12].map((firstBlock) => line.join({ firstBlock, blockCount: 4 }));
  const [head, second] = entries;
  if (head === undefined || second === undefined) throw new Error("no entries");
  expect(line.followers(head, 12)).toEqual(entries.slice(1, 3));
  expect(line.followers(head, 7)).toEqual([]);
  line.leave(head);
  expect(line.followers(second, 100)).toEqual(entries.slice(2));
});
