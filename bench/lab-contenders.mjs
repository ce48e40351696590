/** Contenders in the lab's guest: each reads or writes when it is told to, and says how long that took. See c/contender.h. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { measured, processesOf } from "./processes.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/**
 * @typedef {object} Contender
 * @property {string} name
 * @property {Record<string, number>} pids  role → process whose cost counts
 * @property {number} clientPid
 * @property {(workload: Workload, count: number) => Promise<Figures>} run
 * @property {() => Promise<void>} stop
 *
 * @typedef {object} Workload
 * @property {"read" | "write"} direction
 * @property {"random" | "sequential"} order
 * @property {number} bytes
 * @property {number} depth
 *
 * @typedef {object} Figures
 * @property {number} seconds
 * @property {number[]} us  latency of each request
 * @property {Record<string, number>} cpu  processor seconds by role
 * @property {Record<string, number>} woken  wake-ups by role
 */

/** One process that is the client and the driver. @returns {Contender} */
export function direct(name, command, ...args) {
  const client = startClient(command, args);
  return contender(name, { driver: client.pid }, client);
}

/** The kernel's disk: nothing of what it costs is in a process. @returns {Contender} */
export function kernelDisk(program, node) {
  return contender("kernel", {}, startClient(program, ["kernel", node]));
}

/** Our driver at the device switch. @param root  the checkout, built @returns {Contender} */
export function atSwitch(name, mode, node, root = ROOT) {
  return direct(name, process.execPath, `${root}/bench/lab-port.mjs`, mode, node);
}

/** nbdkit on the kernel's disk, by NBD, with nothing of it in the page cache at the begin of a turn. @returns {Promise<Contender>} */
export async function byNbdkit(client, node) {
  const folder = mkdtempSync("/run/bench-nbdkit-");
  const socket = `${folder}/socket`;
  const server = spawn("nbdkit", ["--foreground", "--unix", socket, "file", node], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  for (let tries = 0; spawnSync("nbdinfo", ["--size", `nbd+unix:///?socket=${socket}`]).status !== 0; tries++) {
    if (tries === 50) throw new Error("nbdkit does not answer");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const served = contender("nbdkit", { server: server.pid }, startClient(client, [socket, ""]), () => end(server));
  return {
    ...served,
    run: (workload, count) => {
      spawnSync("sync");
      writeFileSync("/proc/sys/vm/drop_caches", "3");
      return served.run(workload, count);
    },
  };
}

/** The whole path by NBD: `rumpusb run` with these options. @param root  the checkout, built @returns {Promise<Contender>} */
export async function wholePath(client, name, options, root = ROOT) {
  const runtimeDir = mkdtempSync("/run/bench-rumpusb-");
  const host = spawn(
    process.execPath,
    [`${root}/bin/rumpusb.js`, "run", "--json", "--runtime-dir", runtimeDir, ...options],
    {
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  const pids = {};
  let uri;
  await new Promise((resolve, reject) => {
    createInterface({ input: host.stdout }).on("line", (line) => {
      const event = JSON.parse(line);
      if (event.event === "device") Object.assign(pids, processesOf(host.pid, event.pid));
      if (event.event === "restart") pids.driver = event.pid;
      if (event.event === "link") uri = new URL(event.uri);
      if (event.event === "error") reject(new Error(`${name}: ${event.code}: ${event.message}`));
      if (event.event === "ready") resolve();
    });
    host.once("exit", (code) => reject(new Error(`${name} ended with status ${code} before it was ready`)));
  });
  const args = [uri.searchParams.get("socket"), decodeURIComponent(uri.pathname.slice(1))];
  return contender(name, pids, startClient(client, args), () => end(host));
}

/** @returns {Contender} */
function contender(name, pids, client, stopServer = async () => {}) {
  return {
    name,
    pids,
    clientPid: client.pid,
    run: async ({ direction, order, bytes, depth }, count) => {
      const line = `${direction} ${order} ${bytes} ${depth} ${count}`;
      const { result, cpu, woken } = await measured(`${name}: ${line}`, pids, () => client.ask(line));
      return { ...result, cpu, woken };
    },
    stop: async () => {
      await client.stop();
      await stopServer();
    },
  };
}

async function end(child) {
  child.kill("SIGTERM");
  await once(child, "exit");
}

/** A process that answers each line with a line. */
function startClient(command, args) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    pid: child.pid,
    ask: async (line) => {
      child.stdin.write(`${line}\n`);
      const { value, done } = await answers.next();
      if (done) throw new Error(`${command} ${args.join(" ")} ended at: ${line}`);
      return JSON.parse(value);
    },
    stop: async () => {
      child.stdin.end();
      await once(child, "exit");
    },
  };
}
