/**
 * Real processes: a driver that gets no processor, because others have it, is no hang and is not ended for that. One that
 * is stopped is, also then.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, type TestContext } from "vitest";
import { readThreadTimes } from "../../src/host/processor-wait.js";
import { RunningCommand } from "../cli/command.js";
import { CMD, type NbdClient, request } from "../pud/links/nbd/client.js";
import { dial } from "../pud/links/nbd/rig.js";
import { requireTool, runTool } from "../tools.js";

const TIMEOUT_MS = 100_000;
const LOOPS = 8;
/** A hang is found within 240 ms. */
const STARVED_MS = 480;
const MAX_STARVING_MS = 30_000;
const MAX_READ_MS = 2_000;
const READ_BYTES = 4096;

let folder = "";
let loops: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-bm-"));
});
afterEach(() => {
  for (const loop of loops) loop.kill("SIGKILL");
  loops = [];
  rmSync(folder, { recursive: true, force: true });
});

async function readBlock(client: NbdClient, offset: number): Promise<void> {
  client.send(request({ type: CMD.READ, cookie: 1n, offset, length: READ_BYTES }));
  expect((await client.reply(READ_BYTES)).error).toBe(0);
}

interface Starving {
  /**
   * Every thread of the process has one processor from now on, and only when nobody else wants it (SCHED_IDLE). Where sessions
   * share the processor (sched(7), autogroup) it is the least of them.
   */
  begin(): Promise<void>;
  /** It has its share of that processor again. */
  end(): Promise<void>;
}

function starving(context: TestContext, pid: number): Starving {
  const taskset = requireTool("taskset", context);
  const chrt = requireTool("chrt", context);
  const set = async (policy: string, nice: string): Promise<void> => {
    expect(await runTool(taskset, ["-a", "-c", "-p", "0", String(pid)])).toMatchObject({ exitCode: 0 });
    expect(await runTool(chrt, ["-a", policy, "-p", "0", String(pid)])).toMatchObject({ exitCode: 0 });
    if (existsSync(`/proc/${pid}/autogroup`)) writeFileSync(`/proc/${pid}/autogroup`, nice);
  };
  return { begin: async () => await set("-i", "19"), end: async () => await set("-o", "0") };
}

async function occupy(taskset: string): Promise<void> {
  const script = "process.stdout.write('.'); for (;;);";
  const loop = spawn(taskset, ["-c", "0", process.execPath, "-e", script], {
    stdio: ["ignore", "pipe", "ignore"],
    detached: true, // a session of its own
  });
  loops.push(loop);
  await once(loop.stdout, "data");
}

test(
  "a driver without a processor is given time; one that is stopped is replaced",
  async (context) => {
    if (readThreadTimes(process.pid).size === 0) context.skip("this kernel has no schedstat");
    const taskset = requireTool("taskset", context);
    await using host = new RunningCommand("run", "--json", "--runtime-dir", folder, "sim:flash-drive,size=4M");
    const link = await host.event("link");
    await host.event("ready");
    const pid = Number((await host.event("device"))["pid"]);
    const node = String(link["node"]);
    const client = await dial({ path: join(folder, `${node}.nbd.sock`) });
    await client.go(node);
    await readBlock(client, 0);

    const hunger = starving(context, pid);
    await hunger.begin();
    for (let loop = 0; loop < LOOPS; loop++) await occupy(taskset);
    const fromMs = performance.now();
    let reads = 0;
    let longestMs = 0;
    while (longestMs < STARVED_MS && performance.now() - fromMs < MAX_STARVING_MS) {
      const askedMs = performance.now();
      const read = readBlock(client, (reads++ % 1000) * READ_BYTES);
      const isLong = await Promise.race([read.then(() => false), delay(MAX_READ_MS).then(() => true)]);
      if (isLong) await hunger.end(); // or it takes longer than anybody is waited for
      await read;
      longestMs = Math.max(longestMs, performance.now() - askedMs);
    }
    await hunger.end();
    expect(longestMs, `${reads} reads`).toBeGreaterThan(STARVED_MS);
    expect(host.events.filter(({ event }) => event === "restart")).toEqual([]);

    process.kill(pid, "SIGSTOP");
    await readBlock(client, 0);
    expect(await host.event("restart")).toMatchObject({ reason: expect.stringMatching(/^no frame in/) });
    client.wire.close();
    expect(await host.end()).toBe(0);
  },
  TIMEOUT_MS,
);
