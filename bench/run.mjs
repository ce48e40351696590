/**
 * The benchmark: `npm run bench [-- --seconds 3 --rounds 3 --write]`. Needs fio with its nbd engine, nbdkit for the baseline
 * and strace for the system calls; what is missing leaves a dash.
 *
 * Every workload runs on every target in turn, round after round and in turned order, so that a machine that drifts drifts for
 * all; a figure is the median of the rounds. A first round is not counted: V8 compiles meanwhile. With --write the tables go
 * into docs/benchmarks.md between its markers.
 */
import { spawnSync } from "node:child_process";
import os from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { callsPerOperation, runFio } from "./fio.mjs";
import { writeSection } from "./page.mjs";
import { familyOf, memoryOf, wakeUps } from "./processes.mjs";
import { bytesPerSecond, describeMachine, median, table } from "./tables.mjs";
import { startNbdkit, startRumpusb } from "./targets.mjs";
import { WORKLOADS } from "./workloads.mjs";

const SIZE_MIB = 256;
const WARM_UP_SECONDS = 1;
/** V8 gives memory back some time after the last work was done: once, 20 to 40 s later. */
const SETTLE_SECONDS = 60;
const IDLE_SECONDS = 10;
const DEVICE_COUNTS = [1, 2, 4, 8, 16];
const ROLES = ["host", "pud", "driver", "model"];

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
const lines = [describeMachine(SIZE_MIB, rounds, seconds)];
try {
  const atStart = memory(rump);
  const results = await measure([rump, nbdkit].filter((target) => target !== undefined));
  lines.push("", ...rateTable(results), "", ...(await costTable(results)), "", ...(await processTable(atStart)));
} finally {
  await rump.stop();
  await nbdkit?.stop();
}
lines.push("", ...(await deviceTable()));
console.log(lines.join("\n"));
if (values.write) writeSection("bench", lines);

/** Resolves with the figures of the rounds: by workload, then by target. */
async function measure(targets) {
  const results = new Map(WORKLOADS.map((w) => [w.name, new Map()]));
  for (const target of targets)
    for (const workload of WORKLOADS) await runFio(target, workload, WARM_UP_SECONDS, SIZE_MIB);
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? targets : targets.toReversed();
    for (const workload of WORKLOADS)
      for (const target of order)
        add(results, workload.name, target.name, await runFio(target, workload, seconds, SIZE_MIB));
    for (const [name, figure] of runDirect()) add(results, name, "direct", figure);
  }
  return results;
}

function add(results, workload, target, figure) {
  const byTarget = results.get(workload);
  byTarget.set(target, [...(byTarget.get(target) ?? []), figure]);
}

/** The driver alone against a model of its own: see direct.mjs. */
function* runDirect() {
  const socket = `${os.tmpdir()}/rumpusb-direct-${process.pid}.sock`;
  const script = fileURLToPath(new URL("direct.mjs", import.meta.url));
  const cli = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
  const shell = `node "$1" vdev flash-drive --listen "unix:$3" size=${SIZE_MIB}M >/dev/null & model=$!
    for n in $(seq 100); do [ -S "$3" ] && break; sleep 0.05; done
    node "$2" "$3" ${seconds}; status=$?; kill $model; wait $model; exit $status`;
  const run = spawnSync("bash", ["-c", shell, "bench", cli, script, socket], { encoding: "utf8" });
  if (run.status !== 0) throw new Error(`direct: ${run.stderr}`);
  for (const line of run.stdout.trim().split("\n")) {
    const { workload, operationsPerSecond } = JSON.parse(line);
    yield [workload, { operationsPerSecond }];
  }
}

function rateTable(results) {
  const rows = WORKLOADS.map((workload) => {
    const byTarget = results.get(workload.name);
    const rate = (name) => median((byTarget.get(name) ?? []).map((f) => f.operationsPerSecond));
    const ours = byTarget.get(rump.name);
    const ratio = (name) => (rate(rump.name) / rate(name)).toFixed(2);
    const latency = [0, 1, 2].map((at) => median(ours.map((f) => f.latencyUs[at])).toFixed(0));
    const shown = (name) => bytesPerSecond(workload, rate(name));
    return [
      workload.name,
      shown(rump.name),
      ratio("nbdkit memory"),
      ratio("direct"),
      latency.join(" / "),
      shown("nbdkit memory"),
      shown("direct"),
    ];
  });
  return table(
    ["workload", "rumpusb", "of nbdkit", "of direct", "p50 / p99 / p99.9 µs", "nbdkit memory", "direct"],
    rows,
  );
}

/** What one operation costs each process. */
async function costTable(results) {
  const rows = [];
  for (const workload of WORKLOADS) {
    const ours = results.get(workload.name).get(rump.name);
    const perRole = (figure) => ROLES.map((role) => figure(role)).join(" + ");
    const calls = [];
    for (const role of ROLES) calls.push((await callsPerOperation(rump, role, workload, SIZE_MIB))?.toFixed(1) ?? "–");
    const cpu = (role) => median(ours.map((f) => f.cpu[role]));
    rows.push([
      workload.name,
      perRole((role) => cpu(role).toFixed(2)),
      perRole((role) => ((cpu(role) * 1e6 * workload.bytes) / 2 ** 30).toFixed(0)),
      perRole((role) => median(ours.map((f) => f.wakeUps[role])).toFixed(1)),
      calls.join(" + "),
    ]);
  }
  return table(
    ["host + pud + driver + flash drive", "CPU s/GiB", "CPU µs each", "wake-ups each", "system calls each"],
    rows,
  );
}

/** Memory, and what it costs to do nothing. */
async function processTable(atStart) {
  const loaded = memory(rump);
  await new Promise((resolve) => setTimeout(resolve, SETTLE_SECONDS * 1000));
  const before = Object.values(rump.pids).map(wakeUps);
  await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1000));
  const shown = ({ residentMiB, privateMiB }) => `${residentMiB.toFixed(0)} / ${privateMiB.toFixed(0)}`;
  const rows = Object.entries(rump.pids).map(([role, pid], at) => [
    role,
    shown(atStart[at]),
    shown(loaded[at]),
    wakeUps(pid) - before[at],
  ]);
  const title = "resident / private MiB";
  return table(["process", `${title} when ready`, "after the load", `wake-ups in ${IDLE_SECONDS} s of idleness`], rows);
}

function memory(target) {
  return Object.values(target.pids).map(memoryOf);
}

/** Time to ready and memory of one host with several small devices, beside Node.js itself. */
async function deviceTable() {
  const bare = Array.from({ length: 5 }, () => {
    const startedMs = performance.now();
    spawnSync(process.execPath, ["-e", "0"]);
    return performance.now() - startedMs;
  });
  const rows = [];
  for (const devices of DEVICE_COUNTS) {
    const target = await startRumpusb(16, { devices });
    const privateMiB = familyOf(target.pids.host).reduce((sum, pid) => sum + memoryOf(pid).privateMiB, 0);
    await target.stop();
    rows.push([devices, target.readyMs.toFixed(0), privateMiB.toFixed(0)]);
  }
  const bareMs = median(bare).toFixed(0);
  return table(["devices", `ms to ready (\`node -e 0\`: ${bareMs})`, "private MiB of all processes"], rows);
}
