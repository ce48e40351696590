/**
 * The driver against the kernel's own and against C: `node bench/lab.mjs [--rounds 3]`. Needs RUMPUSB_UML (lab/README.md) and a
 * compiler; `npm run build` first.
 *
 * Random reads at depth 1 from the kernel's mass_storage gadget, high speed with a 125 µs tick, in one guest. A figure is the
 * median of the rounds; the table gives ratios to the kernel's usb-storage in the same run.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const FOLDER = `${ROOT}.lab/bench`;
const PROGRAM = `${FOLDER}/bot`;
const SIZES = [
  [4096, "4 KiB"],
  [65536, "64 KiB"],
  [1048576, "1 MiB"],
];

const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" } } });
mkdirSync(FOLDER, { recursive: true });
compile();
writeFileSync(`${FOLDER}/settings`, `${Number(values.rounds)} ${PROGRAM}\n`);
const figures = await runInLab();
console.log(tableOf(figures).join("\n"));

/** Against the libusb that the addon is linked with. */
function compile() {
  const libusb = `${ROOT}node_modules/usb/libusb/libusb`;
  const library = `${ROOT}build/Release/obj.target/native/usb.a`;
  execFileSync(
    "cc",
    ["-O2", "-Wall", "-Wextra", `-I${libusb}`, `${ROOT}bench/c/bot.c`, library, "-lpthread", "-o", PROGRAM],
    {
      stdio: "inherit",
    },
  );
}

/** @returns {Promise<Map<string, number[]>>} "who mode bytes depth" → the rate of each round */
async function runInLab() {
  const found = new Map();
  const child = spawn(`${ROOT}lab/run`, ["--kernel", "uml", "--timeout", "960", `${ROOT}bench/lab.sh`], {
    stdio: ["ignore", "inherit", "pipe"],
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  for await (const line of createInterface({ input: child.stderr })) {
    const [, name, rate] = /^lab: BENCH (\S+ \S+ \S+ \S+) ([0-9.]+)$/.exec(line) ?? [];
    if (name === undefined) console.error(line);
    else found.set(name, [...(found.get(name) ?? []), Number(rate)]);
  }
  if ((await exited) !== 0) process.exitCode = 1;
  return found;
}

function tableOf(found) {
  const rate = (name) => median(found.get(name) ?? []);
  const rows = ["| reads | 4 KiB | 64 KiB | 1 MiB | system calls per 4 KiB command |", "|---|---|---|---|---|"];
  const row = (title, who, mode, depth) => {
    const cells = SIZES.map(([bytes]) => {
      const kernel = rate(`c kernel ${bytes} 1`);
      return `${(rate(`${who} ${mode} ${bytes} ${depth}`) / kernel).toFixed(2)}`;
    });
    const calls = rate(`${who} ${mode} calls ${depth}`);
    rows.push(`| ${title} | ${cells.join(" | ")} | ${Number.isFinite(calls) ? calls.toFixed(1) : ""} |`);
  };
  const kernel = SIZES.map(([bytes]) => `${rate(`c kernel ${bytes} 1`).toFixed(0)} /s`);
  rows.push(`| kernel usb-storage | ${kernel.map((text) => `${text} (1.00)`).join(" | ")} | |`);
  for (const mode of ["sequence", "overlap", "together"]) row(`C on libusb, ${mode}`, "c", mode, 1);
  for (const mode of ["sequence", "overlap", "together"]) row(`rumpusb, ${mode}`, "ours", mode, 1);
  row("rumpusb, overlap, depth 8", "ours", "overlap", 8);
  return rows;
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
