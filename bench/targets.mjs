/**
 * What is measured: each target is started, says where its NBD socket is and which processes it consists of, and is stopped.
 *
 * All of them hold the same number of bytes in memory, so that no disk is measured.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { commandOf, familyOf, processesOf } from "./processes.mjs";

const CLI = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));

/**
 * @typedef {object} Target
 * @property {string} name
 * @property {string} uri
 * @property {Record<string, number>} pids  role → process id; of several devices the last
 * @property {number} [readyMs]  from the start of the host process until every node is served
 * @property {() => Promise<void>} stop
 */

/** Our whole path: client → NBD → pud process → rump process → USB/IP → flash drive in memory. @returns {Promise<Target>} */
export async function startRumpusb(sizeMiB, { devices = 1, name = "rumpusb", options = [] } = {}) {
  const runtimeDir = mkdtempSync(join(tmpdir(), "rumpusb-bench-"));
  const selectors = Array.from({ length: devices }, () => `sim:flash-drive,size=${sizeMiB}M`);
  const startedMs = performance.now();
  const child = spawn(process.execPath, [CLI, "run", ...options, ...selectors, "--json", "--runtime-dir", runtimeDir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const pids = {};
  let uri;
  await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = JSON.parse(line);
      if (event.event === "device") Object.assign(pids, processesOf(child.pid, event.pid));
      if (event.event === "restart") pids.driver = event.pid;
      if (event.event === "link") uri = event.uri;
      if (event.event === "error") reject(new Error(`${event.code}: ${event.message}`));
      if (event.event === "ready") resolve();
    });
    void exited.then(() => reject(new Error("rumpusb ended before it was ready")));
  });
  const readyMs = performance.now() - startedMs;
  const model = familyOf(child.pid).find((pid) => commandOf(pid).includes(" vdev "));
  if (model !== undefined) pids.model = model;
  return {
    name,
    uri,
    pids,
    readyMs,
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
