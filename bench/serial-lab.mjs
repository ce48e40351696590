/**
 * The serial drivers beside the kernel's own: `npm run build && node bench/serial-lab.mjs [--seconds 4] [--write] [chip]…`. Needs
 * RUMPUSB_UML (lab/README.md). `--write` puts the table into docs/benchmarks.md.
 *
 * Both drive the same simulated chip in one guest with one processor, over USB/IP: cdc_acm, ftdi_sio, cp210x, ch341, pl2303 by vhci_hcd,
 * ours as /dev/ttyU0 by CUSE. The chip itself is a process of the guest, too, and takes its part of the processor from both.
 */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeSection } from "./page.mjs";
import { table } from "./tables.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const { values, positionals } = parseArgs({
  options: { seconds: { type: "string", default: "4" }, write: { type: "boolean", default: false } },
  allowPositionals: true,
});
const chips = positionals.length > 0 ? positionals : ["acm", "ft232r", "ft232h", "cp2104", "ch340", "pl2303-hx"];

mkdirSync(`${ROOT}.lab/bench`, { recursive: true });
writeFileSync(`${ROOT}.lab/bench/serial`, `${Number(values.seconds)} ${chips.join(" ")}\n`);
const told = await runInLab();
const lines = serialTable();
console.log(lines.join("\n"));
if (values.write) writeSection("serial-lab", lines);

async function runInLab() {
  const all = [];
  const child = spawn(`${ROOT}lab/run`, ["--kernel", "uml", "--timeout", "900", `${ROOT}bench/serial-lab.sh`], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  for await (const line of createInterface({ input: child.stderr })) {
    const [, figure] = /^lab: BENCH (\{.*\})$/.exec(line) ?? [];
    if (figure === undefined) console.error(line);
    else all.push(JSON.parse(figure));
  }
  if ((await exited) !== 0) process.exitCode = 1;
  return all;
}

/** A row for each chip; in each cell the kernel's figure, then ours. */
function serialTable() {
  const rows = chips.map((chip) => [
    chip,
    ...cellOf(chip, "quick", ({ bytesPerSecond }) => (bytesPerSecond / 1024).toFixed(0)),
    ...cellOf(chip, "quick", ({ oneByteMs }) => oneByteMs.toFixed(2)),
    ...cellOf(chip, "paced", ({ busy }) => `${(busy * 100).toFixed(0)} %`),
    ...cellOf(chip, "paced", ({ bytesPerSecond }) => bytesPerSecond.toFixed(0)),
  ]);
  const titles = [
    "chip",
    "there and back, KiB/s: kernel",
    "rumpusb",
    "one byte, ms: kernel",
    "rumpusb",
    "processor at 115,200 baud: kernel",
    "rumpusb",
    "bytes/s then: kernel",
    "rumpusb",
  ];
  return table(titles, rows);
}

function cellOf(chip, mode, show) {
  return ["kernel", "rumpusb"].map((contender) => {
    const one = told.find((each) => each.contender === contender && each.chip === chip && each.mode === mode);
    return one === undefined ? "-" : show(one.figures);
  });
}
