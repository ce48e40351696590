/** Runs with random cuts, until so many have been made. */
import { describe, expect, test } from "vitest";
import type { WayName } from "../dev/usb/ways.js";
import type { Cut, CutKind } from "./mortal-machine.js";
import { describeRun, runOnce, type RunOptions } from "./run.js";
import { dice, type Dice, type WORKLOADS } from "./workloads.js";

/** SURVIVAL_SEED says where to begin: another set of runs. */
const FIRST_SEED = Number(process.env["SURVIVAL_SEED"] ?? 1);
/** Between the first seeds of two ways: each makes other runs. */
const SEEDS_PER_WAY = 100_000;
const TIMEOUT_MS = 110_000;

const DRIVER_CUTS: readonly CutKind[] = ["kill", "kill", "freeze", "throw"];

/** Some cuts, closer together than anything in the world makes them; at most the last one is the host's. */
function randomCuts(roll: Dice): Cut[] {
  const cuts: Cut[] = [];
  // Not before the first attach: a device that never attached has nothing to lose.
  let transfer = 45 + roll(80);
  let frame = 5 + roll(20);
  const count = 2 + roll(6);
  for (let one = 0; one < count; one++) {
    transfer += 1 + roll(60);
    frame += 1 + roll(40);
    const on = roll(3) === 0 ? "frame" : "transfer";
    const at = on === "frame" ? frame : transfer;
    const isLast = one === count - 1;
    if (isLast && roll(4) === 0) cuts.push({ on, at, kind: "host" });
    else if (roll(3) === 0) cuts.push({ on, at, kind: "power", awayMs: roll(1500), seed: roll(1 << 30) });
    else cuts.push({ on, at, kind: DRIVER_CUTS[roll(DRIVER_CUTS.length)] ?? "kill" });
  }
  return cuts;
}

/** `wanted`: in each of the ways. */
export function randomCutsTest(workload: keyof typeof WORKLOADS, wanted: number, ...ways: readonly WayName[]): void {
  cutsTest(workload, wanted, ways, false);
}

/** The same with data in memory that host and rump process share. */
export function sharedCutsTest(workload: keyof typeof WORKLOADS, wanted: number, ...ways: readonly WayName[]): void {
  describe("shared memory", () => cutsTest(workload, wanted, ways, true));
}

function cutsTest(workload: keyof typeof WORKLOADS, wanted: number, ways: readonly WayName[], shares: boolean): void {
  describe.each(ways.map((way, index) => [way, FIRST_SEED + index * SEEDS_PER_WAY] as const))("%s", (way, first) => {
    test(`${workload}: ${wanted} random cuts lose nothing that was flushed, and nothing hangs`, {
      timeout: TIMEOUT_MS,
    }, async () => {
      let made = 0;
      for (let seed = first; made < wanted; seed++) {
        const options: RunOptions = { workload, seed, cuts: randomCuts(dice(seed)), way, shares };
        const result = await runOnce(options);
        made += result.made;
        expect(result.wrong, describeRun(options)).toEqual([]);
      }
    });
  });
}
