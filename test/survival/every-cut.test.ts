/** A recorded workload, cut at each of its transfers and at each of its frames. */
import { beforeAll, describe, expect, test } from "vitest";
import type { WayName } from "../dev/usb/ways.js";
import type { Cut, CutKind } from "./machine.js";
import { describeRun, type RunOptions, type RunResult, runOnce } from "./run.js";

const SEED = Number(process.env["SURVIVAL_SEED"] ?? 1);
const TIMEOUT_MS = 60_000;

const BULK_ONLY_CUTS: readonly CutKind[] = ["kill", "freeze", "throw", "power", "host"];
const UAS_CUTS: readonly CutKind[] = ["kill", "throw", "power"];

interface Row {
  readonly name: string;
  readonly on: Cut["on"];
  readonly kinds: readonly CutKind[];
  readonly way?: WayName;
}

const ROWS: readonly Row[] = [
  { name: "bulk-only", on: "transfer", kinds: BULK_ONLY_CUTS },
  { name: "bulk-only", on: "frame", kinds: BULK_ONLY_CUTS },
  { name: "uas, no streams", on: "transfer", kinds: UAS_CUTS, way: "uas without streams" },
  { name: "uas", on: "transfer", kinds: UAS_CUTS, way: "uas with streams" },
];

describe.each(ROWS)("$name: at the n-th $on, for every n", ({ on, kinds, way }) => {
  const driven = way === undefined ? {} : { way };
  let whole: RunResult;
  beforeAll(async () => {
    whole = await runOnce({ workload: "mixed", seed: SEED, cuts: [], ...driven });
    expect(whole.wrong).toEqual([]);
  });

  test.each(kinds)(
    "%s",
    async (kind) => {
      const last = whole.counts[on];
      expect(last - whole.from[on]).toBeGreaterThan(80);
      for (let at = whole.from[on] + 1; at <= last; at++) {
        const cut: Cut = { on, at, kind, awayMs: (at * 37) % 1500, seed: at };
        const options: RunOptions = { workload: "mixed", seed: SEED, cuts: [cut], ...driven };
        const { wrong, made } = await runOnce(options);
        expect(wrong, describeRun(options)).toEqual([]);
        expect(made).toBe(1);
      }
    },
    TIMEOUT_MS,
  );
});
