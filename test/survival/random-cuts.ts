/** Runs with random cuts, until so many have been made. */
import { expect, test } from "vitest";
import type { WayName } from "../dev/usb/ways.js";
import type { Cut, CutKind } from "./machine.js";
import { describeRun, runOnce, type RunOptions } from "./run.js";
import { dice, type Dice, type WORKLOADS } from "./workloads.js";

/** SURVIVAL_SEED says where to begin: another set of runs. */
const FIRST_SEED = Number(process.env["SURVIVAL_SEED"] ?? 1);
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

export function randomCutsTest(workload: keyof typeof WORKLOADS, wanted: number, way?: WayName): void {
  test(
    `${workload}${way === undefined ? "" : `, ${way}`}: ${wanted} random cuts lose nothing that was flushed, and nothing hangs`,
    async () => {
      let made = 0;
      for (let seed = FIRST_SEED; made < wanted; seed++) {
        const options: RunOptions = {
          workload,
          seed,
          cuts: randomCuts(dice(seed)),
          ...(way === undefined ? {} : { way }),
        };
        const result = await runOnce(options);
        made += result.made;
        expect(result.wrong, describeRun(options)).toEqual([]);
      }
    },
    TIMEOUT_MS,
  );
}
