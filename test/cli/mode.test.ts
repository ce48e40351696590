/** `--mode`: what the user asks of the drivers of mass storage reaches them, and what became of it is told. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { driverOptionsOf, MODE_NAMES } from "../../src/host/modes.js";
import { isPhaseMode } from "../../src/dev/usb/umass/phases.js";
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

test("a word that is none: status 2, and the words are told", async () => {
  const { status, stderr } = await runToEnd("run", "--mode", "fast", "sim:flash-drive");
  expect(status).toBe(2);
  expect(stderr).toMatch(/auto, uas, bot, sequence, overlap, together/);
});
