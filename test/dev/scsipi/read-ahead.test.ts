/** A reader that goes from block to block is served ahead of its questions, and never with what has been changed since. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OPCODE } from "../../../src/dev/scsipi/cdb.js";
import { type FakeTarget, SENSE } from "./fake-target.js";
import { attachTarget, type Rig } from "./rig.js";

const BLOCKS = 512;

function reads(target: FakeTarget): string[] {
  return target.commands
    .filter(({ cdb }) => cdb[0] === OPCODE.READ_10)
    .map(({ cdb }) => `${((cdb[4] ?? 0) << 8) | (cdb[5] ?? 0)} + ${cdb[8] ?? 0}`);
}

const filled = (value: number, blocks = 1): Uint8Array => new Uint8Array(blocks * 512).fill(value);

/** A disk whose blocks have the low byte of their number everywhere, and no commands so far. */
async function numberedRig(): Promise<Rig> {
  const rig = await attachTarget({ blockCount: BLOCKS });
  for (let block = 0; block < BLOCKS; block += 64) {
    const data = Uint8Array.from({ length: 64 * 512 }, (_, at) => block + Math.floor(at / 512));
    await rig.settle(rig.disk.write(block, data));
  }
  rig.target.commands.length = 0;
  return rig;
}

/** Reads block by block, each when the one before has ended. */
async function walk({ disk, settle }: Rig, from: number, to: number): Promise<number[]> {
  const found: number[] = [];
  for (let block = from; block < to; block++) found.push((await settle(disk.read(block, 1)))[511] ?? -1);
  return found;
}

describe("read-ahead", () => {
  test("grows with the reader, and gives what was read", async () => {
    const rig = await numberedRig();
    expect(await walk(rig, 10, 40)).toEqual(Array.from({ length: 30 }, (_, at) => 10 + at));
    expect(reads(rig.target)).toEqual(["10 + 1", "11 + 2", "13 + 3", "16 + 5", "21 + 9", "30 + 17"]);
  });

  test("what is given is the reader's own", async () => {
    const rig = await numberedRig();
    await walk(rig, 10, 13);
    (await rig.settle(rig.disk.read(13, 1))).fill(0xff);
    expect(await walk(rig, 14, 16)).toEqual([14, 15]);
  });

  test("what is given, and what came with another read, is where the reader wants it", async () => {
    const rig = await numberedRig();
    await walk(rig, 10, 12);
    const into = filled(0xff);
    expect(await rig.settle(rig.disk.read(12, 1, { into }))).toBe(into);
    const [first, second] = [filled(0xff), filled(0xff)];
    const both = Promise.all([rig.disk.read(100, 1, { into: first }), rig.disk.read(101, 1, { into: second })]);
    expect((await rig.settle(both)).map(({ buffer }) => buffer)).toEqual([first.buffer, second.buffer]);
    expect([into[511], first[0], second[511]]).toEqual([12, 100, 101]);
    expect(reads(rig.target)).toEqual(["10 + 1", "11 + 2", "100 + 2"]);
  });

  test("reads here and there are what was asked for", async () => {
    const rig = await numberedRig();
    for (const block of [5, 100, 7, 9, 200, 6]) await rig.settle(rig.disk.read(block, 1));
    expect(reads(rig.target)).toEqual(["5 + 1", "100 + 1", "7 + 1", "9 + 1", "200 + 1", "6 + 1"]);
  });

  test.each([
    ["a write", (rig: Rig) => rig.disk.write(14, filled(0xaa))],
    ["zeroes", (rig: Rig) => rig.disk.writeZeroes(14, 1)],
    ["a flush", (rig: Rig) => rig.disk.flush()],
  ])("%s drops what is kept", async (_, change) => {
    const rig = await numberedRig();
    await walk(rig, 10, 14);
    await rig.settle(change(rig));
    rig.target.commands.length = 0;
    await walk(rig, 14, 15);
    expect(reads(rig.target)).toEqual(["14 + 1"]);
  });

  test("nothing is kept longer than a medium can be exchanged in", async () => {
    const rig = await numberedRig();
    await walk(rig, 10, 14);
    await rig.settle(new Promise<void>((resolve) => rig.host.clock.startTimer(101, resolve)));
    rig.target.commands.length = 0;
    await walk(rig, 14, 15);
    expect(reads(rig.target)).toEqual(["14 + 5"]);
  });

  test("a bad block that nobody asked for fails nobody, and is not tried again", async () => {
    const rig = await numberedRig();
    await walk(rig, 10, 11);
    rig.target.answer(OPCODE.READ_10, { sense: SENSE.mediumError });
    expect(await walk(rig, 11, 13)).toEqual([11, 12]);
    expect(reads(rig.target)).toEqual(["10 + 1", "11 + 2", "11 + 1", "12 + 1"]);
  });

  test("the last blocks are read when they are asked for", async () => {
    const rig = await numberedRig();
    await walk(rig, BLOCKS - 14, BLOCKS);
    const beyond = reads(rig.target).map((text) => text.split(" + ").map(Number));
    for (const [first, count] of beyond)
      if (count !== 1) expect((first ?? 0) + (count ?? 0)).toBeLessThanOrEqual(BLOCKS - 8);
  });

  test("whatever is read and written, in whatever order and depth: a read gives what was written before it", async () => {
    const step = fc.record({
      what: fc.constantFrom("read", "read", "read", "write"),
      /** Blocks from where the step before ended. */
      jump: fc.constantFrom(0, 0, 0, 0, -1, 1, 5),
      blocks: fc.integer({ min: 1, max: 4 }),
      wait: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const rig = await attachTarget({ blockCount: BLOCKS });
        const model = new Uint8Array(BLOCKS);
        const waiting: Promise<unknown>[] = [];
        const wrong: string[] = [];
        let at = 0;
        for (const [index, { what, jump, blocks, wait }] of steps.entries()) {
          const first = Math.min(Math.max(0, at + jump), BLOCKS - blocks);
          // The reader goes on where it was, into what was written before it.
          if (what === "read") at = first + blocks;
          if (what === "write") {
            model.fill(index + 1, first, first + blocks);
            waiting.push(rig.disk.write(first, filled(index + 1, blocks)));
          } else {
            const expected = Array.from(model.subarray(first, first + blocks));
            const check = rig.disk.read(first, blocks).then((data) => {
              const found = expected.map((_, block) => data[block * 512]);
              if (data.length !== blocks * 512 || found.some((value, block) => value !== expected[block]))
                wrong.push(`step ${index}: ${first} + ${blocks} is ${found.join(" ")}, not ${expected.join(" ")}`);
            });
            waiting.push(check);
          }
          if (wait) await rig.settle(Promise.all(waiting.splice(0)));
        }
        await rig.settle(Promise.all(waiting));
        expect(wrong).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });
});
