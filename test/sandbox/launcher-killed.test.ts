/**
 * The launcher is killed before its child has a parent-death signal (prctl(2), PR_SET_PDEATHSIG): the child must end by itself.
 *
 * strace(1) holds the child at that call, so that the kill comes in time on any machine.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readChildren, readThreads } from "../../src/host/sandbox/proc-state.js";
import { createSandbox } from "../../src/host/sandbox/sandbox.js";
import { requireTool } from "../tools.js";

const NOBODY = 65534;
/** Long enough for the test to see where the child is, and to kill. */
const HELD_MS = 2_000;
const TIMEOUT_MS = 60_000;
const waiting = { timeout: 10 * HELD_MS, interval: 20 };

/** Waits for ever, as a rump process does whose device does not come. */
const PROGRAM = "setInterval(() => {}, 1 << 30);";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-lk-"));
  chmodSync(folder, 0o755);
});
afterEach(() => {
  for (const pid of programs()) process.kill(pid, "SIGKILL");
  rmSync(folder, { recursive: true });
});

/** Launchers and what they have become, strace aside: their arguments name the program of this test. */
function programs(): number[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => {
    const args = argumentsOf(pid);
    return !args.startsWith(STRACE) && args.includes(folder);
  });
}

/** "" for a process that has ended. */
function argumentsOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

const STRACE = "strace\0";

const isRoot = process.getuid?.() === 0;

/** The call that is held, by its number among the child's prctl(2) calls, and how it shows that the child has come to it. */
interface Held {
  readonly what: string;
  readonly call: number;
  readonly uid: number | undefined;
  readonly isThere: (child: number) => boolean;
}

const isNobody = (pid: number): boolean => readThreads(pid).every(({ uids }) => uids.every((uid) => uid === NOBODY));

const CASES: readonly Held[] = [
  { what: "the first one", call: 1, uid: undefined, isThere: () => true },
  // Behind the 64 calls that drop the bounding set; setresuid(2) has cleared the first signal.
  ...(isRoot
    ? [
        { what: "the second one, which only root's has", call: 66, uid: undefined, isThere: isNobody },
        { what: "the first one, of an ordinary user", call: 1, uid: NOBODY, isThere: () => true },
      ]
    : []),
];

describe("killed before its child has a parent-death signal", () => {
  test.for(CASES)("$what: nothing is left", { timeout: TIMEOUT_MS }, async ({ call, uid, isThere }, context) => {
    const strace = requireTool("strace", context);
    const program = join(folder, "program.mjs");
    const trace = join(folder, "trace");
    writeFileSync(program, PROGRAM);
    writeFileSync(trace, "");
    chmodSync(trace, 0o666);
    const plan = await createSandbox({ profile: "standard", extraPaths: [folder] }).plan();
    if (!plan.layers.namespaces) return context.skip("the launcher has no child where there are no namespaces");
    const { file, args } = plan.command(program, []);
    const hold = `inject=prctl:delay_enter=${HELD_MS * 1000}:when=${call}`;
    const tracer = spawn(strace, ["-f", "-o", trace, "-e", "trace=prctl", "-e", hold, file, ...args], {
      argv0: "strace",
      stdio: ["ignore", "ignore", "inherit", "pipe", "pipe"],
      cwd: "/",
      env: {},
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    const ended = once(tracer, "exit");
    // strace tries what the kernel can with children of its own first.
    const launcher = await only(() => childrenOf(tracer.pid ?? 0).filter((pid) => programs().includes(pid)));
    const child = await only(() => childrenOf(launcher));
    await expect.poll(() => isThere(child), waiting).toBe(true);
    process.kill(launcher, "SIGKILL");
    await expect.poll(programs, waiting).toEqual([]);
    await ended;
    expect(heldCalls(readFileSync(trace, "latin1"), child)).toEqual([expect.stringContaining("PR_SET_PDEATHSIG")]);
  });
});

/** What strace held a process at, as it wrote it: a line, or its beginning and the words with which it went on. */
function heldCalls(trace: string, pid: number): string[] {
  const own = trace.split("\n").filter((line) => line.startsWith(`${pid} `));
  const calls = own.join("\n").replaceAll(/<unfinished \.\.\.>\n.*resumed>/g, "");
  return calls.split("\n").filter((line) => line.includes("(DELAYED)"));
}

const childrenOf = (pid: number): number[] => readChildren(pid);

/** The one that there will be. */
async function only(read: () => number[]): Promise<number> {
  await expect.poll(() => read().length, waiting).toBe(1);
  return read()[0] ?? 0;
}
