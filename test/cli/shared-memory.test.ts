/** Memory that host and driver process share: there by default, and what is served without it. Real processes. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readChildren } from "../../src/host/sandbox/proc-state.js";
import { CMD, type NbdClient } from "../pud/links/nbd/client.js";
import { dial } from "../pud/links/nbd/rig.js";
import { requireTool } from "../tools.js";
import { RunningCommand } from "./command.js";
import { pudProcessOf } from "./pud-process.js";

const TIMEOUT_MS = 60_000;
const BYTES = 1 << 20;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-sm-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const sharesMemory = (pid: number): boolean => readFileSync(`/proc/${pid}/maps`, "latin1").includes("/memfd:rumpusb");

async function readBack(client: NbdClient): Promise<Uint8Array> {
  const { error, data } = await client.do({ type: CMD.READ, length: BYTES });
  expect(error).toBe(0);
  return data;
}

/** memfd_create(2) as on a kernel before 3.17, or behind a filter. */
const REFUSED = ["-o", "/dev/null", "-e", "trace=memfd_create", "-e", "inject=memfd_create:error=ENOSYS"];

test.for([
  { what: "by default", options: [], tool: [], isShared: true },
  { what: "--no-shared-memory", options: ["--no-shared-memory"], tool: [], isShared: false },
  { what: "a kernel that gives none", options: [], tool: REFUSED, isShared: false },
])(
  "$what: shared $isShared; large reads and writes, also when the driver is killed",
  {
    timeout: TIMEOUT_MS,
  },
  async ({ options, tool, isShared }, context) => {
    const under = tool.length === 0 ? [] : [requireTool("strace", context), ...tool];
    const args = ["run", "--json", "--runtime-dir", folder, ...options, "sim:flash-drive,size=4M"];
    await using host = new RunningCommand(...args, { under });
    await host.event("ready");
    const driver = async (): Promise<number> => Number((await host.event("device"))["pid"]);
    const [hostPid = host.pid] = under.length === 0 ? [] : readChildren(host.pid);
    const pids = [pudProcessOf(hostPid), await driver()];
    expect(pids.map(sharesMemory)).toEqual([isShared, isShared]);
    const client = await dial({ path: join(folder, "sd0.nbd.sock") });
    await client.go("sd0");
    const data = randomBytes(BYTES);
    expect((await client.do({ type: CMD.WRITE, length: BYTES, data })).error).toBe(0);
    expect(data.equals(await readBack(client))).toBe(true);
    process.kill(await driver(), "SIGKILL");
    expect(data.equals(await readBack(client))).toBe(true);
    const { pid } = await host.event("restart");
    expect(sharesMemory(Number(pid))).toBe(isShared);
    client.wire.close();
    process.kill(hostPid, "SIGINT");
    expect(await host.exit(), host.stderr).toBe(0);
  },
);
