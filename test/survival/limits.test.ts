/** Real processes at the limits of the machine: no descriptors, no space, more clients than there is room for. */
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { once } from "node:events";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, type TestContext } from "vitest";
import { RunningCommand } from "../cli/command.js";
import { pudProcessOf } from "../cli/pud-process.js";
import { CMD, type NbdClient } from "../pud/links/nbd/client.js";
import { dial } from "../pud/links/nbd/rig.js";
import { requireTool, runTool } from "../tools.js";

const COMMAND = fileURLToPath(new URL("../../bin/rumpusb.js", import.meta.url));
const STICK = "sim:flash-drive,size=4M";
const TIMEOUT_MS = 120_000;
const PAGE_BYTES = 4096;
/** Enough to start with. */
const FEW_DESCRIPTORS = 96;
/** Opened one after another, and open at the same time; 64 are let in. */
const CONNECTIONS = 10_000;
const AT_ONCE = 1_000;
const MAX_GROWTH_BYTES = 64 << 20;
/** The process in reserve has started, and has its descriptors. */
const SPARE_MS = 1_000;
/** Longer than it takes a driver that dies at once to be given up. */
const SHORTAGE_MS = 2_500;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-li-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const runtimeDir = (): string => join(folder, "rt");
const socketPath = (node = "sd0"): string => join(runtimeDir(), `${node}.nbd.sock`);

async function start(...args: string[]): Promise<RunningCommand> {
  const host = new RunningCommand("run", "--json", "--runtime-dir", runtimeDir(), ...args);
  await host.event("ready");
  return host;
}

async function client(node = "sd0"): Promise<NbdClient> {
  const one = await dial({ path: socketPath(node) });
  await one.go(node);
  return one;
}

async function readsBlock(one: NbdClient): Promise<void> {
  expect((await one.do({ type: CMD.READ, length: 4096 })).error).toBe(0);
}

/** Sets how many descriptors a process may have; those that it has it keeps. */
async function limitDescriptors(context: TestContext, pid: number, most: number): Promise<void> {
  const set = await runTool(requireTool("prlimit", context), ["--pid", String(pid), `--nofile=${most}:`]);
  expect(set, set.stderr).toMatchObject({ exitCode: 0 });
}

/** Lets a process have so many more, wherever among its numbers they are free. */
async function leaveDescriptors(context: TestContext, pid: number, left: number): Promise<void> {
  const used = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let most = 0;
  for (let free = 0; free < left || used.has(most); most++) if (!used.has(most)) free++;
  await limitDescriptors(context, pid, most);
}

const descriptorsOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
const residentBytes = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * PAGE_BYTES;

describe("descriptors", () => {
  test.each([24, 32, 40])(
    "%i are too few to start with: it says so and ends",
    { timeout: TIMEOUT_MS },
    async (most) => {
      const script = `ulimit -n ${most} && exec "$0" "$@"`;
      const args = ["-c", script, process.execPath, COMMAND, "run", "--runtime-dir", runtimeDir(), STICK];
      const { exitCode, stderr } = await runTool("/bin/sh", args, 30_000);
      expect(exitCode, stderr).toBe(1);
      expect(stderr).toContain("EMFILE");
    },
  );

  test("none for another client: it is sent away, the others go on, and the next one after that is served", {
    timeout: TIMEOUT_MS,
  }, async () => {
    // Each node lets 64 clients in: together more than there may be descriptors, in whatever process.
    const under = ["/bin/sh", "-c", `ulimit -n ${FEW_DESCRIPTORS} && exec "$0" "$@"`];
    await using host = new RunningCommand("run", "--json", "--runtime-dir", runtimeDir(), STICK, STICK, { under });
    await host.event("ready");
    const [first, second] = [await client("sd0"), await client("sd1")];
    const more = ["sd0", "sd1"].flatMap((node) =>
      Array.from({ length: 60 }, () => net.connect(socketPath(node)).on("error", () => {})),
    );
    const closed = more.map((socket) => once(socket, "close"));
    await Promise.race(closed);
    for (let read = 0; read < 50; read++) await Promise.all([readsBlock(first), readsBlock(second)]);
    for (const socket of more) socket.destroy();
    await Promise.all(closed);
    await readsBlock(await client("sd0"));
    await readsBlock(first);
    expect(await host.end()).toBe(0);
  });

  test("none for a while when a driver has died: its clients wait, those of the other device do not notice", {
    timeout: TIMEOUT_MS,
  }, async (context) => {
    await using host = await start(STICK, STICK);
    const [first, second] = [await client("sd0"), await client("sd1")];
    const device = host.events.find(({ event, node }) => event === "node" && node === "sd0")?.["device"];
    const pid = Number((await host.event("device", (one) => one["device"] === device))["pid"]);
    await limitDescriptors(context, host.pid, 8);
    process.kill(pid, "SIGKILL");
    const waiting = readsBlock(first);
    for (let read = 0; read < 20; read++) await readsBlock(second);
    expect(await host.event("error")).toMatchObject({ code: "NO_RESOURCES", device });
    await delay(SHORTAGE_MS);
    expect(host.events.filter(({ event }) => event === "restart" || event === "node-gone")).toEqual([]);
    await limitDescriptors(context, host.pid, 1024);
    await waiting;
    expect((await host.event("restart"))["device"]).toBe(device);
    await readsBlock(second);
    expect(host.events.filter(({ event }) => event === "node-gone" || event === "quarantine")).toEqual([]);
    expect(await host.end()).toBe(0);
  });
});

