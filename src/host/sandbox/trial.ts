/** Tries the acts in throw-away processes under a sandbox, and says what became of each. */
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { LockProfile } from "../../rumpuser/real/lock.js";
import type { Clock } from "../../rumpuser/rumpuser.js";
import { HostError } from "../errors.js";
import { describeExit } from "../process-exit.js";
import { exitOf, started } from "../spawn.js";
import { waitAtMost } from "../waits.js";
import type { Act, ActGroup } from "./acts/act.js";
import type { ActLine, ActProcessConfig } from "./acts/act-process.js";
import { actsFor } from "./acts/all.js";
import type { SandboxPlan } from "./sandbox.js";

const ACT_PROCESS = fileURLToPath(new URL("./acts/act-process.js", import.meta.url));
/** One process, from its start to the act that ends it. */
const PROCESS_MS = 120_000;

export interface ActResult {
  readonly name: string;
  readonly group: ActGroup;
  /** "killed": the kernel ended the process, or the process itself in the attempt. */
  readonly outcome: "refused" | "killed" | "escaped";
  /** The error, or how the process ended. */
  readonly detail: string;
}

/**
 * As many processes at a time as there are processors; `onResult` is called as results come.
 *
 * @returns one result for each act, in their order.
 * @throws HostError FAILED: a process did not even begin.
 */
export async function tryActs(
  plan: SandboxPlan,
  profile: LockProfile,
  clock: Clock,
  onResult: (result: ActResult) => void = () => {},
): Promise<ActResult[]> {
  const acts = actsFor(profile);
  const lanes = availableParallelism();
  const ends = Array.from({ length: lanes }, (_, lane) => Math.round((acts.length * (lane + 1)) / lanes));
  const inOrder = await Promise.all(
    ends.map(async (to, lane) => {
      const results: ActResult[] = [];
      const first = ends[lane - 1] ?? 0;
      while (first + results.length < to) {
        const from = first + results.length;
        const batch = await runProcess(plan, { profile, locked: plan.lock !== undefined, from, to }, acts, clock);
        if (batch.length === 0) throw new HostError("FAILED", `the process that tries acts ended before act ${from}`);
        for (const result of batch) onResult(result);
        results.push(...batch);
      }
      return results;
    }),
  );
  return inOrder.flat();
}

/** The results of one process: those it printed, and that of the act that ended it. */
async function runProcess(
  plan: SandboxPlan,
  config: ActProcessConfig,
  acts: readonly Act[],
  clock: Clock,
): Promise<ActResult[]> {
  const { file, args } = plan.command(ACT_PROCESS, [JSON.stringify(config)]);
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "ignore", "pipe", "pipe"], env: {}, detached: true });
  const exit = exitOf(child);
  await started(child, "the process that tries acts");
  if (child.stdout === null) throw new Error("spawn made no pipe for the results");
  const results: ActResult[] = [];
  let trying: number | undefined;
  const add = (index: number, outcome: ActResult["outcome"], detail: string): void => {
    const { name, group } = acts[index] ?? { name: `act ${index}`, group: "kernel" };
    results.push({ name, group, outcome, detail });
  };
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (text) => {
    const line = JSON.parse(text) as ActLine;
    trying = "trying" in line ? line.trying : undefined;
    if (!("tried" in line)) return;
    if (line.refusal === undefined) add(line.tried, "escaped", "it worked");
    else add(line.tried, "refused", line.refusal);
  });
  const closed = new Promise<void>((resolve) => lines.once("close", resolve));
  const ended = await waitAtMost(clock, PROCESS_MS, exit);
  if (ended === undefined) child.kill("SIGKILL");
  await closed;
  const how = ended === undefined ? `nothing within ${PROCESS_MS / 1000} s` : describeExit(ended.value);
  if (trying !== undefined) add(trying, "killed", how);
  return results;
}
