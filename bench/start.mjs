/**
 * From the start of a rump process until it is locked, and until its node is ready: `npm run build && node bench/start.mjs [--starts 20] [--write]`.
 *
 * The simulated stick is a process that runs already, so what is timed is what a new rump process needs: Node.js, its own code, the
 * lock, reading the state back, attaching. The kinds take turns, with `node -e 0` as the first.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeSection } from "./page.mjs";
import { memoryOf } from "./processes.mjs";
import { median, table } from "./tables.mjs";

const dist = (path) => fileURLToPath(new URL(`../dist/${path}`, import.meta.url));
const { createPudHost } = await import(dist("pud/host.js"));
const { createRumpuser } = await import(dist("rumpuser/real/rumpuser.js"));
const { createSandbox, noSandbox } = await import(dist("host/sandbox/sandbox.js"));
const { SharedMemory } = await import(dist("host/shared-memory.js"));
const { spawnRump } = await import(dist("host/spawn.js"));
const { usbipSource } = await import(dist("host/sources/usbip.js"));

const CLI = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
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
const KINDS = [
  { name: "no sandbox", sandbox: noSandbox },
  { name: "standard", sandbox: createSandbox({ profile: "standard" }) },
  { name: "strict", sandbox: createSandbox({ profile: "strict" }) },
].map((kind) => ({ ...kind, figures: [] }));

const folder = mkdtempSync(join(tmpdir(), "rumpusb-start-"));
const model = await startModel(join(folder, "model.sock"));
const bareMs = [];
try {
  for (let turn = -WARM_UP_STARTS; turn < starts; turn++) {
    const atMs = performance.now();
    spawnSync(process.execPath, ["-e", "0"]);
    if (turn >= 0) bareMs.push(performance.now() - atMs);
    for (const { sandbox, figures } of KINDS) {
      const figure = await start(sandbox);
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
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    socket,
    stop: async () => {
      child.kill("SIGTERM");
      await exited;
    },
  };
}

/** One process: started, attached, measured, ended. */
async function start(sandbox) {
  const source = usbipSource({ key: "bench", address: { unix: model.socket }, busId: "1-1", clock });
  const opened = await source.open();
  const memory = new SharedMemory();
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
    pud.connect(rump.pud, { memory: memory.slots });
    rump.sendDevice(opened.descriptor);
    opened.closeDescriptor();
  });
  const readyMs = performance.now() - startedMs;
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS)); // it gives back what it needed for its start
  const { residentMiB, privateMiB } = memoryOf(rump.pid);
  rump.kill();
  await rump.exited;
  memory.close();
  return { lockedMs, readyMs, residentMiB, privateMiB };
}
