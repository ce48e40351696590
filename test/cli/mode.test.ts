/** `--mode`: what the user asks of the drivers of mass storage reaches them, and what became of it is told. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { driverOptionsOf, MODE_NAMES } from "../../src/host/modes.js";
import { isPhaseMode } from "../../src/dev/usb/umass/phases.js";
import { requireTool, runTool } from "../tools.js";
import { runToEnd, RunningCommand } from "./command.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-mode-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

test("every phase mode that the driver knows is a mode, and no other word is asked of it", () => {
  const phases = MODE_NAMES.map((mode) => driverOptionsOf(mode)["umass"]?.["phases"]).filter(
    (one) => one !== undefined,
  );
  expect(phases).toEqual(["sequence", "overlap", "together"]);
  expect(phases.every(isPhaseMode)).toBe(true);
});

test("it holds for the first process and for the next", async () => {
  await using host = new RunningCommand(
    "run",
    "--json",
    "--runtime-dir",
    folder,
    "--mode",
    "sequence",
    "sim:flash-drive",
  );
  await host.event("ready");
  const { pid, mode } = await host.event("device");
  expect(mode).toBe("sequence (asked for)");
  process.kill(Number(pid), "SIGKILL");
  await host.event("restart");
  expect(host.events.filter(({ event }) => event === "device")).toHaveLength(1);
});

test.each([
  ["auto", "sim:flash-drive,uas", "uas0", /^uas with no streams, [0-9]+ commands at a time \(default\)$/],
  ["uas", "sim:flash-drive,uas=only", "uas0", /\(asked for\)$/],
  ["bot", "sim:flash-drive,uas", "umass0", /^overlap \(default\)$/],
  ["together", "sim:flash-drive,uas", "umass0", /^together \(asked for\)$/],
  // A USB/IP connection has no streams, which UAS needs at SuperSpeed.
  ["auto", "sim:flash-drive,uas,speed=super", "umass0", /^overlap \(default\)$/],
])("--mode %s, %s: %s", async (asked, device, driver, mode) => {
  await using host = new RunningCommand("run", "--json", "--runtime-dir", folder, "--mode", asked, device);
  await host.event("ready");
  expect(await host.event("device")).toMatchObject({ driver, mode: expect.stringMatching(mode) as string });
});

const DEMOTIONS = [
  ["overlap", "sim:flash-drive,fault=csw:tag:op=28h", "umass0", "sequence", "umass0", /^sequence \(/],
  // A tag that no command has: with that of another one in flight the device leads its data astray, and a deadline ends it.
  ["UAS", "sim:flash-drive,uas,fault=ready:tag:offset=9000:op=28h:every", "uas0", "bot", "umass0", /^overlap \(/],
] as const;

describe.each([[[]], [["--group"]]])("%s: a device that goes wrong once, and its driver killed", (options) => {
  test.for(DEMOTIONS)(
    "%s: the next process begins more calmly, and says why",
    async ([, device, driver, mode, nextDriver, nextMode], context) => {
      const nbdcopy = requireTool("nbdcopy", context);
      await using host = new RunningCommand("run", "--json", "--runtime-dir", folder, ...options, device);
      await host.event("ready");
      const first = await host.event("device");
      expect(first).toMatchObject({ driver, mode: expect.stringMatching(/\(default\)$/) as string });
      const uri = String((await host.event("link"))["uri"]);
      const readAll = async (): Promise<void> =>
        expect(await runTool(nbdcopy, [uri, "null:"])).toMatchObject({ exitCode: 0 });
      // UAS is given up for something that is not over with one retry.
      await vi.waitFor(readAll, { timeout: 10_000 });
      const { reason } = await host.event("demotion");
      expect(host.events.filter(({ event }) => event === "demotion")).toEqual([
        { event: "demotion", device: "sim:flash-drive", mode, reason },
      ]);
      process.kill(Number(first["pid"]), "SIGKILL");
      await host.event("restart");
      const [, second] = host.events.filter(({ event }) => event === "device");
      expect(second).toMatchObject({ driver: nextDriver, mode: expect.stringMatching(nextMode) as string });
      expect(second?.["mode"]).toContain(`(demoted before the restart: ${String(reason)}`);
      expect(second?.["pid"]).not.toBe(first["pid"]);
      await readAll();
      expect(host.events.filter(({ event }) => event === "node-gone" || event === "error")).toEqual([]);
      expect(await host.end()).toBe(0);
    },
  );

  test("the device pulled out and put back within its grace time: it is remembered", async (context) => {
    const nbdcopy = requireTool("nbdcopy", context);
    const socket = `unix:${join(folder, "stick.sock")}`;
    const vdev = ["vdev", "flash-drive", "fault=csw:tag:op=28h", "--listen", socket, "--json"];
    await using stick = new RunningCommand(...vdev);
    await stick.event("listening");
    const run = ["run", "--json", "--grace", "20s", "--runtime-dir", folder, ...options, `usbip:${socket}/1-1`];
    await using host = new RunningCommand(...run);
    await host.event("ready");
    const uri = String((await host.event("link"))["uri"]);
    expect(await runTool(nbdcopy, [uri, "null:"])).toMatchObject({ exitCode: 0 });
    await host.event("demotion");
    stick.say("unplug");
    await host.event("unplug");
    stick.say("replug");
    await host.event("replug");
    const told = host.events.filter(({ event }) => event === "device").map(({ mode }) => mode);
    expect(told).toEqual(["overlap (default)", expect.stringMatching(/^sequence \(demoted before the restart: CSW/)]);
    expect(await runTool(nbdcopy, [uri, "null:"])).toMatchObject({ exitCode: 0 });
    expect(await host.end()).toBe(0);
  });
});

test("a word that is none: status 2, and the words are told", async () => {
  const { status, stderr } = await runToEnd("run", "--mode", "fast", "sim:flash-drive");
  expect(status).toBe(2);
  expect(stderr).toMatch(/auto, uas, bot, sequence, overlap, together/);
});
