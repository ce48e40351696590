/** Runs a script of the tests in the sandbox of this machine, as this user or as another. */
import { spawn } from "node:child_process";
import { createSandbox } from "../../src/host/sandbox/sandbox.js";
import type { LockPurpose } from "../../src/rumpuser/real/lock.js";

export type Thread = "main" | "worker" | "pool";

export interface SweepRequest {
  readonly purpose: LockPurpose;
  readonly strict: boolean;
  readonly thread: Thread;
  readonly calls: readonly (readonly number[])[];
  /** The lock that kills, not the one that answers. */
  readonly real: boolean;
  /** Descriptors that may be devices; left out: one. */
  readonly deviceCount?: number;
}

export interface SweepResult {
  readonly locked: boolean;
  /** Undefined where the process ended before. */
  readonly results: number[] | undefined;
  readonly status: number | null;
  readonly signal: string | null;
}

const PROCESS_MS = 15_000;
export const FOLDER = import.meta.dirname;

export async function sweep(request: SweepRequest): Promise<SweepResult> {
  const sandbox = createSandbox({ profile: request.strict ? "strict" : "standard", extraPaths: [FOLDER, DIST] });
  const { file, args } = (await sandbox.plan()).command(`${FOLDER}/sweep-process.mjs`, [JSON.stringify(request)]);
  const child = spawn(file, args, {
    stdio: ["ignore", "pipe", "ignore", "pipe", "pipe"],
    env: {},
    timeout: PROCESS_MS,
    killSignal: "SIGKILL",
  });
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const [status, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (...how) => resolve(how));
  });
  const [first, second] = text.split("\n").filter((line) => line !== "");
  const results = second === undefined ? undefined : (JSON.parse(second) as number[]);
  return { locked: first !== undefined, results, status, signal };
}

export const DIST = new URL("../../dist", import.meta.url).pathname;
