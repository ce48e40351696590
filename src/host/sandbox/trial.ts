/** Tries the acts in throw-away processes under a sandbox, and says what became of each. */
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import net from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { sendFd } from "../../rumpuser/real/addon.js";
import { fdOfSocket } from "../../rumpuser/real/byte-stream.js";
import type { LockProfile, LockPurpose } from "../../rumpuser/real/lock.js";
import type { Clock } from "../../rumpuser/rumpuser.js";
import { HostError } from "../errors.js";
import { describeExit } from "../process-exit.js";
import { exitOf, started } from "../spawn.js";
import { waitAtMost } from "../waits.js";
import type { Act, ActGroup } from "./acts/act.js";
import type { ActLine, ActProcessConfig } from "./acts/act-process.js";
import { actsFor } from "./acts/all.js";
import { type SandboxPlan, SERVING_LIMITS } from "./sandbox.js";
import { type Gifts, makeGifts } from "./trial-gifts.js";

const ACT_PROCESS = fileURLToPath(new URL("./acts/act-process.js", import.meta.url));
/** One process, from its start to the act that ends it. */
const PROCESS_MS = 120_000;

export interface ActResult {
  /** What the process was locked for: to drive a device, or to serve clients. */
  readonly purpose: LockPurpose;
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
  lock: { readonly purpose: LockPurpose; readonly profile: LockProfile },
  clock: Clock,
  onResult: (result: ActResult) => void = () => {},
): Promise<ActResult[]> {
  const gifts = lock.purpose === "serve" ? await makeGifts() : undefined;
  try {
    return await tryAll({ plan, ...lock, clock, gifts }, onResult);
  } finally {
    gifts?.close();
  }
}

interface Trial {
  readonly plan: SandboxPlan;
  readonly purpose: LockPurpose;
  readonly profile: LockProfile;
  readonly clock: Clock;
  readonly gifts: Gifts | undefined;
}

async function tryAll(trial: Trial, onResult: (result: ActResult) => void): Promise<ActResult[]> {
  const { plan, purpose, profile } = trial;
  const acts = actsFor(purpose, profile);
  const lanes = availableParallelism();
  const ends = Array.from({ length: lanes }, (_, lane) => Math.round((acts.length * (lane + 1)) / lanes));
  const inOrder = await Promise.all(
    ends.map(async (to, lane) => {
      const results: ActResult[] = [];
      const first = ends[lane - 1] ?? 0;
      while (first + results.length < to) {
        const from = first + results.length;
        const config = { purpose, profile, locked: plan.lock !== undefined, from, to };
        const batch = await runProcess(trial, config, acts);
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
  { plan, clock, gifts }: Trial,
  config: ActProcessConfig,
  acts: readonly Act[],
): Promise<ActResult[]> {
  const { file, args } = plan.command(ACT_PROCESS, [JSON.stringify(config)], {
    limits: config.purpose === "serve" ? SERVING_LIMITS : undefined,
  });
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "ignore", "pipe", "pipe"], env: {}, detached: true });
  const exit = exitOf(child);
  await started(child, "the process that tries acts");
  const way = child.stdio[4];
  if (child.stdout === null || !(way instanceof net.Socket)) throw new Error("spawn made no pipes");
  way.on("error", () => {}); // it ended
  for (const fd of gifts?.fds ?? []) sendFd(fdOfSocket(way), fd);
  const results: ActResult[] = [];
  let trying: number | undefined;
  const add = (index: number, outcome: ActResult["outcome"], detail: string): void => {
    const { name, group } = acts[index] ?? { name: `act ${index}`, group: "kernel" };
    results.push({ purpose: config.purpose, name, group, outcome, detail });
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
