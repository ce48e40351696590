/** Contenders in the lab's guest: each reads or writes when it is told to, and says how long that took. See c/contender.h. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { cpuSeconds, wakeUps } from "./processes.mjs";

const PORT = fileURLToPath(new URL("lab-port.mjs", import.meta.url));
const CLI = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));

/**
 * @typedef {object} Contender
 * @property {string} name
 * @property {Record<string, number>} pids  role → process whose cost counts
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
  return { name, pids: { driver: client.pid }, ...measured({ driver: client.pid }, client) };
}

/** The kernel's disk: nothing of what it costs is in a process. @returns {Contender} */
export function kernelDisk(program, node) {
  const client = startClient(program, ["kernel", node]);
  return { name: "kernel", pids: {}, ...measured({}, client) };
}

/** Our driver at the device switch. @returns {Contender} */
export function atSwitch(name, mode, node) {
  return direct(name, process.execPath, PORT, mode, node);
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
  const contender = overNbd("nbdkit", { server: server.pid }, startClient(client, [socket, ""]), () => end(server));
  return {
    ...contender,
    run: (workload, count) => {
      spawnSync("sync");
      writeFileSync("/proc/sys/vm/drop_caches", "3");
      return contender.run(workload, count);
    },
  };
}

/** The whole path by NBD: `rumpusb run` with these options. @returns {Promise<Contender>} */
export async function wholePath(client, name, options) {
  const runtimeDir = mkdtempSync("/run/bench-rumpusb-");
  const host = spawn(process.execPath, [CLI, "run", "--json", "--runtime-dir", runtimeDir, ...options], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const pids = { host: host.pid };
  let uri;
  for await (const line of createInterface({ input: host.stdout })) {
    const event = JSON.parse(line);
    if (event.event === "device") pids.rump = event.pid;
    if (event.event === "link") uri = new URL(event.uri);
    if (event.event === "error") throw new Error(`${event.code}: ${event.message}`);
    if (event.event === "ready") break;
  }
  host.stdout.resume();
  const args = [uri.searchParams.get("socket"), decodeURIComponent(uri.pathname.slice(1))];
  return overNbd(name, pids, startClient(client, args), () => end(host));
}

function overNbd(name, pids, client, stopServer) {
  const { run, stop } = measured(pids, client);
  return {
    name,
    pids,
    run,
    stop: async () => {
      await stop();
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

function measured(pids, client) {
  const each = (count) => Object.fromEntries(Object.entries(pids).map(([role, pid]) => [role, count(pid)]));
  const less = (after, before) =>
    Object.fromEntries(Object.keys(pids).map((role) => [role, after[role] - before[role]]));
  return {
    run: async ({ direction, order, bytes, depth }, count) => {
      const before = { cpu: each(cpuSeconds), woken: each(wakeUps) };
      const { seconds, us } = await client.ask(`${direction} ${order} ${bytes} ${depth} ${count}`);
      return { seconds, us, cpu: less(each(cpuSeconds), before.cpu), woken: less(each(wakeUps), before.woken) };
    },
    stop: client.stop,
  };
}
