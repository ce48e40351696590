/** One workload on one target, by fio. */
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { cpuSeconds, systemCalls, wakeUps } from "./processes.mjs";

/** Operations of a run in which system calls are counted: strace is slow. */
const COUNTED_OPERATIONS = 2000;

/**
 * @returns {{ operationsPerSecond: number, cpu: Record<string, number>, wakeUps: Record<string, number>, latencyUs: number[] }}
 *   by role: processor seconds per GiB, wake-ups per operation. Latencies: p50, p99, p99.9.
 */
export function runFio(target, workload, seconds, sizeMiB) {
  const before = Object.entries(target.pids).map(([role, pid]) => ({
    role,
    pid,
    cpu: cpuSeconds(pid),
    woken: wakeUps(pid),
  }));
  const job = fio(target, workload, sizeMiB, ["--time_based", `--runtime=${seconds}`]);
  const gib = job.io_bytes / 2 ** 30;
  const percentile = (p) => (job.clat_ns.percentile?.[p] ?? Number.NaN) / 1000;
  return {
    operationsPerSecond: job.iops,
    cpu: Object.fromEntries(before.map(({ role, pid, cpu }) => [role, (cpuSeconds(pid) - cpu) / gib])),
    wakeUps: Object.fromEntries(before.map(({ role, pid, woken }) => [role, (wakeUps(pid) - woken) / job.total_ios])),
    latencyUs: ["50.000000", "99.000000", "99.900000"].map(percentile),
  };
}

/** System calls per operation of one of the target's processes; undefined where they cannot be counted. */
export async function callsPerOperation(target, role, workload, sizeMiB) {
  const operations = Math.min(COUNTED_OPERATIONS, (sizeMiB * 2 ** 20) / workload.bytes);
  const size = ["--number_ios=" + operations];
  const calls = await systemCalls(target.pids[role], () => fio(target, workload, sizeMiB, size));
  return calls === undefined ? undefined : calls / operations;
}

function fio(target, workload, sizeMiB, extraArguments) {
  const run = spawnSync(
    "fio",
    [
      "--name=bench",
      "--ioengine=nbd",
      `--uri=${target.uri}`,
      `--rw=${workload.random ? "rand" : ""}${workload.write ? "write" : "read"}`,
      `--bs=${workload.bytes}`,
      `--iodepth=${workload.depth}`,
      `--size=${sizeMiB}m`,
      "--output-format=json",
      ...extraArguments,
    ],
    { encoding: "utf8", cwd: tmpdir(), maxBuffer: 1 << 24 },
  );
  if (run.status !== 0) throw new Error(`fio: ${run.stderr || run.error}`);
  const [job] = JSON.parse(run.stdout.slice(run.stdout.indexOf("{"))).jobs;
  return workload.write ? job.write : job.read;
}
