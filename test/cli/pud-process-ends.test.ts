/** The real pud process of `rumpusb run` is killed, or gets no time any more: the command ends, says so once, and leaves nothing. */
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CMD, type NbdClient, request } from "../pud/links/nbd/client.js";
import { dial } from "../pud/links/nbd/rig.js";
import { RunningCommand } from "./command.js";
import { pudProcessOf } from "./pud-process.js";

const TIMEOUT_MS = 60_000;
/** A process that is dead. */
const ENDED_MS = 6_000;
/** One that is silent is waited for some seconds. */
const SILENT_MS = 12_000;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-pe-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const LINE_AND_DISK = ["sim:serial", "sim:flash-drive,size=4M"];
const DEVICES: readonly (readonly [string, readonly string[]])[] = [
  ["a disk", ["sim:flash-drive,size=4M"]],
  ["disks in one process", ["--group", "sim:flash-drive,size=4M", "sim:flash-drive,size=4M"]],
  ["a line and a disk", LINE_AND_DISK],
];

async function start(args: readonly string[]): Promise<{ readonly host: RunningCommand; readonly pud: number }> {
  const host = new RunningCommand("run", "--json", "--runtime-dir", folder, ...args);
  await host.event("ready");
  return { host, pud: pudProcessOf(host.pid) };
}

/** A client with a request under way. */
async function client(): Promise<NbdClient> {
  const made = await dial({ path: join(folder, "sd0.nbd.sock") });
  await made.go("sd0");
  made.send(request({ type: CMD.READ, offset: 0, length: 65_536 }));
  return made;
}

/** Processes whose arguments name the folder of this test, zombies aside: they have none. */
function left(): string[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(argumentsOf).filter((args) => args.includes(folder));
}

function argumentsOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return ""; // it has ended
  }
}

/** Links to terminals that are gone, too. */
const files = (): string[] =>
  readdirSync(folder).filter((name) => lstatSync(join(folder, name)).isDirectory() === false);

function errorsOf(host: RunningCommand): unknown[] {
  return host.events.flatMap((event) => (event.event === "error" ? [event["message"]] : []));
}

async function within(ms: number, host: RunningCommand): Promise<number | "late"> {
  const over = new AbortController();
  try {
    return await Promise.race([host.exit(), delay(ms, "late" as const, { signal: over.signal })]);
  } finally {
    over.abort();
  }
}

describe.each(DEVICES)("%s", { timeout: TIMEOUT_MS }, (_, args) => {
  test("the pud process is killed", async () => {
    const { host, pud } = await start(args);
    await using _host = host;
    const one = await client();
    process.kill(pud, "SIGKILL");
    expect(await within(ENDED_MS, host)).toBe(1);
    expect(errorsOf(host)).toEqual([expect.stringMatching(/^the pud process is lost: signal SIGKILL/)]);
    one.wire.close();
    expect([left(), files()]).toEqual([[], []]);
  });

  test("the pud process is stopped, and the command is told twice to end", async () => {
    const { host, pud } = await start(args);
    await using _host = host;
    process.kill(pud, "SIGSTOP");
    host.signal("SIGINT");
    await delay(400);
    host.signal("SIGINT");
    expect(await within(ENDED_MS, host)).toBe(130);
    expect(errorsOf(host)).toEqual([]);
    expect(files()).toEqual([]);
    await expect.poll(left, { timeout: 5000 }).toEqual([]);
  });

  test("the command is killed while the pud process is stopped", async () => {
    const { host, pud } = await start(args);
    process.kill(pud, "SIGSTOP");
    await host.end("SIGKILL");
    await expect.poll(left, { timeout: 10_000 }).toEqual([]);
  });
});

// It takes as long as a pud process may be silent: once, with a line and a disk.
test("the pud process is stopped, and the command is told to end", { timeout: TIMEOUT_MS }, async () => {
  const { host, pud } = await start(LINE_AND_DISK);
  await using _host = host;
  const one = await client();
  process.kill(pud, "SIGSTOP");
  host.signal("SIGINT");
  expect(await within(SILENT_MS, host)).toBe(1);
  expect(errorsOf(host)).toEqual([expect.stringMatching(/^the pud process is lost: it has been silent for 5 s/)]);
  one.wire.close();
  expect([left(), files()]).toEqual([[], []]);
});

test("the pud process is stopped for a while: the end is late, and in order", { timeout: TIMEOUT_MS }, async () => {
  const { host, pud } = await start(["sim:flash-drive,size=4M"]);
  await using _host = host;
  process.kill(pud, "SIGSTOP");
  host.signal("SIGINT");
  await delay(2000);
  process.kill(pud, "SIGCONT");
  expect(await within(ENDED_MS, host)).toBe(0);
  expect([errorsOf(host), left(), files()]).toEqual([[], [], []]);
});
