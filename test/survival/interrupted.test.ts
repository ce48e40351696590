/** Real processes: system calls of the host that are interrupted (EINTR, signal(7)) are made again. strace(1) interrupts every seventh. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readChildren } from "../../src/host/sandbox/proc-state.js";
import { RunningCommand } from "../cli/command.js";
import { CMD } from "../pud/links/nbd/client.js";
import { dial } from "../pud/links/nbd/rig.js";
import { requireTool } from "../tools.js";

const TIMEOUT_MS = 60_000;
const BYTES = 256 * 1024;
const ROUNDS = 16;
/** Those that the kernel may interrupt. A read of a file it does not, and nobody expects it. */
const CALLS = "write,writev,sendmsg,recvmsg,epoll_wait,epoll_pwait,accept4";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-in-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

test("every seventh call is interrupted: nothing is lost, also when the driver is killed", {
  timeout: TIMEOUT_MS,
}, async (context) => {
  const trace = join(folder, "trace");
  const calls = ["-e", `trace=${CALLS}`, "-e", `inject=${CALLS}:error=EINTR:when=7+7`];
  const under = [requireTool("strace", context), "-o", trace, ...calls];
  const args = ["run", "--json", "--runtime-dir", join(folder, "rt"), "sim:flash-drive,size=8M"];
  await using host = new RunningCommand(...args, { under });
  await host.event("ready");
  const [hostPid = 0] = readChildren(host.pid);
  const client = await dial({ path: join(folder, "rt", "sd0.nbd.sock") });
  await client.go("sd0");
  for (let round = 0; round < ROUNDS; round++) {
    const data = randomBytes(BYTES);
    const offset = round * BYTES;
    expect((await client.do({ type: CMD.WRITE, offset, length: BYTES, data })).error).toBe(0);
    if (round === ROUNDS / 2) process.kill(Number((await host.event("device"))["pid"]), "SIGKILL");
    const read = await client.do({ type: CMD.READ, offset, length: BYTES });
    expect([read.error, data.equals(read.data)]).toEqual([0, true]);
  }
  await host.event("restart");
  client.wire.close();
  process.kill(hostPid, "SIGINT");
  expect(await host.exit(), host.stderr).toBe(0);
  const interrupted = readFileSync(trace, "latin1").match(/^\w+(?=.*\(INJECTED\))/gm) ?? [];
  expect(interrupted.length).toBeGreaterThan(20);
  expect(new Set(interrupted).size).toBeGreaterThan(2);
  expect(host.events.filter(({ event }) => event === "error")).toEqual([]);
});
