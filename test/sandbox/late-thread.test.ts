/**
 * A thread that was started before the lock and comes to its first instructions after it: libc registers it with the kernel then (rseq(2),
 * set_robust_list(2)), and ends the process where that is refused to one thread and was not to another.
 *
 * strace(1) holds each thread at its first rseq(2). The process has a filter from its start, as one that the launcher starts has: for a
 * call that has begun without one the kernel asks none that comes meanwhile.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createSandbox } from "../../src/host/sandbox/sandbox.js";
import { requireTool, runTool } from "../tools.js";

const FOLDER = import.meta.dirname;
const HELD_MS = 1_000;
const TIMEOUT_MS = 60_000;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-lt-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

test.for(["standard", "strict"] as const)(
  "profile %s: it lives, and so does the process",
  {
    timeout: TIMEOUT_MS,
  },
  async (profile, context) => {
    const strace = requireTool("strace", context);
    const trace = join(folder, "trace");
    const calls = [
      "-e",
      "trace=rseq,set_robust_list,seccomp",
      "-e",
      `inject=rseq:delay_enter=${HELD_MS * 1000}:when=1`,
    ];
    const plan = await createSandbox({ profile, extraPaths: [FOLDER] }).plan();
    const { file, args } = plan.command(`${FOLDER}/late-thread-process.cjs`, [profile, String(3 * HELD_MS)]);
    const run = await runTool(strace, ["-f", "-o", trace, ...calls, file, ...args], TIMEOUT_MS);
    const { exitCode, stdout, stderr } = run;
    expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: "alive\n" });
    const lines = readFileSync(trace, "latin1").split("\n");
    const locked = lines.findIndex((line) => line.includes("SECCOMP_FILTER_FLAG_TSYNC"));
    // The thread was there when the process locked itself: this is no thread that was quick enough.
    const late = lines.slice(locked).filter((line) => /rseq.*= 0 \(DELAYED\)/.test(line));
    expect(locked, lines.join("\n")).toBeGreaterThan(0);
    expect(late.length, lines.join("\n")).toBeGreaterThan(0);
  },
);
