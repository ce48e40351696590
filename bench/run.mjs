/**
 * The benchmark: `npm run bench [-- --seconds 3 --rounds 3 --write]`. Needs fio with its nbd engine, and nbdkit for the baseline.
 *
 * Every workload runs on every target in turn, round after round, so that a machine that drifts drifts for all; a figure is the
 * median of the rounds. With --write the tables go into docs/benchmarks.md between its markers.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cpuSeconds, residentMiB, startNbdkit, startRumpusb, wakeUps } from "./targets.mjs";
import { WORKLOADS } from "./workloads.mjs";

const SIZE_MIB = 256;
const IDLE_SECONDS = 10;
const DOCUMENT = new URL("../docs/benchmarks.md", import.meta.url);

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "2" },
    rounds: { type: "string", default: "3" },
    write: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);

const rump = await startRumpusb(SIZE_MIB);
const nbdkit = await startNbdkit(SIZE_MIB);
const lines = [];
try {
  const targets = [rump, nbdkit].filter((target) => target !== undefined);
  const results = new Map(WORKLOADS.map((w) => [w.name, new Map()]));
  for (let round = 0; round < rounds; round++) {
    for (const workload of WORKLOADS)
      for (const target of targets) add(results, workload, target.name, runFio(target, workload));
    for (const [name, figure] of runDirect()) add(results, { name }, "direct", figure);
  }
  lines.push(...describeMachine(), "", ...tableOf(results), "", ...(await idleTable()));
} finally {
  await rump.stop();
  await nbdkit?.stop();
}
console.log(lines.join("\n"));
if (values.write) {
  const text = readFileSync(DOCUMENT, "utf8");
  const block = `<!-- bench -->\n${lines.join("\n")}\n<!-- /bench -->`;
  writeFileSync(
    DOCUMENT,
    text.replace(/<!-- bench -->[\s\S]*<!-- \/bench -->/, () => block),
  );
}

/** One fio run: operations per second, processor seconds per GiB by role. */
function runFio(target, workload) {
  const operation = `${workload.random ? "rand" : ""}${workload.write ? "write" : "read"}`;
  const before = Object.entries(target.pids).map(([role, pid]) => [role, cpuSeconds(pid)]);
  const fio = spawnSync(
    "fio",
    [
      "--name=bench",
      "--ioengine=nbd",
      `--uri=${target.uri}`,
      `--rw=${operation}`,
      `--bs=${workload.bytes}`,
      `--iodepth=${workload.depth}`,
      `--size=${SIZE_MIB}m`,
      `--runtime=${seconds}`,
      "--time_based",
      "--output-format=json",
    ],
    { encoding: "utf8", cwd: os.tmpdir(), maxBuffer: 1 << 24 },
  );
  if (fio.status !== 0) throw new Error(`fio: ${fio.stderr || fio.error}`);
  const [job] = JSON.parse(fio.stdout.slice(fio.stdout.indexOf("{"))).jobs;
  const side = workload.write ? job.write : job.read;
  const gib = side.io_bytes / 2 ** 30;
  const cpu = Object.fromEntries(before.map(([role, was]) => [role, (cpuSeconds(target.pids[role]) - was) / gib]));
  return { operationsPerSecond: side.iops, cpu, p99: side.clat_ns.percentile?.["99.000000"] / 1000 };
}

/** The driver alone against a model of its own: see direct.mjs. */
function* runDirect() {
  const folder = os.tmpdir();
  const socket = `${folder}/rumpusb-direct-${process.pid}.sock`;
  const script = fileURLToPath(new URL("direct.mjs", import.meta.url));
  const cli = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
  const shell = `node "$1" vdev flash-drive --listen "unix:$3" size=${SIZE_MIB}M >/dev/null & model=$!
    for n in $(seq 100); do [ -S "$3" ] && break; sleep 0.05; done
    node "$2" "$3" ${seconds}; status=$?; kill $model; wait $model; exit $status`;
  const run = spawnSync("bash", ["-c", shell, "bench", cli, script, socket], { encoding: "utf8" });
  if (run.status !== 0) throw new Error(`direct: ${run.stderr}`);
  for (const line of run.stdout.trim().split("\n")) {
    const { workload, operationsPerSecond, cpuPerGiB } = JSON.parse(line);
    yield [workload, { operationsPerSecond, cpu: { driver: cpuPerGiB } }];
  }
}

function add(results, workload, target, figure) {
  const byTarget = results.get(workload.name);
  byTarget.set(target, [...(byTarget.get(target) ?? []), figure]);
}

function tableOf(results) {
  const rows = [
    "| workload | rumpusb | of nbdkit | of direct | p99 µs | CPU s/GiB host + rump + model | nbdkit | direct |",
    "|---|---|---|---|---|---|---|---|",
  ];
  for (const workload of WORKLOADS) {
    const byTarget = results.get(workload.name);
    const rate = (name) => median((byTarget.get(name) ?? []).map((f) => f.operationsPerSecond));
    const ours = byTarget.get(rump.name) ?? [];
    const cpu = ["host", "rump", "model"].map((role) => median(ours.map((f) => f.cpu[role] ?? 0)).toFixed(2));
    const shown = (operations) =>
      workload.bytes >= 1 << 16
        ? `${((operations * workload.bytes) / 1e6).toFixed(0)} MB/s`
        : `${operations.toFixed(0)} /s`;
    const ratio = (name) => (rate(name) > 0 ? (rate(rump.name) / rate(name)).toFixed(2) : "–");
    rows.push(
      `| ${workload.name} | ${shown(rate(rump.name))} | ${ratio("nbdkit memory")} | ${ratio("direct")} | ${median(ours.map((f) => f.p99)).toFixed(0)} | ${cpu.join(" + ")} | ${shown(rate("nbdkit memory"))} | ${shown(rate("direct"))} |`,
    );
  }
  return rows;
}

/** What it costs to do nothing. */
async function idleTable() {
  const rows = ["| process | resident MiB | wake-ups in 10 s of idleness |", "|---|---|---|"];
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const before = Object.entries(rump.pids).map(([role, pid]) => [role, pid, wakeUps(pid)]);
  await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1000));
  for (const [role, pid, was] of before)
    rows.push(`| ${role} | ${residentMiB(pid).toFixed(0)} | ${wakeUps(pid) - was} |`);
  return rows;
}

function describeMachine() {
  const [cpu] = os.cpus();
  return [
    `${os.cpus().length} × ${cpu?.model ?? "unknown processor"}, Linux ${os.release()}, Node.js ${process.version}; flash drive of ${SIZE_MIB} MiB in memory; median of ${rounds} rounds of ${seconds} s.`,
  ];
}

function median(numbers) {
  const sorted = numbers.filter(Number.isFinite).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
