import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Claim, TaskSet, type Turn } from "../../../src/dev/scsipi/task-set.js";

const reads = (firstBlock: number, blockCount = 1): Claim => ({ firstBlock, blockCount, writes: false });
const writes = (firstBlock: number, blockCount = 1): Claim => ({ firstBlock, blockCount, writes: true });

/** Tasks by name: which have begun, and a way to end them. */
class Desk {
  readonly set: TaskSet;
  readonly begun: string[] = [];
  readonly #ends = new Map<string, () => void>();
  readonly turns = new Map<string, Turn>();

  constructor(depth: number) {
    this.set = new TaskSet(() => depth);
  }

  add(name: string, claim?: Claim, signal?: AbortSignal): Promise<void> {
    return this.set.run(
      (turn) => {
        this.begun.push(name);
        this.turns.set(name, turn);
        return new Promise<void>((resolve) => {
          this.#ends.set(name, resolve);
        });
      },
      claim,
      signal,
    );
  }

  async end(name: string): Promise<void> {
    this.#ends.get(name)?.();
    await settled();
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("what runs beside what", () => {
  test.each<readonly [string, Claim | undefined, Claim | undefined, boolean]>([
    ["two reads of one block", reads(5), reads(5), true],
    ["a write and a read of other blocks", writes(5, 5), reads(10), true],
    ["two writes of other blocks", writes(0, 8), writes(8), true],
    ["a read behind a write of its block", writes(5, 5), reads(9), false],
    ["a write behind a read of its block", reads(5, 5), writes(0, 6), false],
    ["a write behind a write", writes(5), writes(5), false],
    ["a flush behind a read", reads(5), undefined, false],
    ["a read behind a flush", undefined, reads(5), false],
  ])("%s", async (_, first, second, together) => {
    const desk = new Desk(8);
    void desk.add("first", first);
    void desk.add("second", second);
    await settled();
    expect(desk.begun).toEqual(together ? ["first", "second"] : ["first"]);
    await desk.end("first");
    expect(desk.begun).toEqual(["first", "second"]);
  });

  test("nothing is overtaken: what stands behind one that waits, waits", async () => {
    const desk = new Desk(8);
    void desk.add("write", writes(0));
    void desk.add("read of it", reads(0));
    void desk.add("read elsewhere", reads(9));
    await settled();
    expect(desk.begun).toEqual(["write"]);
  });

  test("no more than the unit takes", async () => {
    const desk = new Desk(2);
    for (const block of [1, 2, 3]) void desk.add(`${block}`, reads(block));
    await settled();
    expect(desk.begun).toEqual(["1", "2"]);
    await desk.end("2");
    expect(desk.begun).toEqual(["1", "2", "3"]);
  });

  test("one that leaves the queue lets those behind it through", async () => {
    const desk = new Desk(8);
    const leave = new AbortController();
    void desk.add("read", reads(0));
    const flush = desk.add("flush", undefined, leave.signal);
    void desk.add("next", reads(1));
    leave.abort();
    await expect(flush).rejects.toMatchObject({ code: "SCSI_CANCELLED" });
    await settled();
    expect(desk.begun).toEqual(["read", "next"]);
  });
});

describe("alone", () => {
  test("when the others have ended, and nothing starts until it has", async () => {
    const desk = new Desk(8);
    for (const block of [1, 2]) void desk.add(`${block}`, reads(block));
    await settled();
    let isAlone = false;
    void desk.turns
      .get("1")
      ?.alone()
      .then(() => (isAlone = true));
    void desk.add("3", reads(3));
    await settled();
    expect([isAlone, desk.begun]).toEqual([false, ["1", "2"]]);
    await desk.end("2");
    expect([isAlone, desk.begun]).toEqual([true, ["1", "2"]]);
    await desk.end("1");
    expect(desk.begun).toEqual(["1", "2", "3"]);
  });

  test("several that ask for it get it one after another, and none waits for ever", async () => {
    const desk = new Desk(8);
    const granted: string[] = [];
    for (const block of [1, 2, 3]) void desk.add(`${block}`, reads(block));
    await settled();
    for (const name of ["2", "1", "3"])
      void desk.turns
        .get(name)
        ?.alone()
        .then(() => granted.push(name));
    await settled();
    expect(granted).toEqual(["1"]);
    await desk.end("1");
    expect(granted).toEqual(["1", "2"]);
    await desk.end("2");
    expect(granted).toEqual(["1", "2", "3"]);
  });

  test("one that runs alone is alone", async () => {
    const desk = new Desk(8);
    void desk.add("flush");
    await settled();
    await desk.turns.get("flush")?.alone();
  });
});

test("whatever comes, no two that conflict run together, writes of a block keep their order, and all end", async () => {
  const claim = fc.option(
    fc.record({ firstBlock: fc.nat(12), blockCount: fc.integer({ min: 1, max: 4 }), writes: fc.boolean() }),
    { nil: undefined },
  );
  const job = fc.record({ claim, ticks: fc.nat(4), escalates: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(job, { maxLength: 30 }), fc.integer({ min: 1, max: 6 }), async (jobs, depth) => {
      const set = new TaskSet(() => depth);
      const running = new Map<number, Claim | undefined>();
      const lastWriter = new Map<number, number>();
      await Promise.all(
        jobs.map(({ claim: own, ticks, escalates }, index) =>
          set.run(async (turn) => {
            for (const other of running.values()) {
              expect(own).toBeDefined();
              expect(other).toBeDefined();
              if (own === undefined || other === undefined) continue;
              const overlap =
                own.firstBlock < other.firstBlock + other.blockCount &&
                other.firstBlock < own.firstBlock + own.blockCount;
              expect(overlap && (own.writes || other.writes)).toBe(false);
            }
            running.set(index, own);
            expect(running.size).toBeLessThanOrEqual(depth);
            for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
            if (escalates) {
              await turn.alone();
              for (const [other] of running) if (other !== index) expect(jobs[other]?.escalates).toBe(true);
            }
            if (own?.writes === true)
              for (let block = own.firstBlock; block < own.firstBlock + own.blockCount; block++) {
                expect(lastWriter.get(block) ?? -1).toBeLessThan(index);
                lastWriter.set(block, index);
              }
            running.delete(index);
          }, own),
        ),
      );
      expect([set.runningCount, set.waitingCount]).toEqual([0, 0]);
    }),
    { numRuns: 400 },
  );
});
