/** Real processes: a stick loses power with acknowledged, unflushed writes in its cache, and is plugged in again. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isAlive, RunningCommand } from "../cli/command.js";
import { requireTool, runTool } from "../tools.js";

const BYTES = 4 << 20;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-rp-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Rig extends AsyncDisposable {
  readonly stick: RunningCommand;
  readonly host: RunningCommand;
  readonly uri: string;
  readonly image: string;
}

/** A USB/IP server with one stick; where one has ended, the next one serves the same stick. */
async function startServer(...kind: string[]): Promise<RunningCommand> {
  const options = [`image=${join(folder, "stick.img")}`, "cache", ...kind];
  const socket = `unix:${join(folder, "stick.sock")}`;
  const server = new RunningCommand("vdev", "flash-drive", "--listen", socket, "--json", ...options);
  await server.event("listening");
  return server;
}

async function plugIn(...options: string[]): Promise<Rig> {
  const image = join(folder, "stick.img");
  writeFileSync(image, new Uint8Array(BYTES));
  const socket = `unix:${join(folder, "stick.sock")}`;
  const stick = await startServer(...(options.includes("uas") ? ["uas"] : []));
  const host = new RunningCommand(
    "run",
    "--json",
    "--runtime-dir",
    join(folder, "rt"),
    ...options,
    `usbip:${socket}/1-1`,
  );
  const uri = String((await host.event("link"))["uri"]);
  await host.event("ready");
  const dispose = async (): Promise<void> => {
    await host[Symbol.asyncDispose]();
    await stick[Symbol.asyncDispose]();
  };
  return { stick, host, uri, image, [Symbol.asyncDispose]: dispose };
}

test.for(["sequence", "overlap", "together", "uas"])(
  "the same stick, %s: nothing that was acknowledged is lost, and the node is the same",
  async (mode, context) => {
    const nbdcopy = requireTool("nbdcopy", context);
    await using rig = await plugIn("--grace", "20s", "--mode", mode);
    const { stick, host, uri, image } = rig;
    const data = randomBytes(BYTES);
    const source = join(folder, "source");
    writeFileSync(source, data);
    // Without --flush: all of it is acknowledged, and the stick keeps it in its cache.
    expect(await runTool(nbdcopy, ["--destination-is-zero", source, uri])).toMatchObject({ exitCode: 0 });
    stick.say("power-cut 7");
    await host.event("unplug");
    expect(readFileSync(image).equals(data)).toBe(false);
    const copy = join(folder, "copy");
    const reading = runTool(nbdcopy, [uri, copy]); // waits
    stick.say("replug");
    await host.event("replug");
    expect(await reading).toMatchObject({ exitCode: 0 });
    expect(readFileSync(copy).equals(data)).toBe(true);
    expect(readFileSync(image).equals(data)).toBe(true); // flushed when it was written again
    const told = host.events.filter(({ event }) => event === "device").map((event) => String(event["mode"]));
    expect(told).toEqual([expect.stringMatching(new RegExp(`^${mode}.*\\(asked for\\)$`))]);
    const bad = ["node-gone", "error", "demotion"];
    expect(host.events.filter(({ event }) => bad.includes(event))).toEqual([]);
    expect(await host.end()).toBe(0);
  },
);

test.for([
  ["its server is lost", false],
  ["its server and its driver are lost at once", true],
] as const)(
  "%s: it is connected to again, and nothing that was acknowledged is lost",
  async ([, alsoDriver], context) => {
    const nbdcopy = requireTool("nbdcopy", context);
    await using rig = await plugIn("--grace", "20s");
    const { stick, host, uri, image } = rig;
    const pid = Number((await host.event("device"))["pid"]);
    const data = randomBytes(BYTES);
    const source = join(folder, "source");
    writeFileSync(source, data);
    expect(await runTool(nbdcopy, ["--destination-is-zero", source, uri])).toMatchObject({ exitCode: 0 });
    if (alsoDriver) process.kill(pid, "SIGSTOP"); // does not see that its connection ends
    await stick.end("SIGKILL");
    if (alsoDriver) process.kill(pid, "SIGKILL");
    await host.event("unplug");
    await using again = await startServer();
    await host.event("replug");
    const copy = join(folder, "copy");
    expect(await runTool(nbdcopy, [uri, copy])).toMatchObject({ exitCode: 0 });
    expect(readFileSync(copy).equals(data)).toBe(true);
    expect(host.events.filter(({ event }) => event === "node-gone" || event === "error")).toEqual([]);
    expect(await host.end()).toBe(0);
    await again.end();
    expect(readFileSync(image).equals(data)).toBe(true);
  },
);

test("its server comes back with a new stick of the same serial number: what waits fails, and nothing is written to it", async (context) => {
  const nbdcopy = requireTool("nbdcopy", context);
  await using rig = await plugIn("--grace", "20s");
  const { stick, host, uri, image } = rig;
  const source = join(folder, "source");
  const data = new Uint8Array(BYTES);
  data.set(randomBytes(BYTES / 2), BYTES / 4); // not at its edges
  writeFileSync(source, data);
  expect(await runTool(nbdcopy, ["--flush", source, uri])).toMatchObject({ exitCode: 0 });
  await stick.end("SIGKILL");
  await host.event("unplug");
  const blank = new Uint8Array(BYTES);
  writeFileSync(image, blank);
  await using again = await startServer();
  expect(String((await host.event("node-gone"))["reason"])).toContain("another medium");
  expect(await host.end()).toBe(0);
  await again.end();
  expect(readFileSync(image).equals(blank)).toBe(true);
});

test("--grace 0, and a stick that does not come back: the node goes, what waited failed", async (context) => {
  const nbdcopy = requireTool("nbdcopy", context);
  for (const grace of ["0", "0.5"]) {
    await using rig = await plugIn("--grace", grace);
    rig.stick.say("unplug");
    const read = runTool(nbdcopy, [rig.uri, "null:"]);
    expect((await rig.host.event("node-gone"))["node"]).toBe("sd0");
    expect(rig.host.events.some(({ event }) => event === "unplug")).toBe(grace !== "0");
    expect((await read).exitCode).toBe(1);
    expect(await rig.host.exit()).toBe(1);
  }
});

test("the host is killed: driver, spare and links go with it; a socket file is left, which the next run replaces", async (context) => {
  const nbdcopy = requireTool("nbdcopy", context);
  await using rig = await plugIn();
  const pid = Number((await rig.host.event("device"))["pid"]);
  expect(await rig.host.end("SIGKILL")).toBe(137);
  await expect.poll(() => isAlive(pid), { timeout: 10_000 }).toBe(false);
  const socket = `unix:${join(folder, "stick.sock")}`;
  await using next = new RunningCommand("run", "--json", "--runtime-dir", join(folder, "rt"), `usbip:${socket}/1-1`);
  expect((await next.event("ready"))["nodes"]).toEqual(["sd0"]);
  expect(await runTool(nbdcopy, [rig.uri, "null:"])).toMatchObject({ exitCode: 0 });
  expect(await next.end()).toBe(0);
});
