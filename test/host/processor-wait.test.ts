import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, test, vi } from "vitest";
import { parseThreadTimes, ProcessorWait, readThreadTimes, type ThreadTimes } from "../../src/host/processor-wait.js";
import { requireTool } from "../tools.js";

const thread = (isRunnable: boolean, ranMs: number, waitedMs: number): ThreadTimes => ({ isRunnable, ranMs, waitedMs });

describe("between two calls 100 ms apart", () => {
  test.each([
    ["asleep", thread(false, 5, 1), thread(false, 5, 1), 0],
    ["an endless loop", thread(true, 5, 1), thread(true, 105, 1), 0],
    ["an endless loop with a third of a processor", thread(true, 5, 1), thread(true, 38, 61), 67],
    ["on a run queue all the time", thread(true, 5, 1), thread(true, 5, 1), 100],
    ["on a run queue, then asleep", thread(true, 5, 1), thread(false, 8, 71), 70],
    ["asleep, woken, had to wait", thread(false, 5, 1), thread(true, 9, 41), 40],
    ["a wait that began long ago and ended now", thread(true, 5, 1), thread(false, 6, 5001), 100],
    ["stopped", thread(true, 5, 1), thread(false, 5, 1), 0],
  ])("%s", (_, before, now, waitedMs) => {
    const readings = [before, now];
    let nowMs = 1000;
    const wait = new ProcessorWait(
      () => new Map([[7, readings.shift() ?? now]]),
      () => nowMs,
    );
    expect(wait.sinceLastMs()).toBe(0);
    nowMs += 100;
    expect(wait.sinceLastMs()).toBe(waitedMs);
  });

  test("the thread that waited longest counts, and one that is new does not", () => {
    const before = new Map([
      [7, thread(false, 5, 1)],
      [8, thread(true, 0, 0)],
    ]);
    const now = new Map([...before, [9, thread(true, 1, 90)]]);
    const readings = [before, now];
    let nowMs = 0;
    const wait = new ProcessorWait(
      () => readings.shift() ?? now,
      () => nowMs,
    );
    wait.sinceLastMs();
    nowMs = 100;
    expect(wait.sinceLastMs()).toBe(100);
  });
});

test("a kernel that does not count says 0: nothing is known then", () => {
  expect(parseThreadTimes("0 0 0\n", "7 (node) R 1")).toBeUndefined();
  expect(parseThreadTimes("", "7 (node) R 1")).toBeUndefined();
});

test("the name of a process may look like its state", () => {
  expect(parseThreadTimes("1000000 2000000 3\n", "7 (a) R (b) S 1 7")).toEqual(thread(false, 1, 2));
});

describe("real processes", () => {
  let processes: ChildProcess[] = [];
  afterEach(() => {
    for (const one of processes) one.kill("SIGKILL");
    processes = [];
  });

  const LOOP = ["-e", "process.stdout.write('.');for(;;);"];

  const stateOf = (pid = 0): string | undefined => / ([A-Z]) \d/.exec(readFileSync(`/proc/${pid}/stat`, "latin1"))?.[1];

  async function looping(command: string, ...args: string[]): Promise<ProcessorWait> {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
    processes.push(child);
    await once(child.stdout, "data");
    const wait = new ProcessorWait(
      () => readThreadTimes(child.pid ?? 0),
      () => performance.now(),
    );
    wait.sinceLastMs();
    return wait;
  }

  test("seven on one processor wait most of the time; one that is stopped does not", async (context) => {
    if (readThreadTimes(process.pid).size === 0) context.skip("this kernel has no schedstat");
    const taskset = requireTool("taskset", context);
    const waits: ProcessorWait[] = [];
    for (let count = 0; count < 7; count++) waits.push(await looping(taskset, "-c", "0", process.execPath, ...LOOP));
    for (const wait of waits) wait.sinceLastMs();
    const fromMs = performance.now();
    await delay(600);
    // One of them runs at a time, whoever else wants the processor: six in seven, or more.
    const waitedMs = waits.reduce((sum, wait) => sum + wait.sinceLastMs(), 0);
    expect(waitedMs / waits.length).toBeGreaterThan(0.6 * (performance.now() - fromMs));
    const last = processes.at(-1);
    last?.kill("SIGSTOP");
    // It stops when it gets the processor next.
    await vi.waitFor(() => expect(stateOf(last?.pid)).toBe("T"), { timeout: 5_000 });
    waits.at(-1)?.sinceLastMs();
    await delay(300);
    expect(waits.at(-1)?.sinceLastMs()).toBeLessThan(30);
  });

  test("one that has gone tells nothing", async () => {
    const child = spawn(process.execPath, ["-e", ""]);
    await once(child, "exit");
    expect(readThreadTimes(child.pid ?? 0).size).toBe(0);
  });
});
