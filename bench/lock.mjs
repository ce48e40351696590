/**
 * What the lock costs: the same stick driven without a sandbox, in the standard profile and with --strict.
 *
 *   node bench/lock.mjs [--seconds 2] [--rounds 5] [--only "1 MiB"] [--write]
 *
 * All three run at the same time, idle but for the one that is measured. A round measures each of them once, in turned order, and
 * a figure is the median over the rounds of the ratio to the one without a sandbox in the same round: a machine that drifts
 * drifts for all. --only: workloads whose name has this in it. A first round is not counted: V8 compiles meanwhile. Needs fio with its nbd engine.
 */
import { parseArgs } from "node:util";
import { runFio } from "./fio.mjs";
import { writeSection } from "./page.mjs";
import { describeMachine, median, table } from "./tables.mjs";
import { startRumpusb } from "./targets.mjs";
import { WORKLOADS } from "./workloads.mjs";

const SIZE_MIB = 64;
const WARM_UP_SECONDS = 2;
const VARIANTS = [
  { name: "no sandbox", options: ["--no-sandbox"] },
  { name: "standard", options: [] },
  { name: "strict", options: ["--strict"] },
];

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "2" },
    rounds: { type: "string", default: "5" },
    only: { type: "string", default: "" },
    write: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);
if (!(seconds > 0) || !(rounds >= 1)) {
  process.stderr.write("lock: --seconds and --rounds are numbers above 0\n");
  process.exit(2);
}

/** @returns for each variant its figures, one a round, of one workload. */
async function measure(targets, workload) {
  const figures = targets.map(() => []);
  for (const target of targets) await runFio(target, workload, WARM_UP_SECONDS, SIZE_MIB);
  for (let round = 0; round < rounds; round++)
    for (let turn = 0; turn < targets.length; turn++) {
      const at = (round + turn) % targets.length;
      const { operationsPerSecond, cpu } = await runFio(targets[at], workload, seconds, SIZE_MIB);
      figures[at].push({ operationsPerSecond, driver: cpu.driver, pud: cpu.pud });
    }
  return figures;
}

/** Of the second to the first, as a difference in percent: "+2.1 %". */
function difference(first, second, figure) {
  const ratio = median(first.map((one, round) => second[round][figure] / one[figure]));
  const percent = (ratio - 1) * 100;
  return `${percent < 0 ? "" : "+"}${percent.toFixed(1)} %`;
}

const targets = [];
try {
  for (const variant of VARIANTS) targets.push(await startRumpusb(SIZE_MIB, variant));
  const rows = [];
  for (const workload of WORKLOADS.filter(({ name }) => name.includes(values.only))) {
    const [plain, ...locked] = await measure(targets, workload);
    rows.push([
      workload.name,
      ...locked.map((one) => difference(plain, one, "operationsPerSecond")),
      ...locked.map((one) => difference(plain, one, "driver")),
      ...locked.map((one) => difference(plain, one, "pud")),
    ]);
  }
  const [, ...names] = VARIANTS.map(({ name }) => name);
  const head = [
    "against no sandbox",
    ...names.map((name) => `${name}, rate`),
    ...names.map((name) => `${name}, CPU of driver`),
    ...names.map((name) => `${name}, CPU of pud`),
  ];
  const lines = [describeMachine(SIZE_MIB, rounds, seconds), "", ...table(head, rows)];
  console.log(lines.join("\n"));
  if (values.write) writeSection("lock", lines);
} finally {
  for (const target of targets) await target.stop();
}
