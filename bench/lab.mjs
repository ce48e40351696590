/**
 * The driver against the kernel's own, against C and against nbdkit: `node bench/lab.mjs [--rounds 7] [--groups switch,slow,growth,levels,path] [--write]`.
 * Needs RUMPUSB_UML (lab/README.md) and a compiler; `npm run build` first. The group `profile` tells where the time of a small read goes;
 * `--groups against --other FOLDER` compares with another checkout, built, whose path has no blanks.
 *
 * The devices are the kernel's mass_storage gadgets, high speed with a 125 µs tick, in one guest with one processor. A figure is the
 * median over the rounds of the ratio to the kernel's usb-storage in the same round; in brackets, of the median latencies. With --write
 * the tables of each group go into docs/benchmarks.md.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeSection } from "./page.mjs";
import { betweenTable, callTable } from "./profile-table.mjs";
import { table } from "./tables.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const FOLDER = `${ROOT}.lab/bench`;
/** What the figures of a group are headed with, where that is not its name (lab-guest.mjs). */
const HEADINGS = { levels: "level" };

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    groups: { type: "string", default: "switch,slow,growth,levels,path" },
    write: { type: "boolean", default: false },
    other: { type: "string", default: "" },
  },
});
mkdirSync(FOLDER, { recursive: true });
compile("bot", [
  `-I${ROOT}node_modules/usb/libusb/libusb`,
  // The libusb that the addon is linked with.
  `${ROOT}build/Release/obj.target/native/usb.a`,
  "-lpthread",
]);
compile("nbd", []);
compile("costs", []);
execFileSync("cc", ["-O2", "-shared", "-fPIC", `${ROOT}bench/c/calls.c`, "-o", `${FOLDER}/calls.so`, "-ldl"], {
  stdio: "inherit",
});
const rounds = Number(values.rounds);
const groups = values.groups.split(",");
/** Of one group; a busy machine takes several times as long as a quiet one. */
const groupSeconds = 300 + 90 * rounds;
writeFileSync(`${FOLDER}/settings`, `${rounds} ${groupSeconds} ${groups.join(" ")}\n${values.other}\n`);
const told = await runInLab();
for (const group of groups) {
  const lines = linesOf(group);
  if (lines.length === 0) {
    console.error(`lab: no figure of group "${group}"; the reason is above`);
    process.exitCode = 1;
    continue;
  }
  console.log(`\n${lines.join("\n")}`);
  if (values.write) writeSection(`lab ${group}`, [`${rounds} rounds.`, "", ...lines]);
}

/** What is told of a group; empty if nothing was. */
function linesOf(group) {
  const ofGroup = told.filter((one) => one.group?.startsWith(HEADINGS[group] ?? group));
  const figures = ofGroup.filter(({ ratio }) => ratio !== undefined);
  const profiles = ofGroup.filter(({ profiles }) => profiles !== undefined);
  const costs = ofGroup.find(({ costs }) => costs !== undefined)?.costs;
  const lines = [];
  if (figures.length > 0) {
    lines.push(...rateTable(figures), "");
    lines.push(
      "<details><summary>Latency, and what one request costs</summary>",
      "",
      ...costTable(figures),
      "",
      "</details>",
      "",
    );
  }
  if (profiles.length > 0) lines.push(...callTable(profiles), "", ...betweenTable(profiles), "");
  if (costs !== undefined) lines.push(`Microseconds of the guest's kernel: ${JSON.stringify(costs)}`, "");
  return lines.slice(0, -1);
}

function compile(program, args) {
  const sources = [`${ROOT}bench/c/${program}.c`, `${ROOT}bench/c/contender.c`];
  execFileSync("cc", ["-O2", "-Wall", "-Wextra", ...sources, ...args, "-o", `${FOLDER}/${program}`], {
    stdio: "inherit",
  });
}

/** What the referee told (lab-guest.mjs), in its order. */
async function runInLab() {
  const told = [];
  const timeoutSeconds = 60 + groupSeconds * (groups.length + 1); // "slow" is measured twice
  const child = spawn(
    `${ROOT}lab/run`,
    ["--kernel", "uml", "--timeout", String(timeoutSeconds), `${ROOT}bench/lab.sh`],
    { stdio: ["ignore", "inherit", "pipe"] },
  );
  const exited = new Promise((resolve) => child.once("exit", resolve));
  for await (const line of createInterface({ input: child.stderr })) {
    const [, figure] = /^lab: BENCH (\{.*\})$/.exec(line) ?? [];
    if (figure === undefined) console.error(line);
    else told.push(JSON.parse(figure));
  }
  if ((await exited) !== 0) process.exitCode = 1;
  return told;
}

/** A row for each contender, a column for each workload. */
function rateTable(figures) {
  const columns = [...new Set(figures.map(workloadOf))];
  const contenders = [...new Set(figures.map(({ group, name }) => `${group}\t${name}`))];
  const rows = contenders.map((key) => {
    const [group, name] = key.split("\t");
    const cells = columns.map((column) => {
      const figure = figures.find((f) => f.group === group && f.name === name && workloadOf(f) === column);
      if (figure === undefined) return "";
      const isFirst = figures.find((f) => f.group === group && workloadOf(f) === column) === figure;
      const ofMedians = figure.depth === 1 ? ` (${figure.medianRatio.toFixed(2)})` : "";
      return isFirst ? `${figure.perSecond.toFixed(0)} /s` : `${figure.ratio.toFixed(2)}${ofMedians}`;
    });
    return [group, name, ...cells];
  });
  return table(["group", "contender", ...columns], rows);
}

/** What one request costs, and the processes of its contender; the kernel has none. */
function costTable(figures) {
  const rows = figures.map((figure) => [
    figure.group,
    figure.name,
    workloadOf(figure),
    figure.us.map((us) => us.toFixed(0)).join(" / "),
    byRole(figure.cpuPerGib, 1),
    byRole(figure.woken, 1),
    byRole(figure.calls, 1),
  ]);
  return table(
    ["group", "contender", "workload", "p50 / p99 / p99.9 µs", "CPU s/GiB", "wake-ups each", "system calls each"],
    rows,
  );
}

function byRole(values, digits) {
  return Object.entries(values)
    .map(([role, value]) => `${role} ${value.toFixed(digits)}`)
    .join(", ");
}

function workloadOf({ direction, order, bytes, depth }) {
  const size = bytes < 1 << 20 ? `${bytes / 1024} KiB` : `${bytes / (1 << 20)} MiB`;
  return `${direction}${order === "random" ? " random" : ""} ${size} ×${depth}`;
}
