/** Runs `lab/run` and turns its result lines into tests: one boot, many tests. */
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import type { Boot } from "./checks.js";

export const ROOT = resolve(import.meta.dirname, "../..");
/** lab/run's status for "this machine cannot boot such a kernel". */
const CANNOT_RUN = 77;
/** A reason that starts so names something to install; anywhere else than in CI it is a reason to skip. */
const MISSING = /^missing /;

export interface LabResult {
  readonly script: string;
  readonly outcome: "PASS" | "FAIL" | "SKIP";
  readonly name: string;
  readonly reason: string;
}

export interface LabRun {
  readonly results: readonly LabResult[];
  /** Exit status of lab/run (lab/README.md). */
  readonly status: number;
  readonly stderr: string;
}

/** @param args  Of lab/run; script names are relative to the checkout. */
export function runLab(args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<LabRun> {
  return new Promise((done, reject) => {
    const child = spawn("lab/run", args, { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.on("error", reject);
    child.on("close", (code) => done({ results: parseResults(stdout), status: code ?? -1, stderr }));
  });
}

/** The result lines of lab/run's stdout, each with the script that gave it. */
export function parseResults(stdout: string): LabResult[] {
  const results: LabResult[] = [];
  let script = "";
  for (const line of stdout.split("\n")) {
    if (line.startsWith("# ")) script = line.slice(2);
    const [, outcome, name, reason] = /^(PASS|FAIL|SKIP) (.+?)(?:: (.*))?$/.exec(line) ?? [];
    if ((outcome === "PASS" || outcome === "FAIL" || outcome === "SKIP") && name !== undefined)
      results.push({ script, outcome, name, reason: reason ?? "" });
  }
  return results;
}

/** Guests at a time: one of QEMU's takes a processor and a bit, one of User Mode Linux is idle more than half of the time. */
const GUESTS_AT_ONCE = availableParallelism() + 1;

/** Runs every boot, the first ones first. */
export async function runBoots(boots: readonly Boot[]): Promise<ReadonlyMap<Boot, LabRun>> {
  const runs = new Map<Boot, LabRun>();
  const left = boots.values();
  const worker = async (_: unknown, processor: number) => {
    for (const boot of left) runs.set(boot, await runLab(argumentsOf(boot, processor)));
  };
  await Promise.all(Array.from({ length: Math.min(GUESTS_AT_ONCE, boots.length) }, worker));
  return runs;
}

function argumentsOf({ kernel, scripts, devices = [] }: Boot, processor: number): string[] {
  const sets = devices.flatMap((set) => ["--with", set]);
  const paths = scripts.map((script) => `lab/checks/${script}`);
  return ["--kernel", kernel, "--offline", "--processor", String(processor), ...sets, ...paths];
}

/** Declares one test for each result, and one for the run as a whole. Where the lab cannot run, one test skips with the reason. */
export function declareResults({ name, kernel }: Boot, run: LabRun): void {
  if (run.status === CANNOT_RUN) {
    const reason = /^lab: (.*)$/m.exec(run.stderr.trim().split("\n").pop() ?? "")?.[1] ?? "no reason given";
    test(`the lab boots (${kernel}, ${name})`, ({ skip }) => skipOrFail(reason, skip));
    return;
  }
  for (const script of new Set(run.results.map((result) => result.script)))
    describe(`${script || "lab"} (${kernel})`, () => {
      for (const result of run.results.filter((candidate) => candidate.script === script))
        test(result.name, ({ skip }) => {
          if (result.outcome === "SKIP") skipOrFail(result.reason, skip);
          expect.soft(result.reason, result.name).toBe("");
          expect(result.outcome).toBe("PASS");
        });
    });
  test(`the run came to its end (${kernel}, ${name})`, () => {
    expect(run.stderr.includes("before all scripts had run"), run.stderr).toBe(false);
    expect(run.results.length).toBeGreaterThan(0);
  });
}

/** In CI everything that can be installed is: there, a missing tool is a failure. */
function skipOrFail(reason: string, skip: (note: string) => never): never {
  if (process.env["CI"] === "true" && MISSING.test(reason)) throw new Error(`in CI nothing may be missing: ${reason}`);
  return skip(reason);
}
