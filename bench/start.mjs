/**
 * From the start of a rump process until it is locked, and until its node is ready; and of a pud process until it is locked:
 * `npm run build && node bench/start.mjs [--starts 20] [--write]`.
 *
 * The simulated stick is a process that runs already, so what is timed is what a new process needs: Node.js, its own code, the
 * lock, reading the state back, attaching. The kinds take turns, with `node -e 0` as the first.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeSection } from "./page.mjs";
import { memoryOf } from "./processes.mjs";
import { median, table } from "./tables.mjs";

const dist = (path) => fileURLToPath(new URL(`../dist/${path}`, import.meta.url));
const { createPudHost } = await import(dist("pud/host.js"));
const { SharedSlots } = await import(dist("pud/shared-memory.js"));
const { PUD_CONFIG_VERSION } = await import(dist("pud-process/protocol.js"));
const { mapMemory } = await import(dist("rumpuser/real/addon.js"));
const { streamOfSocket } = await import(dist("rumpuser/real/byte-stream.js"));
const { createRumpuser } = await import(dist("rumpuser/real/rumpuser.js"));
const { createSandbox, noSandbox, SERVING_LIMITS } = await import(dist("host/sandbox/sandbox.js"));
const { MemoryFile } = await import(dist("host/shared-memory.js"));
const { spawnRump, startProcess } = await import(dist("host/spawn.js"));
const { usbipSource } = await import(dist("host/sources/usbip.js"));

const CLI = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
const PUD_PROCESS = dist("bundle/pud-process.cjs");
const LISTEN_MS = 5000;
/** The first starts find cold caches. */
const WARM_UP_STARTS = 2;
const SETTLE_MS = 20;

const { values } = parseArgs({
  options: { starts: { type: "string", default: "20" }, write: { type: "boolean", default: false } },
});
const starts = Number(values.starts);
if (!(starts >= 1)) {
  process.stderr.write("start: --starts is a number from 1\n");
  process.exit(2);
}

const { clock } = createRumpuser({ write: () => {} });
const SANDBOXES = [
  { name: "no sandbox", sandbox: noSandbox },
  { name: "standard", sandbox: createSandbox({ profile: "standard" }) },
  { name: "strict", sandbox: createSandbox({ profile: "strict" }) },
];
const KINDS = [
  ...SANDBOXES.map(({ name, sandbox }) => ({ name: `driver, ${name}`, start: () => startRump(sandbox), figures: [] })),
  ...SANDBOXES.map(({ name, sandbox }) => ({ name: `pud, ${name}`, start: () => startPud(sandbox), figures: [] })),
];

const folder = mkdtempSync(join(tmpdir(), "rumpusb-start-"));
const model = await startModel(join(folder, "model.sock"));
const bareMs = [];
try {
  for (let turn = -WARM_UP_STARTS; turn < starts; turn++) {
    const atMs = performance.now();
    spawnSync(process.execPath, ["-e", "0"]);
    if (turn >= 0) bareMs.push(performance.now() - atMs);
    for (const { start, figures } of KINDS) {
      const figure = await start();
      if (turn >= 0) figures.push(figure);
    }
  }
} finally {
  await model.stop();
  rmSync(folder, { recursive: true, force: true });
}

const rows = KINDS.map(({ name, figures }) => {
  const times = (key) => {
    const sorted = figures.map((one) => one[key]).sort((a, b) => a - b);
    if (sorted.includes(undefined)) return "–";
    return [sorted[0], median(sorted), sorted.at(-1)].map((ms) => ms.toFixed(0)).join(" / ");
  };
  const mib = ["residentMiB", "privateMiB"].map((key) => median(figures.map((one) => one[key])).toFixed(1));
  return [name, times("lockedMs"), times("readyMs"), mib.join(" / ")];
});
const lines = [
  `${starts} starts of each, in turns; \`node -e 0\` takes ${median(bareMs).toFixed(0)} ms (median) in the same turns.`,
  "",
  ...table(
    ["", "locked, ms: least / median / most", "node ready, ms: least / median / most", "resident / private MiB then"],
    rows,
  ),
];
console.log(lines.join("\n"));
if (values.write) writeSection("start", lines);

/** The stick's process, when it listens. */
async function startModel(socket) {
  const child = spawn(process.execPath, [CLI, "vdev", "flash-drive", "--listen", `unix:${socket}`], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const untilMs = performance.now() + LISTEN_MS;
  while (!existsSync(socket)) {
    if (performance.now() > untilMs) throw new Error("the simulated stick does not listen");
    await delay(20);
  }
  return {
    socket,
    stop: async () => {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** One rump process: started, attached, measured, ended. */
async function startRump(sandbox) {
  const source = usbipSource({ key: "bench", address: { unix: model.socket }, busId: "1-1", clock });
  const opened = await source.open();
  const memory = new MemoryFile();
  const startedMs = performance.now();
  const rump = await spawnRump({
    sandbox,
    clock,
    onLine: (line) => console.error(line),
    memory,
    config: { version: 1, bus: opened.bus, drivers: opened.drivers },
  });
  await rump.locked;
  const lockedMs = performance.now() - startedMs;
  await new Promise((resolve, reject) => {
    const pud = createPudHost({
      clock,
      lossPolicy: "fail",
      handlers: {
        onDevice: () => {},
        onNode: () => {},
        onNodeGone: () => {},
        onLog: () => {},
        onReady: resolve,
        onError: (code, message) => reject(new Error(`${code}: ${message}`)),
        onLost: reject,
      },
    });
    const slots = new SharedSlots(mapMemory(memory.fd, memory.bytes));
    pud.connect(streamOfSocket(rump.channel), { memory: slots });
    rump.sendDevice(opened.descriptor);
    opened.closeDescriptor();
  });
  const readyMs = performance.now() - startedMs;
  await delay(SETTLE_MS); // it gives back what it needed for its start
  const { residentMiB, privateMiB } = memoryOf(rump.pid);
  rump.kill();
  await rump.exited;
  memory.close();
  return { lockedMs, readyMs, residentMiB, privateMiB };
}

/** One pud process: started, measured when it is locked, ended. It is told of no device, so nothing of it is ready later. */
async function startPud(sandbox) {
  const startedMs = performance.now();
  const pud = await startProcess(
    { sandbox, clock, onLine: (line) => console.error(line), script: PUD_PROCESS, limits: SERVING_LIMITS },
    {
      version: PUD_CONFIG_VERSION,
      runtimeDir: folder,
      readOnly: false,
      graceMs: 0,
      mode: "auto",
      sharesMemory: true,
      shares: false,
    },
  );
  await pud.locked;
  const lockedMs = performance.now() - startedMs;
  await delay(SETTLE_MS);
  const { residentMiB, privateMiB } = memoryOf(pud.pid);
  pud.kill();
  await pud.exited;
  return { lockedMs, readyMs: undefined, residentMiB, privateMiB };
}
