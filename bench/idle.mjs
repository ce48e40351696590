/**
 * What idle devices cost: memory of each process, and how often its threads woke up.
 *
 *   node bench/idle.mjs [devices] [seconds] [option of `rumpusb run`]…     default 4, 20 and none; such as 4 20 --group
 *
 * Simulated sticks, so that no bus takes part. Nothing is asked of them. V8 collects its garbage once more when a process has
 * become idle, so counting begins a while after that.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { commandOf, familyOf, isPudProcess, memoryOf, wakeUps } from "./processes.mjs";
import { table } from "./tables.mjs";

const COMMAND = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
const SETTLE_MS = 75_000;

const devices = Number(process.argv[2] ?? 4);
const seconds = Number(process.argv[3] ?? 20);
const runtimeDir = mkdtempSync(join(tmpdir(), "rumpusb-idle-"));
const host = spawn(
  process.execPath,
  [
    COMMAND,
    "run",
    "--json",
    "--runtime-dir",
    runtimeDir,
    ...process.argv.slice(4),
    ...Array.from({ length: devices }, () => "sim:flash-drive"),
  ],
  { stdio: ["ignore", "pipe", "inherit"] },
);
try {
  const serving = new Set();
  for await (const line of createInterface({ input: host.stdout })) {
    const event = JSON.parse(line);
    if (event.event === "device") serving.add(event.pid);
    if (event.event === "ready") break;
  }
  await delay(SETTLE_MS);
  const pids = familyOf(host.pid);
  const before = new Map(pids.map((pid) => [pid, wakeUps(pid)]));
  await delay(seconds * 1000);
  const rows = pids.map((pid) => {
    const { residentMiB, privateMiB } = memoryOf(pid);
    return [roleOf(pid, serving), residentMiB.toFixed(1), privateMiB.toFixed(1), wakeUps(pid) - before.get(pid)];
  });
  for (const line of table(["process", "resident MiB", "of its own", `wake-ups in ${seconds} s`], rows))
    console.log(line);
} finally {
  host.kill("SIGTERM");
  await once(host, "exit");
  rmSync(runtimeDir, { recursive: true, force: true });
}

function roleOf(pid, serving) {
  if (pid === host.pid) return "host";
  if (serving.has(pid)) return "driver, serving";
  const command = commandOf(pid);
  if (command.includes(" vdev ")) return "simulated device";
  if (/^\S*rumpusb-launcher /.test(command)) return "launcher";
  return isPudProcess(pid) ? "pud" : "driver, spare";
}
