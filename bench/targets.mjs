/**
 * What is measured: each target is started, says where its NBD socket is and which processes it consists of, and is stopped.
 *
 * All of them hold the same number of bytes in memory, so that no disk is measured.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const CLI = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));

/**
 * @typedef {object} Target
 * @property {string} name
 * @property {string} uri
 * @property {Record<string, number>} pids  role → process id
 * @property {() => Promise<void>} stop
 */

/** Our whole path: client → NBD → host → pud → rump process → USB/IP → flash drive in memory. @returns {Promise<Target>} */
export async function startRumpusb(sizeMiB, extraArguments = []) {
  const runtimeDir = mkdtempSync(join(tmpdir(), "rumpusb-bench-"));
  const child = spawn(
    process.execPath,
    [CLI, "run", `sim:flash-drive,size=${sizeMiB}M`, "--json", "--runtime-dir", runtimeDir, ...extraArguments],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const pids = { host: child.pid };
  let uri;
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line);
    if (event.event === "device") pids.rump = event.pid;
    if (event.event === "link") uri = event.uri;
    if (event.event === "error") throw new Error(`${event.code}: ${event.message}`);
    if (event.event === "ready") break;
  }
  child.stdout.resume();
  const model = childrenOf(child.pid).find((pid) => commandOf(pid).includes(" vdev "));
  if (model !== undefined) pids.model = model;
  return {
    name: ["rumpusb", ...extraArguments].join(" "),
    uri,
    pids,
    stop: async () => {
      child.kill("SIGTERM");
      await exited;
      rmSync(runtimeDir, { recursive: true, force: true });
    },
  };
}

/** The baseline: nbdkit's memory plugin. @returns {Promise<Target | undefined>} undefined where it is not installed */
export async function startNbdkit(sizeMiB) {
  if (spawnSync("nbdkit", ["--version"]).status !== 0) return undefined;
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-bench-"));
  const socket = join(folder, "nbdkit.sock");
  const child = spawn("nbdkit", ["--foreground", "--unix", socket, "memory", `${sizeMiB}M`], { stdio: "inherit" });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const uri = `nbd+unix:///?socket=${socket}`;
  for (let tries = 0; spawnSync("nbdinfo", ["--size", uri]).status !== 0; tries++) {
    if (tries === 50) throw new Error("nbdkit does not answer");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    name: "nbdkit memory",
    uri,
    pids: { server: child.pid },
    stop: async () => {
      child.kill("SIGTERM");
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Processor seconds that a process has used, from /proc/PID/stat (proc(5), fields 14 and 15, in 1/100 s). */
export function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Resident memory in MiB. */
export function residentMiB(pid) {
  const [, kib = "0"] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
  return Number(kib) / 1024;
}

/** Context switches of the process's own accord since it started: its wake-ups. */
export function wakeUps(pid) {
  const [, count = "0"] =
    /^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
  return Number(count);
}

function childrenOf(pid) {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ").filter(Boolean).map(Number);
}

function commandOf(pid) {
  return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
}
