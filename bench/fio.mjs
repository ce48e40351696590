/** One workload on one target, by fio. */
import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { promisify } from "node:util";
import { measured, systemCalls } from "./processes.mjs";

/** Operations of a run in which system calls are counted: strace is slow. */
const COUNTED_OPERATIONS = 2000;

/**
 * @returns {Promise<{ operationsPerSecond: number, cpu: Record<string, number>, wakeUps: Record<string, number>, latencyUs: number[] }>}
 *   by role: processor seconds per GiB, wake-ups per operation. Latencies: p50, p99, p99.9.
 */
export async function runFio(target, workload, seconds, sizeMiB) {
  const work = () => fio(target, workload, sizeMiB, ["--time_based", `--runtime=${seconds}`]);
  const { result: job, cpu, woken } = await measured(`${target.name}, ${workload.name}`, target.pids, work);
  const percentile = (p) => (job.clat_ns.percentile?.[p] ?? Number.NaN) / 1000;
  return {
    operationsPerSecond: job.iops,
    cpu: each(cpu, job.io_bytes / 2 ** 30),
    wakeUps: each(woken, job.total_ios),
    latencyUs: ["50.000000", "99.000000", "99.900000"].map(percentile),
  };
}

function each(byRole, count) {
  return Object.fromEntries(Object.entries(byRole).map(([role, value]) => [role, value / count]));
}

/** System calls per operation of one of the target's processes; undefined where they cannot be counted. */
export async function callsPerOperation(target, role, workload, sizeMiB) {
  const operations = Math.min(COUNTED_OPERATIONS, (sizeMiB * 2 ** 20) / workload.bytes);
  const size = ["--number_ios=" + operations];
  const calls = await systemCalls(target.pids[role], () => fio(target, workload, sizeMiB, size));
  return calls === undefined ? undefined : calls / operations;
}

async function fio(target, workload, sizeMiB, extraArguments) {
  const { stdout } = await promisify(execFile)(
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
  const [job] = JSON.parse(stdout.slice(stdout.indexOf("{"))).jobs;
  return workload.write ? job.write : job.read;
}
