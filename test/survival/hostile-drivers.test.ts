/**
 * Real processes: drivers that were taken over, or written to do harm, once their device is attached. The host lives, in bounded memory,
 * their device is given up, and another one is read and written all the time.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RunningCommand } from "../cli/command.js";
import { CMD, FLAG } from "../pud/links/nbd/client.js";
import { dial } from "../pud/links/nbd/rig.js";

const TIMEOUT_MS = 90_000;
/** Five lives, of which each fills the memory that it may have. */
const GIVEN_UP_MS = 60_000;
const PAGE_BYTES = 4096;
const MAX_GROWTH_BYTES = 64 << 20;
const BLOCK = 64 * 1024;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-hd-"));
  chmodSync(folder, 0o755);
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Attaches to the simulated serial adapter, and does its worst a moment later. The pud channel is descriptor 3. */
function driverFile(worst: string): string {
  const path = join(folder, "hostile.mjs");
  const text = `
import { writeSync } from "node:fs";
/** Again and again, whatever the descriptor has no room for. */
const flood = (fd, bytes) => { for (;;) { try { writeSync(fd, bytes); } catch (error) { if (error.code !== "EAGAIN") throw error; } } };
export const hostile = {
  name: "hostile",
  match: [{ vendor: 0x0403, product: 0x6001, revision: 0x0600, interfaceNumber: 0 }],
  endpoints: {},
  requests: [],
  async attach(at) { setTimeout(() => { ${worst} }, 300); },
};`;
  writeFileSync(path, text);
  return path;
}

const residentBytes = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * PAGE_BYTES;

async function start(worst: string): Promise<RunningCommand> {
  const args = [
    "--runtime-dir",
    join(folder, "rt"),
    "--driver",
    driverFile(worst),
    "sim:flash-drive,size=4M",
    "sim:serial",
  ];
  const host = new RunningCommand("run", "--json", ...args);
  await host.event("ready");
  return host;
}

/** Writes and reads the other device for as long as it is asked to. @returns how often, and by how much the host has grown meanwhile. */
async function useOther(
  host: RunningCommand,
  isEnough: () => boolean,
  mostMs: number,
): Promise<{ readonly rounds: number; readonly grownBytes: number }> {
  const before = residentBytes(host.pid);
  let mostBytes = before;
  const client = await dial({ path: join(folder, "rt", "sd0.nbd.sock") });
  await client.go("sd0");
  const untilMs = performance.now() + mostMs;
  let rounds = 0;
  for (; !isEnough() && performance.now() < untilMs; rounds++) {
    const data = randomBytes(BLOCK);
    const offset = (rounds % 32) * BLOCK;
    const written = await client.do({ type: CMD.WRITE, flags: FLAG.FUA, offset, length: BLOCK, data });
    const read = await client.do({ type: CMD.READ, offset, length: BLOCK });
    expect([written.error, read.error, data.equals(read.data)]).toEqual([0, 0, true]);
    mostBytes = Math.max(mostBytes, residentBytes(host.pid));
  }
  client.wire.close();
  return { rounds, grownBytes: mostBytes - before };
}

const FLOOD_OF_LINES = `
const text = "x".repeat(200) + "\\n";
const write = () => {
  try { writeSync(1, text.repeat(100)); } catch (error) { if (error.code !== "EAGAIN") throw error; }
  setImmediate(write);
};
write();
`;

const WORST = [
  ["noise on the channel, without an end", "flood(3, Buffer.alloc(65536, 0xa5));"],
  ["zeroes on the channel", "flood(3, Buffer.alloc(65536));"],
  ["all the memory that there is", "const all = []; for (;;) all.push(Buffer.alloc(64 << 20, 1));"],
  ["an exception", "throw new Error('\\u001b[2J no good');"],
  ["a system call that is not allowed", "process.kill(1, 'SIGKILL');"],
] as const;

describe("a driver that does its worst", () => {
  test.each(WORST)(
    "%s: its device is given up, the other one does not notice",
    { timeout: TIMEOUT_MS },
    async (_, worst) => {
      await using host = await start(worst);
      const isGivenUp = (): boolean => host.events.some(({ event }) => event === "quarantine");
      const { rounds, grownBytes } = await useOther(host, isGivenUp, GIVEN_UP_MS);
      expect(await host.event("quarantine")).toMatchObject({ device: "sim:serial", failures: 5 });
      expect(rounds).toBeGreaterThan(10);
      expect(grownBytes).toBeLessThan(MAX_GROWTH_BYTES);
      const about = host.events.filter(({ event }) => ["restart", "error", "node-gone"].includes(event));
      expect([...new Set(about.map(({ device }) => device))]).toEqual(["sim:serial"]);
      expect(host.stderr).not.toContain("\u001b");
      expect(await host.end()).toBe(0);
    },
  );

  // While nothing is asked of a device nobody looks whether its driver hangs: it costs a processor.
  test.each([
    ["a flood of lines on its output", FLOOD_OF_LINES],
    ["an endless loop", "for (;;);"],
    ["microtasks without an end", "const again = () => { queueMicrotask(again); }; again();"],
  ])("%s: the other one does not notice, and the host ends in order", { timeout: TIMEOUT_MS }, async (_, worst) => {
    await using host = await start(worst);
    const { rounds, grownBytes } = await useOther(host, () => false, 3_000);
    expect(rounds).toBeGreaterThan(10);
    expect(grownBytes).toBeLessThan(MAX_GROWTH_BYTES);
    expect(host.events.filter(({ event }) => ["restart", "error", "node-gone"].includes(event))).toEqual([]);
    expect(await host.end()).toBe(0);
  });
});
