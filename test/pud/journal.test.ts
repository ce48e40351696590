import { describe, expect, test } from "vitest";
import { WriteJournal } from "../../src/pud/journal.js";
import { MediumBlocks } from "../../src/pud/medium-blocks.js";

const filled = (byte: number, blocks = 1): Uint8Array => new Uint8Array(512 * blocks).fill(byte);

describe("journal", () => {
  test("keeps copies in the order of their acknowledgement", () => {
    const journal = new WriteJournal(1 << 20, 512);
    const data = filled(1);
    journal.reserve(512);
    journal.reserve(0);
    journal.record(7, 1, data);
    data.fill(9); // the caller's again
    journal.record(3, 2, undefined);
    expect(journal.entries).toMatchObject([
      { firstBlock: 7, blockCount: 1, data: filled(1) },
      { firstBlock: 3, blockCount: 2, data: undefined },
    ]);
    expect([2, 3, 4, 5, 7, 8].map((block) => journal.touches(block, 1))).toEqual([
      false,
      true,
      true,
      false,
      true,
      false,
    ]);
  });

  test("a flush drops what was acknowledged before it was sent, and nothing else", () => {
    const journal = new WriteJournal(1 << 20, 512);
    const write = (block: number): void => {
      journal.reserve(512);
      journal.record(block, 1, filled(block));
    };
    write(1);
    const first = journal.mark();
    write(2);
    const second = journal.mark();
    write(3);
    journal.dropUntil(first);
    expect(journal.entries.map((entry) => entry.firstBlock)).toEqual([2, 3]);
    journal.dropUntil(first); // answered twice, or later than a later one
    expect(journal.entries.map((entry) => entry.firstBlock)).toEqual([2, 3]);
    journal.dropUntil(second);
    expect(journal.entries.map((entry) => entry.firstBlock)).toEqual([3]);
    journal.dropUntil(journal.mark());
    expect(journal.bytes).toBe(0);
  });

  test("what was written past the cache takes its blocks out of older entries", () => {
    const journal = new WriteJournal(1 << 20, 512);
    const pattern = Uint8Array.from({ length: 5 * 512 }, (_, at) => at >> 9);
    journal.reserve(pattern.length);
    journal.record(10, 5, pattern);
    journal.reserve(0);
    journal.record(12, 4, undefined);
    const mark = journal.mark();
    journal.supersede(11, 2);
    journal.supersede(100, 1);
    expect(journal.entries).toMatchObject([
      { firstBlock: 10, blockCount: 1, data: filled(0) },
      { firstBlock: 13, blockCount: 2, data: pattern.slice(3 * 512) },
      { firstBlock: 13, blockCount: 3, data: undefined },
    ]);
    expect(journal.bytes).toBe(3 * 128 + 3 * 512);
    journal.dropUntil(mark);
    expect(journal.bytes).toBe(0);
  });

  test("gives its oldest entries, never a part of one write without the rest", () => {
    const journal = new WriteJournal(1 << 20, 512);
    for (let block = 0; block < 8; block++) {
      journal.reserve(1536);
      journal.record(block * 10, 3, filled(block, 3));
    }
    journal.supersede(11, 1);
    const { entries, mark } = journal.oldest(2000);
    expect(entries.map((entry) => entry.firstBlock)).toEqual([0, 10, 12]);
    journal.dropUntil(mark);
    expect(journal.oldest(1 << 20).entries.map((entry) => entry.firstBlock)).toEqual([20, 30, 40, 50, 60, 70]);
  });

  test("is bounded, counts small entries too, and takes any size when it is empty", () => {
    const journal = new WriteJournal(4096, 512);
    expect(journal.reserve(1 << 20)).toBe(true);
    expect(journal.reserve(0)).toBe(false);
    journal.release(1 << 20);
    expect(journal.bytes).toBe(0);
    let zeroed = 0;
    while (journal.reserve(0)) zeroed++;
    expect(zeroed).toBe(32);
  });
});

describe("edges of a medium", () => {
  const sure = (): boolean => false;

  test.each([
    [
      512,
      2048,
      [
        { firstBlock: 0, blockCount: 8 },
        { firstBlock: 2040, blockCount: 8 },
      ],
    ], // prettier-ignore
    [
      4096,
      2048,
      [
        { firstBlock: 0, blockCount: 1 },
        { firstBlock: 2047, blockCount: 1 },
      ],
    ],
    [
      512,
      10,
      [
        { firstBlock: 0, blockCount: 8 },
        { firstBlock: 8, blockCount: 2 },
      ],
    ],
    [512, 3, [{ firstBlock: 0, blockCount: 3 }]],
  ] as const)("%i bytes by %i: 4 KiB at each end", (blockBytes, blockCount, ranges) => {
    expect(new MediumBlocks({ blockBytes, blockCount }).edges).toEqual(ranges);
  });

  test("tells the block that differs; what is not known or not sure differs from nothing", () => {
    const blocks = new MediumBlocks({ blockBytes: 512, blockCount: 100 });
    const [first] = blocks.edges;
    if (first === undefined) throw new Error("no range");
    blocks.note(0, 3, filled(1, 3), false);
    blocks.note(6, 90, undefined, false);
    blocks.forget(1, 1);
    const now = filled(0, 8);
    now.set(filled(1));
    now.set(filled(5), 512);
    expect(blocks.difference(first, now, sure)).toBe(2);
    expect(blocks.difference(first, now, (block) => block === 2)).toBe(undefined);
    now[7 * 512 + 511] = 1;
    expect(blocks.difference(first, now, (block) => block === 2)).toBe(7);
  });

  test("what was written is not unlearned by a read that was older", () => {
    const blocks = new MediumBlocks({ blockBytes: 512, blockCount: 8 });
    const [only] = blocks.edges;
    if (only === undefined) throw new Error("no range");
    blocks.note(0, 1, filled(2), false);
    blocks.learn(only, filled(1, 8), (block) => block === 5);
    const now = filled(1, 8);
    now.set(filled(2));
    now.set(filled(9), 5 * 512);
    expect(blocks.difference(only, now, sure)).toBe(undefined);
  });

  test("a witness elsewhere tells as well, until sixteen newer ones have come", () => {
    const blocks = new MediumBlocks({ blockBytes: 512, blockCount: 1000 });
    const witness = { firstBlock: 500, blockCount: 1 };
    blocks.note(500, 4, filled(1, 4));
    expect(blocks.ranges(sure)).toEqual([...blocks.edges, witness]);
    expect(blocks.difference(witness, filled(1), sure)).toBe(undefined);
    expect(blocks.difference(witness, filled(2), sure)).toBe(500);
    expect(blocks.difference(witness, filled(2), (block) => block === 500)).toBe(undefined);
    for (let block = 0; block < 15; block++) blocks.note(100 + block, 1, undefined);
    expect(blocks.difference(witness, filled(2), sure)).toBe(500);
    blocks.note(200, 1, undefined, false);
    expect(blocks.difference(witness, filled(2), sure)).toBe(500);
    blocks.note(200, 1, undefined);
    expect(blocks.difference(witness, filled(2), sure)).toBe(undefined);
  });

  test("a write over a witness, or one that may have been, takes it away", () => {
    const blocks = new MediumBlocks({ blockBytes: 512, blockCount: 1000 });
    blocks.note(500, 1, filled(1));
    blocks.note(499, 3, filled(2, 3));
    expect(blocks.ranges(sure)).toEqual([...blocks.edges, { firstBlock: 499, blockCount: 1 }]);
    blocks.forget(400, 100);
    expect(blocks.ranges(sure)).toEqual(blocks.edges);
  });
});
