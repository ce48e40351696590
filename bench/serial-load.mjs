/**
 * What a serial line that never rests costs: `npm run build && node bench/serial-load.mjs [--seconds 20] [--baud 115200] [chip]…`
 *
 * `rumpusb run` with a simulated adapter whose far end sends back what it hears, in the time of the rate; a program on the
 * pseudo terminal writes and reads without a pause. A row for each process: processor time, wake-ups, system calls; and then the
 * same with the line open and nothing sent.
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
import { cpuSeconds, systemCalls, wakeUps } from "./processes.mjs";
import { table } from "./tables.mjs";

const COMMAND = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
/** V8 compiles meanwhile, and gathers garbage once more after the start. */
const WARM_UP_MS = 10_000;
const SYSTEM_CALLS_MS = 3_000;
const PIECE_BYTES = 256;

const { values, positionals } = parseArgs({
  options: { seconds: { type: "string", default: "20" }, baud: { type: "string", default: "115200" } },
  allowPositionals: true,
});
const chips = positionals.length > 0 ? positionals : ["acm", "ft232r", "ft232h", "cp2104", "ch340", "pl2303-hx"];
const seconds = Number(values.seconds);

class Program {
  heardBytes = 0;
  reading;
  #writing;
  #stopped = false;

  constructor(line) {
    const piece = Buffer.alloc(PIECE_BYTES, 0x55);
    const heard = Buffer.alloc(4096);
    this.#writing = (async () => {
      while (!this.#stopped) await promisify(write)(line, piece, 0, piece.length, null);
    })();
    // Ends when the terminal does.
    this.reading = (async () => {
      for (;;) this.heardBytes += (await promisify(read)(line, heard, 0, heard.length, null)).bytesRead;
    })().catch(() => undefined);
  }

  async stop() {
    this.#stopped = true;
    await this.#writing;
  }
}

const rows = [];
for (const chip of chips) rows.push(...(await measure(chip)));
const titles = ["chip", "process", "% of a core", "wake-ups /s", "system calls /s", "received bytes /s"];
console.log(table(titles, rows).join("\n"));

async function measure(chip) {
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-load-"));
  const args = ["run", "--json", "--runtime-dir", folder, `sim:serial,chip=${chip},paced`];
  const host = spawn(process.execPath, [COMMAND, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(host, "exit");
  try {
    let rump;
    for await (const line of createInterface({ input: host.stdout })) {
      const event = JSON.parse(line);
      if (event.event === "device") rump = event.pid;
      if (event.event === "ready") break;
    }
    return await underLoad(chip, join(folder, "ttyU0"), { host: host.pid, rump });
  } finally {
    host.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

async function underLoad(chip, path, pids) {
  execFileSync("stty", ["-F", path, values.baud, "raw", "-echo"]);
  const line = openSync(path, constants.O_RDWR | constants.O_NOCTTY);
  const program = new Program(line);
  await delay(WARM_UP_MS);
  const busy = await costs(pids, () => program.heardBytes);
  await program.stop();
  for (let before = -1; before !== program.heardBytes; await delay(2000)) before = program.heardBytes;
  const idle = await costs(pids, () => program.heardBytes);
  void program.reading.then(() => closeSync(line));
  const rowsOf = (what, all) => all.map(({ name, cells }) => [`${chip}, ${what}`, name, ...cells]);
  return [...rowsOf("busy", busy), ...rowsOf("open", idle)];
}

/** Of each process, and of both together. */
async function costs(pids, heard) {
  const entries = Object.entries(pids);
  const before = entries.map(([, pid]) => ({ cpu: cpuSeconds(pid), wakes: wakeUps(pid) }));
  const [heardBefore, startMs] = [heard(), performance.now()];
  await delay(seconds * 1000);
  const elapsed = (performance.now() - startMs) / 1000;
  const heardBytes = (heard() - heardBefore) / elapsed;
  const rows = [];
  const sum = { cpu: 0, wakes: 0 };
  for (const [n, [name, pid]] of entries.entries()) {
    const cpu = (cpuSeconds(pid) - before[n].cpu) / elapsed;
    const wakes = (wakeUps(pid) - before[n].wakes) / elapsed;
    sum.cpu += cpu;
    sum.wakes += wakes;
    const calls = await systemCalls(pid, () => delay(SYSTEM_CALLS_MS));
    rows.push({ name, cells: [...cellsOf(cpu, wakes), ((calls ?? 0) / (SYSTEM_CALLS_MS / 1000)).toFixed(0), ""] });
  }
  rows.push({ name: "both", cells: [...cellsOf(sum.cpu, sum.wakes), "", heardBytes.toFixed(0)] });
  return rows;
}

function cellsOf(cpu, wakes) {
  return [(cpu * 100).toFixed(2), wakes.toFixed(0)];
}
