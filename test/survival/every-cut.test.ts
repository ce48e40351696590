/** A recorded workload, cut at each of its transfers and at each of its frames. */
import { beforeAll, describe, expect, test } from "vitest";
import type { Cut, CutKind } from "./machine.js";
import { describeRun, type RunOptions, type RunResult, runOnce } from "./run.js";

const SEED = Number(process.env["SURVIVAL_SEED"] ?? 1);
const TIMEOUT_MS = 60_000;

let whole: RunResult;
beforeAll(async () => {
  whole = await runOnce({ workload: "mixed", seed: SEED, cuts: [] });
  expect(whole.wrong).toEqual([]);
});

describe.each(["transfer", "frame"] as const)("at the n-th %s, for every n", (on) => {
  test.each(["kill", "freeze", "throw", "power", "host"] as const satisfies readonly CutKind[])(
    "%s",
    async (kind) => {
      const last = whole.counts[on];
      expect(last - whole.from[on]).toBeGreaterThan(80);
      for (let at = whole.from[on] + 1; at <= last; at++) {
        const cut: Cut = { on, at, kind, awayMs: (at * 37) % 1500, seed: at };
        const options: RunOptions = { workload: "mixed", seed: SEED, cuts: [cut] };
        const { wrong, made } = await runOnce(options);
        expect(wrong, describeRun(options)).toEqual([]);
        expect(made).toBe(1);
      }
    },
    TIMEOUT_MS,
  );
});
