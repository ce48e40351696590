/** What a command owes the shell it was started from: signals, streams that fail, relative names, its version. */
import { spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { surviveLostOutput } from "../../src/cli/output.js";
import { CollectedOutput } from "./collected-output.js";
import { isAlive, runToEnd, RunningCommand } from "./command.js";

const COMMAND = fileURLToPath(new URL("../../bin/rumpusb.js", import.meta.url));

let folder = "";
let runtimeDir = "";
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "rumpusb-m-")));
  runtimeDir = join(folder, "rt");
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const left = (): string[] => (existsSync(runtimeDir) ? readdirSync(runtimeDir) : []);

describe("signals", () => {
  test("two at once are one wish: everything is let go in order, status 0", async () => {
    await using host = new RunningCommand("run", "--json", "--runtime-dir", runtimeDir, "sim:flash-drive");
    await host.event("ready");
    host.signal("SIGINT");
    expect(await host.end("SIGTERM")).toBe(0);
    expect(host.events.at(-1)).toEqual({ event: "detach", device: "sim:flash-drive" });
    expect(left()).toEqual([]);
  });

  test("a second one, later, ends a shutdown that does not come to its end, with status 130", async () => {
    await using host = new RunningCommand("run", "--json", "--runtime-dir", runtimeDir, "sim:flash-drive");
    await host.event("ready");
    const pid = Number((await host.event("device"))["pid"]);
    process.kill(pid, "SIGSTOP"); // it will never answer
    host.signal("SIGINT");
    await host.event("node-gone");
    let status: number | undefined;
    void host.exit().then((exit) => {
      status = exit;
    });
    await vi.waitFor(
      () => {
        host.signal("SIGINT");
        expect(status).toBe(130);
      },
      { timeout: 10_000, interval: 50 },
    );
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 10_000 });
  });
});

describe("output that cannot be written", () => {
  test("stdout on a full disk: the device is let go, one line says why, status 1", async () => {
    const full = openSync("/dev/full", "w");
    const child = spawn(process.execPath, [COMMAND, "run", "--json", "--runtime-dir", runtimeDir, "sim:flash-drive"], {
      stdio: ["ignore", full, "pipe"],
    });
    closeSync(full);
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    const status = await new Promise((resolve) => child.on("close", resolve));
    expect(stderr).toBe("rumpusb: standard output: ENOSPC: no space left on device, write\n");
    expect(status).toBe(1);
    expect(left()).toEqual([]);
  });

  test.each([
    ["EPIPE", 0, []],
    ["EIO", 1, ["rumpusb: standard output: a message"]],
  ])("%s on stdout is told at most once; stderr never throws", (code, losses, spoken) => {
    const streams = { stdout: new EventEmitter(), stderr: new EventEmitter() };
    const output = new CollectedOutput();
    const failed = vi.fn();
    surviveLostOutput(streams, output, failed);
    const error = Object.assign(new Error("a message"), { code });
    for (const stream of [streams.stdout, streams.stdout, streams.stderr]) stream.emit("error", error);
    expect(failed).toHaveBeenCalledTimes(losses);
    expect(output.spoken).toEqual(spoken);
  });
});

test("a relative runtime directory is one of the folder that the command was started in", async () => {
  const name = relative(process.cwd(), runtimeDir);
  await using host = new RunningCommand("run", "--json", "--runtime-dir", name, "sim:flash-drive");
  expect((await host.event("link"))["uri"]).toBe(`nbd+unix:///sd0?socket=${runtimeDir}/sd0.nbd.sock`);
  await host.event("ready");
  expect(await host.end()).toBe(0);
});

test("a link into a folder that is not there: status 1, and it is still not there", async () => {
  const missing = join(folder, "missing");
  const result = await runToEnd(
    "run",
    "--json",
    "--runtime-dir",
    runtimeDir,
    "--link",
    `nbd=unix:${missing}/s`,
    "sim:flash-drive",
  );
  expect(result.status).toBe(1);
  expect(result.events).toMatchObject([{ code: "LINK", message: expect.stringContaining(`ENOENT`) }]);
  expect(existsSync(missing)).toBe(false);
});

test("--version prints that of package.json", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  await using command = new RunningCommand("--version");
  expect(await command.exit()).toBe(0);
  expect(command.lines).toEqual([version]);
});
