import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseListen, parseModelOptions } from "../../src/cli/vdev-command.js";
import { RunningCommand, runToEnd } from "./command.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-vd-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

test("options: key=value, a flag, one that comes twice", () => {
  expect(parseModelOptions(["size=1M", "readOnly", "fault=a", "fault=b=c"])).toEqual({
    size: "1M",
    readOnly: "",
    fault: ["a", "b=c"],
  });
  expect(() => parseModelOptions(["=x"])).toThrow('option "=x" is not key=value');
});

test.each([
  ["unix:/run/x.sock", { unix: "/run/x.sock" }],
  ["127.0.0.1:3240", { host: "127.0.0.1", port: 3240 }],
  ["[::1]:0", { host: "::1", port: 0 }],
])("--listen %s", (text, address) => {
  expect(parseListen(text)).toEqual(address);
});

test.each(["", "unix:relative", "3240", "host:", "host:70000", "a b:1"])("--listen %j is refused", (text) => {
  expect(() => parseListen(text)).toThrow(/allowed are unix:\/PATH and 127\.0\.0\.1:PORT/);
});

describe("rumpusb vdev", () => {
  test("serves a device that a run elsewhere drives; unplug and replug on its stdin", async () => {
    const socket = join(folder, "v.sock");
    await using vdev = new RunningCommand("vdev", "flash-drive", "--json", "--listen", `unix:${socket}`, "size=1M");
    expect(await vdev.event("listening")).toEqual({ event: "listening", listen: `unix:${socket}`, busId: "1-1" });
    const device = `usbip:unix:${socket}/1-1`;
    const runArgs = ["run", "--json", "--runtime-dir", join(folder, "rt"), device];

    await using host = new RunningCommand(...runArgs);
    await host.event("ready");
    expect(await host.event("device")).toMatchObject({ device, driver: "umass0" });
    vdev.say("unplug");
    await vdev.event("unplugged");
    await host.event("node-gone");
    await host.end();

    vdev.say("replug");
    await vdev.event("answer", (event) => event["message"] === "plugged in");
    await using again = new RunningCommand(...runArgs);
    await again.event("ready");
    expect(await again.end()).toBe(0);

    vdev.say("explode");
    const answer = await vdev.event("answer", (event) => String(event["message"]).startsWith('"explode"'));
    expect(answer["message"]).toContain("eject [force], insert, unplug, replug, power-cut");
    expect(await vdev.end("SIGTERM")).toBe(0);
  });

  test("eject obeys the host's lock, eject force does not; insert puts the medium back", async () => {
    const socket = join(folder, "v.sock");
    await using vdev = new RunningCommand("vdev", "flash-drive", "--json", "--listen", `unix:${socket}`, "removable");
    await vdev.event("listening");
    const device = `usbip:unix:${socket}/1-1`;
    await using host = new RunningCommand("run", "--json", "--runtime-dir", join(folder, "rt"), device);
    await host.event("ready");
    const answer = async (command: string, text: string): Promise<void> => {
      vdev.say(command);
      await vdev.event("answer", (event) => String(event["message"]).startsWith(text));
    };
    await answer("eject", "not ejected: no medium, not removable, or locked by the host");
    await answer("insert", "not inserted: a medium is in it");
    await answer("eject force", "ejected");
    await answer("eject force", "not ejected: no medium, or not removable");
    await answer("insert", "inserted");
    expect(await host.end()).toBe(0);
  });

  test("a bus id that is not exported: status 3", async () => {
    const socket = join(folder, "v.sock");
    await using vdev = new RunningCommand("vdev", "flash-drive", "--json", "--listen", `unix:${socket}`);
    await vdev.event("listening");
    const { status, events } = await runToEnd(
      "run",
      "--json",
      "--runtime-dir",
      join(folder, "rt"),
      `usbip:unix:${socket}/9-9`,
    );
    expect(status).toBe(3);
    expect(events.at(-1)).toMatchObject({
      code: "NO_SUCH_DEVICE",
      message: expect.stringContaining("exports no such device"),
    });
  });

  test("medium=none: no node before the medium is inserted", async () => {
    const socket = join(folder, "v.sock");
    const options = ["medium=none", "size=1M"];
    await using vdev = new RunningCommand("vdev", "flash-drive", "--json", "--listen", `unix:${socket}`, ...options);
    await vdev.event("listening");
    const device = `usbip:unix:${socket}/1-1`;
    await using host = new RunningCommand("run", "--json", "--runtime-dir", join(folder, "rt"), device);
    expect((await host.event("ready"))["nodes"]).toEqual([]);
    vdev.say("insert");
    expect(await host.event("node")).toMatchObject({ node: "sd0", size: 1 << 20 });
    await host.event("link");
    expect(await host.end()).toBe(0);
  });

  test("a socket in use, a remote address, a bad option: refused with the right status", async () => {
    const socket = `unix:${join(folder, "v.sock")}`;
    await using first = new RunningCommand("vdev", "flash-drive", "--json", "--listen", socket, "size=1M");
    await first.event("listening");
    expect(await runToEnd("vdev", "flash-drive", "--json", "--listen", socket)).toMatchObject({
      status: 1,
      events: [{ event: "error", code: "SIMULATION", message: expect.stringContaining("in use") }],
    });
    expect((await runToEnd("vdev", "flash-drive", "--listen", "192.0.2.1:3240")).status).toBe(2);
    expect((await runToEnd("vdev", "flash-drive", "--listen", socket, "colour=red")).status).toBe(2);
    expect(await first.end("SIGINT")).toBe(0);
  });
});
