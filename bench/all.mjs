/**
 * Every benchmark that has a section in docs/benchmarks.md, one after another: `npm run bench:all [-- --only NAME]`. Takes about
 * an hour; nothing else may run on the machine. What needs RUMPUSB_UML (lab/README.md) is left out, and said to be, where that is not set.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const BENCHMARKS = [
  { script: "run.mjs", args: [] },
  { script: "start.mjs", args: [] },
  { script: "survival.mjs", args: [] },
  { script: "survival.mjs", args: ["--signal", "SIGSTOP"] },
  { script: "lock.mjs", args: ["--only", "1 MiB", "--rounds", "15"] },
  { script: "uas.mjs", args: [] },
  { script: "lab.mjs", args: ["--rounds", "5"], inLab: true },
  { script: "serial-lab.mjs", args: [], inLab: true },
];

const { values } = parseArgs({ options: { only: { type: "string", default: "" } } });
for (const { script, args, inLab = false } of BENCHMARKS.filter((one) => one.script.startsWith(values.only))) {
  if (inLab && process.env.RUMPUSB_UML === undefined) {
    console.error(`${script}: left out, RUMPUSB_UML is not set`);
    continue;
  }
  console.error(`\n== ${[script, ...args].join(" ")}`);
  const path = fileURLToPath(new URL(script, import.meta.url));
  const { status, signal } = spawnSync(process.execPath, [path, ...args, "--write"], { stdio: "inherit" });
  if (status === 0) continue;
  console.error(`${script}: ended with ${signal ?? `status ${status}`}`);
  process.exitCode = 1;
}
