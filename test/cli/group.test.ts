import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, type TestContext, vi } from "vitest";
import { requireTool, runTool } from "../tools.js";
import { isAlive, type JsonEvent, runToEnd, RunningCommand } from "./command.js";

const BYTES = 4 << 20;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-group-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function start(...args: string[]): RunningCommand {
  return new RunningCommand("run", "--group", "--json", "--runtime-dir", join(folder, "rt"), ...args);
}

function image(name: string): { path: string; content: Buffer } {
  const path = join(folder, name);
  const content = randomBytes(BYTES);
  writeFileSync(path, content);
  return { path, content };
}

const all = (host: RunningCommand, event: string): JsonEvent[] => host.events.filter((one) => one.event === event);
const uriOf = (host: RunningCommand, device: string): string => {
  const node = all(host, "node").find((one) => one["device"] === device);
  return String(all(host, "link").find((one) => one["node"] === node?.["node"])?.["uri"]);
};
const pidsOf = (host: RunningCommand): Set<number> => new Set(all(host, "device").map(({ pid }) => Number(pid)));

/** A client that reads everything. */
async function read(context: TestContext, uri: string): Promise<Buffer> {
  const copy = join(folder, `copy-${randomBytes(4).toString("hex")}`);
  const copied = await runTool(requireTool("nbdcopy", context), [uri, copy]);
  expect(copied, copied.stderr).toMatchObject({ exitCode: 0 });
  return readFileSync(copy);
}

test("two drives in one process, each with its own bytes; both go in order and nothing is left", async (context) => {
  const images = [image("a.img"), image("b.img")];
  await using host = start(...images.map(({ path }) => `sim:flash-drive,image=${path}`));
  await host.event("ready");
  expect(all(host, "device")).toHaveLength(2);
  const [pid = 0, ...others] = pidsOf(host);
  expect(others).toEqual([]);
  expect(all(host, "sandbox").map(({ level }) => level)).toEqual(["full", "full"]);
  const copies = await Promise.all(
    ["sim:flash-drive", "sim:flash-drive#2"].map(async (device) => await read(context, uriOf(host, device))),
  );
  expect(copies.map((copy, index) => copy.equals(images[index]?.content ?? copy))).toEqual([true, true]);
  const other = randomBytes(BYTES);
  writeFileSync(join(folder, "other"), other);
  const nbdcopy = requireTool("nbdcopy", context);
  const write = [join(folder, "other"), uriOf(host, "sim:flash-drive#2")];
  expect(await runTool(nbdcopy, ["--flush", ...write])).toMatchObject({ exitCode: 0 });
  expect(await host.end()).toBe(0);
  expect(readFileSync(images[1]?.path ?? "").equals(other)).toBe(true);
  expect(readFileSync(images[0]?.path ?? "").equals(images[0]?.content ?? other)).toBe(true);
  await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 10_000 });
});

test("the process is killed, again and again: both come back in the next one, and clients see no error", async (context) => {
  const fio = requireTool("fio", context);
  await using host = start("sim:flash-drive,size=16M,cache", "sim:flash-drive,size=16M,cache");
  await host.event("ready");
  const work = ["--rw=randrw", "--bs=4k", "--iodepth=8", "--size=8m", "--verify=crc32c", "--verify_state_save=0"];
  const clients = ["sim:flash-drive", "sim:flash-drive#2"].map(
    async (device) =>
      await runTool(fio, [
        "--name=v",
        "--ioengine=nbd",
        `--uri=${uriOf(host, device)}`,
        ...work,
        "--time_based",
        "--runtime=4",
      ]),
  );
  let [pid = 0] = pidsOf(host);
  for (const count of [1, 2]) {
    await new Promise((resolve) => setTimeout(resolve, 800));
    process.kill(pid, "SIGKILL");
    const isThis = (device: string) => (event: JsonEvent) => event["device"] === device && event["count"] === count;
    const first = await host.event("restart", isThis("sim:flash-drive"));
    const second = await host.event("restart", isThis("sim:flash-drive#2"));
    expect(second["pid"]).toBe(first["pid"]);
    expect(first["pid"]).not.toBe(pid);
    pid = Number(first["pid"]);
  }
  for (const client of await Promise.all(clients)) {
    expect(client.stderr).not.toContain("verify:");
    expect(client.exitCode).toBe(0);
  }
  expect(all(host, "error")).toEqual([]);
  expect(await host.end()).toBe(0);
});

