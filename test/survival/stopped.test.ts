/** Real processes that get no time at all for a while, as when a machine sleeps or is held in a debugger: no error, and no new driver. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RunningCommand } from "../cli/command.js";
import { pudProcessOf } from "../cli/pud-process.js";
import { CMD, type NbdClient, request } from "../pud/links/nbd/client.js";
import { dial } from "../pud/links/nbd/rig.js";

const TIMEOUT_MS = 60_000;
/** Far longer than a driver may be silent. */
const STOPPED_MS = 2_000;
const BYTES = 64 * 1024;
const READS = 8;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-st-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function answers(client: NbdClient): Promise<void> {
  for (let read = 0; read < READS; read++) expect((await client.reply(BYTES)).error).toBe(0);
}

test.each([
  ["the host", ["host"]],
  ["the pud process", ["pud"]],
  ["all of them and the driver", ["driver", "pud", "host"]],
] as const)("%s: what was asked is answered afterwards", { timeout: TIMEOUT_MS }, async (_, names) => {
  await using host = new RunningCommand("run", "--json", "--runtime-dir", folder, "sim:flash-drive,size=4M");
  await host.event("ready");
  const client = await dial({ path: join(folder, "sd0.nbd.sock") });
  await client.go("sd0");
  const driver = Number((await host.event("device"))["pid"]);
  const pids = { driver, pud: pudProcessOf(host.pid), host: host.pid };
  const stopped = names.map((name) => pids[name]);
  for (let time = 0; time < 2; time++) {
    for (let read = 0; read < READS; read++)
      client.send(request({ type: CMD.READ, offset: read * BYTES, length: BYTES }));
    for (const pid of stopped) process.kill(pid, "SIGSTOP");
    await delay(STOPPED_MS);
    // The driver last: the pud process looks at a driver that has said nothing all the time.
    for (const pid of stopped.toReversed()) process.kill(pid, "SIGCONT");
    await answers(client);
  }
  expect(host.events.filter(({ event }) => ["restart", "error", "node-gone"].includes(event))).toEqual([]);
  client.wire.close();
  expect(await host.end()).toBe(0);
});
