/** A process that is locked to serve clients does that, with everything that it is given after the lock. */
import { closeSync, constants, openSync, readFileSync, readSync, writeSync } from "node:fs";
import net from "node:net";
import { once } from "node:events";
import { afterEach, describe, expect, test } from "vitest";
import { readThreads } from "../../src/host/sandbox/proc-state.js";
import { SERVING_LIMITS } from "../../src/host/sandbox/sandbox.js";
import type { LockProfile } from "../../src/rumpuser/real/lock.js";
import { ServingProcess } from "./serving.js";

const PROFILES = ["standard", "strict"] as const;
const CLIENTS = 1_000;
const AT_ONCE = 50;
const TEXT = "0123456789abcdef".repeat(64);
const FEW_FILES = 64;
const MANY_CLIENTS = 150;
const TIMEOUT_MS = 60_000;

const processes: ServingProcess[] = [];
afterEach(() => {
  for (const one of processes.splice(0)) one[Symbol.dispose]();
});

async function start(profile: LockProfile, openFiles = SERVING_LIMITS.openFiles): Promise<ServingProcess> {
  const process = await ServingProcess.start(profile, { ...SERVING_LIMITS, openFiles });
  processes.push(process);
  return process;
}

type Address = { readonly path: string } | { readonly host: string; readonly port: number };

function addresses({ given }: ServingProcess): readonly [Address, Address] {
  return [{ path: given.socketPath }, { host: "127.0.0.1", port: given.port }];
}

/** @returns what came back, until the process closed the connection. */
async function echo(address: Address, text: string): Promise<string> {
  const socket = net.connect(address);
  socket.end(text);
  let answer = "";
  for await (const chunk of socket.setEncoding("latin1")) answer += String(chunk);
  return answer;
}

/** Stays connected. @returns whether it was let in and is answered. */
async function isServed(socket: net.Socket): Promise<boolean> {
  const answered = once(socket, "data").then(
    () => true,
    () => false,
  );
  socket.write("x");
  return await Promise.race([answered, once(socket, "close").then(() => false)]);
}

function connectMany(process: ServingProcess, count: number): net.Socket[] {
  const [unix, tcp] = addresses(process);
  return Array.from({ length: count }, (_, index) => {
    const socket = net.connect(index % 2 === 0 ? unix : tcp);
    return socket.on("error", () => {}); // it was sent away
  });
}

describe.each(PROFILES)("profile %s", (profile) => {
  test("a thousand clients one after the other and at once, a terminal, file events, memory, a socket and timers", {
    timeout: TIMEOUT_MS,
  }, async () => {
    const process = await start(profile);
    expect(process.report.layers).toMatchObject({ seccomp: true, capabilities: true, limits: true });
    // Read back before anything was given: on each thread, the launcher's filter and the lock's.
    const threads = readThreads(process.pid);
    expect(threads.length).toBeGreaterThan(4);
    expect(threads.filter(({ seccompFilters }) => seccompFilters !== 2)).toEqual([]);
    const { given } = process;
    expect(given.memory.at(-1)).toBe(8);

    const [unix, tcp] = addresses(process);
    for (let done = 0; done < CLIENTS; done += AT_ONCE) {
      const all = Array.from({ length: AT_ONCE }, async (_, index) => await echo(index % 2 === 0 ? unix : tcp, TEXT));
      expect(new Set(await Promise.all(all))).toEqual(new Set([TEXT]));
    }

    const sockets = connectMany(process, CLIENTS);
    expect(await Promise.all(sockets.map(isServed))).toEqual(sockets.map(() => true));
    for (const socket of sockets) socket.destroy();

    given.peer.write("peer");
    expect(String((await once(given.peer, "data"))[0])).toBe("peer");

    const terminal = openSync(given.terminalPath, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
    try {
      writeSync(terminal, "line\n");
      const bytes = Buffer.alloc(64);
      const read = (): string => {
        try {
          return bytes.toString("latin1", 0, readSync(terminal, bytes));
        } catch {
          return ""; // EAGAIN
        }
      };
      await expect.poll(read).toContain("line");
    } finally {
      closeSync(terminal);
    }

    const counts = await process.counts();
    expect(counts).toMatchObject({ served: 2 * CLIENTS, sentAway: 0, acceptErrors: 0 });
    expect(counts.fileEvents).toBeGreaterThan(0);
    expect(counts.ticks).toBeGreaterThan(0);
    expect(await process.end()).toEqual({ code: 0, signal: null });
  });

  test("more clients than it may have descriptors for: some are sent away, it goes on, and has room again", {
    timeout: TIMEOUT_MS,
  }, async () => {
    const process = await start(profile, FEW_FILES);
    expect(process.openFiles).toBe(FEW_FILES);
    for (let round = 0; round < 3; round++) {
      const sockets = connectMany(process, MANY_CLIENTS);
      const served = (await Promise.all(sockets.map(isServed))).filter(Boolean).length;
      expect(served).toBeGreaterThan(0);
      expect(served).toBeLessThan(FEW_FILES);
      expect(await process.giveOneMore()).toBe("EMFILE");
      const { ticks } = await process.counts();
      await expect.poll(async () => (await process.counts()).ticks).toBeGreaterThan(ticks);
      for (const socket of sockets) socket.destroy();
      await expect.poll(async () => await process.giveOneMore()).toBe("");
      const [unix, tcp] = addresses(process);
      await expect.poll(async () => await echo(unix, TEXT).catch(() => "")).toBe(TEXT);
      await expect.poll(async () => await echo(tcp, TEXT).catch(() => "")).toBe(TEXT);
    }
    expect(await process.end()).toEqual({ code: 0, signal: null });
  });
});

test("it may have as many descriptors as this process might, up to a bound, and 4 GiB of memory of its own", async () => {
  const process = await start("standard");
  const hard = Number(/^Max open files +\d+ +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? Infinity);
  expect(process.openFiles).toBe(Math.min(hard, SERVING_LIMITS.openFiles));
  expect(readFileSync(`/proc/${process.pid}/limits`, "utf8")).toMatch(/^Max data size +4294967296 +4294967296 /m);
});
