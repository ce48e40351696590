/**
 * What a serial line that never rests costs: `npm run build && node bench/serial-load.mjs [--seconds 4] [--baud 115200] [--way in]… [chip]…`
 *
 * `rumpusb run` with a simulated adapter, in the time of the rate; a program on the pseudo terminal. "in": it reads what the far
 * end sends without a pause; "out": it writes without a pause; "both": it does both, and the far end sends back what it hears.
 * A row for each process, printed when it is measured: processor time, wake-ups, system calls; with the line open and nothing
 * sent, and then under load. Some 35 seconds for each chip and way.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, mkdtempSync, openSync, read, rmSync, write } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { fineCpuSeconds, processesOf, systemCalls, wakeUps } from "./processes.mjs";
import { tableRow } from "./tables.mjs";

const COMMAND = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
/** V8 compiles meanwhile, with all that looks cheap once done, and gathers garbage once more after the start. */
const WARM_UP_MS = 20_000;
const OPEN_MS = 2_000;
const SYSTEM_CALLS_MS = 500;
const PIECE_BYTES = 256;

const { values, positionals } = parseArgs({
  options: {
    seconds: { type: "string", default: "4" },
    baud: { type: "string", default: "115200" },
    way: { type: "string", multiple: true, default: ["in", "out", "both"] },
  },
  allowPositionals: true,
});
const chips = positionals.length > 0 ? positionals : ["acm", "ft232r", "ft232h", "cp2104", "ch340", "pl2303-hx"];
const seconds = Number(values.seconds);
/** What is at the far end, and what is counted: bytes that the program got, or got rid of. */
const WAYS = { in: "talker", out: "listener", both: "loopback" };

class Program {
  heardBytes = 0;
  writtenBytes = 0;
  reading;
  #stopped = false;

  constructor(line, way) {
    const piece = Buffer.alloc(PIECE_BYTES, 0x55);
    const heard = Buffer.alloc(4096);
    // Both end when the terminal does.
    void (async () => {
      while (!this.#stopped && way !== "in")
        this.writtenBytes += (await promisify(write)(line, piece, 0, piece.length, null)).bytesWritten;
    })().catch(() => undefined);
    this.reading = (async () => {
      for (;;) this.heardBytes += (await promisify(read)(line, heard, 0, heard.length, null)).bytesRead;
    })().catch(() => undefined);
  }

  stop() {
    this.#stopped = true;
  }
}

const TITLES = ["chip", "process", "% of a core", "wake-ups /s", "system calls /s", "bytes /s"];
console.log(tableRow(TITLES));
console.log(tableRow(TITLES.map(() => "---")));
for (const chip of chips) for (const way of values.way) await measure(chip, way);

async function measure(chip, way) {
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-load-"));
  const args = ["run", "--json", "--runtime-dir", folder, `sim:serial,chip=${chip},paced,wiring=${WAYS[way]}`];
  const host = spawn(process.execPath, [COMMAND, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(host, "exit");
  try {
    let pids;
    for await (const line of createInterface({ input: host.stdout })) {
      const event = JSON.parse(line);
      if (event.event === "device") pids = processesOf(host.pid, event.pid);
      if (event.event === "ready") break;
    }
    await underLoad(chip, way, join(folder, "ttyU0"), pids);
  } finally {
    host.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

async function underLoad(chip, way, path, pids) {
  execFileSync("stty", ["-F", path, values.baud, "raw", "-echo"]);
  const line = openSync(path, constants.O_RDWR | constants.O_NOCTTY);
  await delay(OPEN_MS);
  // A talker has begun.
  if (way !== "in") printRows(`${chip}, open`, await costs(pids, () => 0));
  const program = new Program(line, way);
  await delay(WARM_UP_MS);
  printRows(`${chip}, ${way}`, await costs(pids, () => (way === "out" ? program.writtenBytes : program.heardBytes)));
  program.stop();
  void program.reading.then(() => closeSync(line));
}

function printRows(what, rows) {
  for (const { name, cells } of rows) console.log(tableRow([what, name, ...cells]));
}

/** Of each process, and of all together. */
async function costs(pids, moved) {
  const entries = Object.entries(pids);
  const before = entries.map(([, pid]) => ({ cpu: fineCpuSeconds(pid), wakes: wakeUps(pid) }));
  const [movedBefore, startMs] = [moved(), performance.now()];
  await delay(seconds * 1000);
  const elapsed = (performance.now() - startMs) / 1000;
  const bytes = (moved() - movedBefore) / elapsed;
  const rows = [];
  const sum = { cpu: 0, wakes: 0 };
  for (const [n, [name, pid]] of entries.entries()) {
    const cpu = (fineCpuSeconds(pid) - before[n].cpu) / elapsed;
    const wakes = (wakeUps(pid) - before[n].wakes) / elapsed;
    sum.cpu += cpu;
    sum.wakes += wakes;
    const calls = await systemCalls(pid, () => delay(SYSTEM_CALLS_MS));
    rows.push({ name, cells: [...cellsOf(cpu, wakes), ((calls ?? 0) / (SYSTEM_CALLS_MS / 1000)).toFixed(0), ""] });
  }
  rows.push({ name: "all", cells: [...cellsOf(sum.cpu, sum.wakes), "", bytes.toFixed(0)] });
  return rows;
}

function cellsOf(cpu, wakes) {
  return [(cpu * 100).toFixed(2), wakes.toFixed(0)];
}