describe("no descriptors for what is loaded late", () => {
  test("a line is opened: its program is hung up, it is said why, and the next one has it", {
    timeout: TIMEOUT_MS,
  }, async (context) => {
    await using host = await start("sim:serial");
    await delay(SPARE_MS);
    const path = String((await host.event("link"))["path"]);
    await limitDescriptors(context, host.pid, 8);
    const early = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    await expect.poll(() => host.stderr, { timeout: 10_000 }).toMatch(/programs are hung up: .*EMFILE/);
    closeSync(early);
    await limitDescriptors(context, host.pid, 1024);
    await expect.poll(() => existsSync(path), { timeout: 10_000 }).toBe(true);
    const late = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    await delay(500);
    expect(writeSync(late, "hello")).toBe(5); // EIO where it is hung up
    closeSync(late);
    expect(host.stderr.match(/hung up/g)).toHaveLength(1);
    expect(await host.end()).toBe(0);
  });

  test.for([
    ["its name", 0],
    ["its link", 1],
  ] as const)(
    "a medium comes, and there are none for %s: it is said once, and served when there are",
    {
      timeout: TIMEOUT_MS,
    },
    async ([, left], context) => {
      const socket = `unix:${join(folder, "drive.sock")}`;
      const options = ["--listen", socket, "--json", "size=4M", "medium=none", "removable"];
      await using drive = new RunningCommand("vdev", "flash-drive", ...options);
      await drive.event("listening");
      await using host = await start(`usbip:${socket}/1-1`);
      await delay(SPARE_MS);
      await leaveDescriptors(context, host.pid, left);
      drive.say("insert");
      await host.event("error");
      await delay(SHORTAGE_MS);
      expect(host.events.filter(({ event }) => event === "error" || event === "link")).toEqual([
        expect.objectContaining({ event: "error", message: expect.stringContaining("EMFILE") as string }),
      ]);
      await limitDescriptors(context, host.pid, 1024);
      expect(await host.event("link")).toMatchObject({ node: "sd0", link: "nbd" });
      await readsBlock(await client());
      expect(await host.end()).toBe(0);
    },
  );
});

test("no space for a socket: it says so and ends", { timeout: TIMEOUT_MS }, async (context) => {
  if (process.getuid?.() !== 0) context.skip("only root may mount");
  mkdirSync(runtimeDir(), { mode: 0o700 });
  // Room for the folder itself and nothing else.
  const script = `mount -t tmpfs -o mode=700,nr_inodes=1 none "$RT" && exec "$0" "$@"`;
  const args = ["-m", "/bin/sh", "-c", script.replace("$RT", runtimeDir()), process.execPath, COMMAND];
  const run = await runTool(
    requireTool("unshare", context),
    [...args, "run", "--runtime-dir", runtimeDir(), STICK],
    30_000,
  );
  if (run.stderr.includes("mount:") || run.stderr.includes("unshare:")) context.skip(`cannot mount: ${run.stderr}`);
  expect(run.exitCode, run.stderr).toBe(1);
  expect(run.stderr).toContain("ENOSPC");
});

test("ten thousand connections, a thousand at once: refused or served, and all is as before", {
  timeout: TIMEOUT_MS,
}, async () => {
  await using host = await start(STICK);
  await delay(SPARE_MS);
  const pids = [host.pid, pudProcessOf(host.pid)];
  const sum = (of: (pid: number) => number): number => pids.reduce((total, pid) => total + of(pid), 0);
  const before = { bytes: sum(residentBytes), descriptors: sum(descriptorsOf) };
  const connect = async (): Promise<net.Socket> => {
    const socket = net.connect(socketPath());
    socket.on("error", () => {});
    await new Promise<void>((settled) => socket.once("connect", settled).once("close", () => settled()));
    return socket;
  };
  const open = await Promise.all(Array.from({ length: AT_ONCE }, connect));
  await delay(200);
  expect(sum(descriptorsOf) - before.descriptors).toBeLessThanOrEqual(64);
  expect(sum(residentBytes) - before.bytes).toBeLessThan(MAX_GROWTH_BYTES);
  for (const socket of open) socket.destroy();
  for (let made = 0; made < CONNECTIONS; made += 200) {
    const some = await Promise.all(Array.from({ length: 200 }, connect));
    for (const socket of some) socket.destroy();
  }
  await expect.poll(() => sum(descriptorsOf), { timeout: 20_000 }).toBeLessThanOrEqual(before.descriptors);
  expect(sum(residentBytes) - before.bytes).toBeLessThan(MAX_GROWTH_BYTES);
  await readsBlock(await client());
  // Not a line for each of them.
  expect(host.events.filter(({ event }) => event === "log").length).toBeLessThan(100);
  expect(await host.end()).toBe(0);
});

test("a driver's process that serves has less than 45 MiB resident", { timeout: TIMEOUT_MS }, async () => {
  await using host = await start(STICK);
  const one = await client();
  for (let at = 0; at < 500; at++) await readsBlock(one);
  const { pid } = await host.event("device");
  expect(residentBytes(Number(pid))).toBeLessThan(45 << 20);
});
