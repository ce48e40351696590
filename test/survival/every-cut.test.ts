/** A recorded workload, cut at each of its transfers and at each of its frames. */
import { beforeAll, describe, expect, test } from "vitest";
import type { WayName } from "../dev/usb/ways.js";
import type { Cut, CutKind } from "./mortal-machine.js";
import { describeRun, type RunOptions, type RunResult, runOnce } from "./run.js";

const SEED = Number(process.env["SURVIVAL_SEED"] ?? 1);
const TIMEOUT_MS = 60_000;

const ALL_CUTS: readonly CutKind[] = ["kill", "freeze", "throw", "power", "host"];
const UAS_CUTS: readonly CutKind[] = ["kill", "throw", "power"];

interface Row {
  readonly way: WayName;
  readonly on: Cut["on"];
  readonly kinds: readonly CutKind[];
}

const ROWS: readonly Row[] = [
  { way: "sequence", on: "transfer", kinds: ALL_CUTS },
  { way: "overlap", on: "transfer", kinds: ALL_CUTS },
  { way: "together", on: "transfer", kinds: ALL_CUTS },
  // What is on the channel is the same in every way.
  { way: "overlap", on: "frame", kinds: ALL_CUTS },
  { way: "uas without streams", on: "transfer", kinds: UAS_CUTS },
  { way: "uas with streams", on: "transfer", kinds: UAS_CUTS },
];

describe.each(ROWS)("$way: at the n-th $on, for every n", ({ on, kinds, way }) => {
  let whole: RunResult;
  beforeAll(async () => {
    whole = await runOnce({ workload: "mixed", seed: SEED, cuts: [], way });
    expect(whole.wrong).toEqual([]);
  });

  test.each(kinds)(
    "%s",
    async (kind) => {
      const last = whole.counts[on];
      expect(last - whole.from[on]).toBeGreaterThan(80);
      for (let at = whole.from[on] + 1; at <= last; at++) {
        const cut: Cut = { on, at, kind, awayMs: (at * 37) % 1500, seed: at };
        const options: RunOptions = { workload: "mixed", seed: SEED, cuts: [cut], way };
        const { wrong, made } = await runOnce(options);
        expect(wrong, describeRun(options)).toEqual([]);
        expect(made).toBe(1);
      }
    },
    TIMEOUT_MS,
  );
});
