/**
 * How long a process has waited for a processor, as the kernel says from outside: /proc/PID/task/TID/schedstat and stat
 * (Linux Documentation/scheduler/sched-stats.rst, proc(5)).
 *
 * A busy machine is no hang. What counts is the thread that waited longest: the one that must answer, or one on which it
 * waits. Time that a thread ran, slept or was stopped is no waiting; an endless loop and a SIGSTOP show none.
 */
import { readdirSync, readFileSync } from "node:fs";

/** What was read of one thread. */
export interface ThreadTimes {
  /** Ready to run, or running. */
  readonly isRunnable: boolean;
  readonly ranMs: number;
  /** On a run queue, up to when it was taken from it last: a wait that lasts still is not in it. */
  readonly waitedMs: number;
}

const NS_PER_MS = 1_000_000;

export class ProcessorWait {
  readonly #read: () => ReadonlyMap<number, ThreadTimes>;
  readonly #nowMs: () => number;
  #lastAtMs = 0;
  #last: ReadonlyMap<number, ThreadTimes> = new Map();

  /** @param read  The threads of the process; none where the kernel does not tell, or when it has gone. */
  constructor(read: () => ReadonlyMap<number, ThreadTimes>, nowMs: () => number) {
    this.#read = read;
    this.#nowMs = nowMs;
  }

  /** Since the last call, and 0 at the first. */
  sinceLastMs(): number {
    const threads = this.#read();
    const nowMs = this.#nowMs();
    const waits = [...threads].map(([tid, now]) => waitBetween(this.#last.get(tid), now, nowMs - this.#lastAtMs));
    this.#last = threads;
    this.#lastAtMs = nowMs;
    return Math.max(0, ...waits);
  }
}

function waitBetween(before: ThreadTimes | undefined, now: ThreadTimes, elapsedMs: number): number {
  if (before === undefined) return 0;
  // One that was runnable at both ends has run or waited between them; the kernel does not tell of a wait that lasts still.
  const unwritten = before.isRunnable && now.isRunnable ? elapsedMs - (now.ranMs - before.ranMs) : 0;
  return Math.min(elapsedMs, Math.max(unwritten, now.waitedMs - before.waitedMs));
}

/** @returns none where the kernel has no schedstat (CONFIG_SCHED_INFO), and none of a process that has gone. */
export function readThreadTimes(pid: number): ReadonlyMap<number, ThreadTimes> {
  const threads = new Map<number, ThreadTimes>();
  try {
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      const folder = `/proc/${pid}/task/${tid}`;
      const times = parseThreadTimes(
        readFileSync(`${folder}/schedstat`, "latin1"),
        readFileSync(`${folder}/stat`, "latin1"),
      );
      if (times !== undefined) threads.set(Number(tid), times);
    }
  } catch {
    return threads; // a thread or the process has gone meanwhile, or there is no such file
  }
  return threads;
}

/** @returns undefined where the kernel has the file and does not count: it says 0 then. */
export function parseThreadTimes(schedstat: string, stat: string): ThreadTimes | undefined {
  const [ranNs = 0, waitedNs = 0] = schedstat.split(" ").map(Number);
  if (!(ranNs > 0) || !(waitedNs >= 0)) return undefined;
  // The state follows the name in parentheses, which may hold anything.
  const isRunnable = stat.charAt(stat.lastIndexOf(")") + 2) === "R";
  return { isRunnable, ranMs: ranNs / NS_PER_MS, waitedMs: waitedNs / NS_PER_MS };
}
