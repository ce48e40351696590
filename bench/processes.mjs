/** What a process costs, as Linux counts it (proc(5)). */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readChildren } from "../dist/host/sandbox/proc-state.js";

const MAX_ATTEMPTS = 4;
/** Until the word of it has come. */
const REPLACED_MS = 1000;

/** Processor seconds used, from /proc/PID/stat (fields 14 and 15, in 1/100 s). */
export function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** As `cpuSeconds`, to the nanosecond, but for threads that have ended: /proc/PID/task/TID/schedstat (Documentation/scheduler/sched-stats). */
export function fineCpuSeconds(pid) {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`))
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1").split(" ")[0]);
  return nanoseconds / 1e9;
}

/** Resident memory, and the part of it that no other process shares (Node's own code is shared), in MiB. */
export function memoryOf(pid) {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
  const mib = (key) => Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(rollup)?.[1] ?? 0) / 1024;
  return { residentMiB: mib("Rss"), privateMiB: mib("Private_Clean") + mib("Private_Dirty") };
}

/** Context switches of its own accord, of all its threads, since it started: its wake-ups. */
export function wakeUps(pid) {
  let count = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`))
    count += Number(
      /^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/task/${thread}/status`, "latin1"))?.[1] ?? 0,
    );
  return count;
}

/**
 * System calls of all threads of a process while `work` runs, but for those of these names.
 * @returns {Promise<number | undefined>} undefined where strace is missing or may not look.
 */
export async function systemCalls(pid, work, without = []) {
  if (spawnSync("strace", ["--version"]).status !== 0) return undefined;
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-bench-"));
  const table = join(folder, "calls");
  try {
    const tracer = spawn("strace", ["-f", "-c", "-o", table, "-p", String(pid)], { stdio: "ignore" });
    const ended = new Promise((resolve) => tracer.once("exit", resolve));
    while (tracer.exitCode === null && !isTraced(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
    await work();
    tracer.kill("SIGINT");
    await ended;
    return countedCalls(readFileSync(table, "latin1"), [...without, "total"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Rows of `strace -c`: % time, seconds, usecs/call, calls, errors or nothing, name. */
function countedCalls(table, without) {
  const rows = table.matchAll(/^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$/gm);
  return Array.from(rows, ([, calls, name]) => (without.includes(name) ? 0 : Number(calls))).reduce((a, b) => a + b, 0);
}

/**
 * Runs `work` and tells what each process used meanwhile. A driver that a busy machine takes for hanging is replaced; then `work` is
 * run again, because nobody knows what the one that has gone has used.
 *
 * @template T
 * @param {string} what  for the error
 * @param {Record<string, number>} pids  by role; kept up to date by others
 * @param {() => Promise<T>} work
 * @returns {Promise<{ result: T, cpu: Record<string, number>, woken: Record<string, number> }>} by role: seconds, wake-ups
 * @throws Error when a process was replaced in each of a few attempts
 */
export async function measured(what, pids, work) {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const before = Object.entries(pids).map(([role, pid]) => ({ role, pid, ...usedBy(pid) }));
    const result = await work();
    const after = before.map(({ role, pid }) => (pids[role] === pid ? usedBy(pid) : undefined));
    if (!after.includes(undefined)) {
      const used = (figure) => Object.fromEntries(before.map((was, at) => [was.role, after[at][figure] - was[figure]]));
      return { result, cpu: used("cpu"), woken: used("woken") };
    }
    await new Promise((resolve) => setTimeout(resolve, REPLACED_MS));
  }
  throw new Error(`${what}: a process was replaced in each of ${MAX_ATTEMPTS} attempts`);
}

/** Undefined: it has gone. */
function usedBy(pid) {
  try {
    return { cpu: cpuSeconds(pid), woken: wakeUps(pid) };
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ESRCH") return undefined;
    throw error;
  }
}

function isTraced(pid) {
  return /^TracerPid:\s+[1-9]/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
}

export function commandOf(pid) {
  return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
}

/**
 * The processes of a `rumpusb run` by role, once it has told of its device. A checkout from before there was a pud process has none.
 *
 * @returns {Record<string, number>}
 */
export function processesOf(hostPid, driverPid) {
  // In a pid namespace its launcher comes before it, with the same script among its arguments.
  const pud = familyOf(hostPid).findLast(isPudProcess);
  return { host: hostPid, ...(pud === undefined ? {} : { pud }), driver: driverPid };
}

export function isPudProcess(pid) {
  return commandOf(pid).includes("/pud-process.cjs ");
}

/** The process and everything below it. */
export function familyOf(pid) {
  return [pid, ...readChildren(pid).flatMap(familyOf)];
}
