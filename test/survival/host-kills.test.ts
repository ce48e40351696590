/**
 * Real processes: the host is killed with SIGKILL at every stage. Whatever it had started ends, and nothing is left but
 * files that the next run takes over.
 */
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RunningCommand } from "../cli/command.js";
import { CMD, request } from "../pud/links/nbd/client.js";
import { dial } from "../pud/links/nbd/rig.js";

const TIMEOUT_MS = 90_000;
/** By then everything must be gone; the simulated device has a second to end in order. */
const GONE_MS = 10_000;

/** Matches no device. Its path is in the arguments of every process that could load it. */
const MARK = `
export const none = { name: "none", match: [{ vendor: 0x1209, product: 0xffff }], endpoints: {}, attach: async () => {} };
`;

let folder = "";
let mark = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-hk-"));
  chmodSync(folder, 0o755);
  mark = join(folder, "mark.mjs");
  writeFileSync(mark, MARK);
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const runtimeDir = (): string => join(folder, "rt");

function start(...args: string[]): RunningCommand {
  return new RunningCommand("run", "--json", "--runtime-dir", runtimeDir(), "--driver", mark, ...args);
}

/** Every process whose arguments name the folder of this test, zombies aside: they have none. */
function left(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => ({ pid, args: argumentsOf(pid) }))
    .filter(({ args }) => args.includes(folder))
    .map(({ pid, args }) => `${pid}: ${args}`);
}

function argumentsOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return ""; // it has ended
  }
}

/** Kills the host, waits for everything to go, and runs it again in the same place. `others` are the test's own. */
async function killed(host: RunningCommand, device: string, options: readonly string[], others = 0): Promise<void> {
  await host.end("SIGKILL");
  const waited = { timeout: GONE_MS, interval: 50 };
  await expect.poll(() => left().length - others, waited).toBe(0);
  if (existsSync(runtimeDir())) expect(sockets().filter((name) => name !== "sd0.nbd.sock")).toEqual([]);
  await using next = start(...options, device);
  expect((await next.event("ready"))["nodes"]).toEqual(["sd0"]);
  await readOnce();
  expect(await next.end(), next.stderr).toBe(0);
  expect(left().slice(others)).toEqual([]);
  expect(sockets()).toEqual([]);
}

const sockets = (): string[] => readdirSync(runtimeDir()).filter((name) => name.endsWith(".sock"));

async function readOnce(): Promise<void> {
  const client = await dial({ path: join(runtimeDir(), "sd0.nbd.sock") });
  await client.go("sd0");
  expect((await client.do({ type: CMD.READ, length: 4096 })).error).toBe(0);
  client.wire.close();
}

/** A client that asks for more than is answered by the time of the kill. */
async function keepBusy(): Promise<void> {
  const client = await dial({ path: join(runtimeDir(), "sd0.nbd.sock") });
  await client.go("sd0");
  for (let read = 0; read < 8; read++) client.send(request({ type: CMD.READ, offset: 0, length: 1 << 20 }));
  for (let write = 0; write < 8; write++)
    client.send(request({ type: CMD.WRITE, offset: 0, data: new Uint8Array(1 << 20) }));
}

type Stage = readonly [name: string, reach: (host: RunningCommand) => Promise<void>];

const after = (delayMs: number): Stage => [`${delayMs} ms after it was started`, async () => await delay(delayMs)];

const driverOf = async (host: RunningCommand): Promise<number> => Number((await host.event("device"))["pid"]);

const restarting = (delayMs: number): Stage => [
  `${delayMs} ms after its driver was killed`,
  async (host) => {
    await host.event("ready");
    await keepBusy();
    process.kill(await driverOf(host), "SIGKILL");
    await delay(delayMs);
  },
];

const ending = (delayMs: number): Stage => [
  `${delayMs} ms after it was told to end`,
  async (host) => {
    await host.event("ready");
    await keepBusy();
    host.signal("SIGINT");
    await delay(delayMs);
  },
];

const STAGES: readonly Stage[] = [
  ...[50, 150, 250, 350, 450, 600].map(after),
  ["the lock was read back", async (host) => void (await host.event("sandbox"))],
  ["a driver has attached", async (host) => void (await host.event("device"))],
  ["a link is up", async (host) => void (await host.event("link"))],
  ["it serves", async (host) => void (await host.event("ready"))],
  [
    "it serves a client, with a process in reserve",
    async (host) => {
      await host.event("ready");
      await delay(500);
      await keepBusy();
    },
  ],
  [
    "its driver hangs",
    async (host) => {
      await host.event("ready");
      process.kill(await driverOf(host), "SIGSTOP");
      await keepBusy();
    },
  ],
  ...[0, 30, 90, 200].map(restarting),
  ...[0, 10, 50].map(ending),
];

/** Where several devices share a process, or none is locked: the stages at which that makes a difference. */
const SOME_STAGES = STAGES.filter(([name]) =>
  /^(150|350) ms|lock|driver has|serves|hangs|^(30 ms after its|10 ms)/.test(name),
);

describe.each([
  { options: [], stages: STAGES },
  { options: ["--group"], stages: SOME_STAGES },
  { options: ["--no-sandbox"], stages: SOME_STAGES },
])("run $options", ({ options, stages }) => {
  test.each(stages)("killed: %s", { timeout: TIMEOUT_MS }, async (_, reach) => {
    const device = "sim:flash-drive,size=4M";
    await using host = start(...options, device);
    await reach(host);
    await killed(host, device, options);
  });
});

test.each([0, 300])(
  "killed %i ms after its device was pulled out, while it waits for it",
  { timeout: TIMEOUT_MS },
  async (ms) => {
    const socket = `unix:${join(folder, "stick.sock")}`;
    await using stick = new RunningCommand("vdev", "flash-drive", "--listen", socket, "--json", "size=4M");
    await stick.event("listening");
    const device = `usbip:${socket}/1-1`;
    const options = ["--grace", "60s"];
    await using host = start(...options, device);
    await host.event("ready");
    stick.say("unplug");
    await host.event("unplug");
    await delay(ms);
    stick.say("replug");
    await killed(host, device, options, 1);
  },
);