test("one drive is pulled out for good: the other goes on in the same process", async (context) => {
  const kept = image("kept.img");
  await using host = start(
    "--grace",
    "0",
    `sim:flash-drive,image=${kept.path}`,
    "sim:flash-drive,size=16M,fault=transfer:disconnect:nth=60",
  );
  await host.event("ready");
  const nbdcopy = requireTool("nbdcopy", context);
  const failed = await runTool(nbdcopy, [uriOf(host, "sim:flash-drive#2"), "null:"]);
  expect(failed.exitCode).toBe(1);
  expect(await host.event("detach")).toMatchObject({ device: "sim:flash-drive#2" });
  expect((await read(context, uriOf(host, "sim:flash-drive"))).equals(kept.content)).toBe(true);
  expect(all(host, "restart")).toEqual([]);
  const [pid = 0] = pidsOf(host);
  expect(isAlive(pid)).toBe(true);
  expect(await host.end()).toBe(0);
});

test("one drive is pulled out and put back: it is the same node, in another process; then all meet again", async (context) => {
  const stay = image("stay.img");
  const { path, content } = image("stick.img");
  const socket = `unix:${join(folder, "stick.sock")}`;
  await using stick = new RunningCommand("vdev", "flash-drive", "--listen", socket, "--json", `image=${path}`);
  await stick.event("listening");
  await using host = start("--grace", "20s", `sim:flash-drive,image=${stay.path}`, `usbip:${socket}/1-1`);
  await host.event("ready");
  const [pid = 0] = pidsOf(host);
  const moved = `usbip:${socket}/1-1`;
  stick.say("unplug");
  await host.event("unplug");
  const reading = read(context, uriOf(host, moved)); // waits
  stick.say("replug");
  const replug = await host.event("replug");
  expect(replug["pid"]).not.toBe(pid);
  expect((await reading).equals(content)).toBe(true);
  expect((await read(context, uriOf(host, "sim:flash-drive"))).equals(stay.content)).toBe(true);
  expect(all(host, "restart")).toEqual([]);
  expect(isAlive(pid)).toBe(true);

  process.kill(pid, "SIGKILL");
  const restart = await host.event("restart");
  expect(restart).toMatchObject({ device: "sim:flash-drive", pid: replug["pid"] });
  expect((await read(context, uriOf(host, "sim:flash-drive"))).equals(stay.content)).toBe(true);
  expect((await read(context, uriOf(host, moved))).equals(content)).toBe(true);
  expect(all(host, "error")).toEqual([]);
  expect(await host.end()).toBe(0);
});

test("a device that cannot be attached: the others are served, by the process that they shared with it", async (context) => {
  const good = image("good.img");
  await using host = start(`sim:flash-drive,image=${good.path}`, "sim:flash-drive,size=1M,fault=control:stall:every");
  await host.event("error");
  await host.event("ready");
  expect((await read(context, uriOf(host, "sim:flash-drive"))).equals(good.content)).toBe(true);
  expect(all(host, "restart")).toEqual([]);
  expect(await host.end()).toBe(0);
});

/** Takes a flash drive with ids of its own, and ends the process `when` it attaches. */
const deadly = (when: string): string => `
export const deadly = {
  name: "deadly",
  match: [{ vendor: 0x1209, product: 0x0bad }],
  endpoints: {},
  requests: [],
  async attach() {
    ${when};
  },
};`;

test("one device kills its driver whenever it attaches: it is quarantined, its idle neighbour is not", async (context) => {
  const file = join(folder, "deadly.mjs");
  chmodSync(folder, 0o755);
  writeFileSync(file, deadly("setTimeout(() => process.abort(), 500)"));
  const good = image("good.img");
  await using host = start("--driver", file, `sim:flash-drive,image=${good.path}`, "sim:flash-drive,ids=1209:0bad");
  await host.event("ready");
  expect(pidsOf(host).size).toBe(1);
  expect(await host.event("quarantine")).toMatchObject({ device: "sim:flash-drive#2", failures: 5 });
  expect(all(host, "quarantine")).toHaveLength(1);
  const restarts = all(host, "restart").filter(({ device }) => device === "sim:flash-drive");
  expect(restarts.length).toBeLessThanOrEqual(2);
  expect((await read(context, uriOf(host, "sim:flash-drive"))).equals(good.content)).toBe(true);
  expect(await host.end()).toBe(0);
});

test("one device kills the process before its neighbour has attached: that one gets a process of its own", async (context) => {
  const file = join(folder, "deadly.mjs");
  chmodSync(folder, 0o755);
  writeFileSync(file, deadly("process.abort()"));
  const good = image("good.img");
  await using host = start("--driver", file, "sim:flash-drive,ids=1209:0bad", `sim:flash-drive,image=${good.path}`);
  expect(await host.event("error")).toMatchObject({ code: "RUMP_LOST", device: "sim:flash-drive" });
  await host.event("ready");
  expect((await read(context, uriOf(host, "sim:flash-drive#2"))).equals(good.content)).toBe(true);
  expect(await host.end()).toBe(0);
});

test("--split and --group: a process for less than a device and one for more, exit 2", async () => {
  const { status, stderr } = await runToEnd("run", "--split", "--group", "1-1", "--runtime-dir", join(folder, "rt"));
  expect(status).toBe(2);
  expect(stderr).toContain("--group");
});
