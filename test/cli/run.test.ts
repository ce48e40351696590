import { randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { requireTool, runTool } from "../tools.js";
import { isAlive, runToEnd, RunningCommand } from "./command.js";

let folder = "";
let runtimeDir = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-e2e-"));
  runtimeDir = join(folder, "rt");
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function start(...args: string[]): RunningCommand {
  return new RunningCommand("run", "--json", "--runtime-dir", runtimeDir, ...args);
}

function imageFile(bytes: number): { path: string; content: Buffer } {
  const path = join(folder, "stick.img");
  const content = randomBytes(bytes);
  writeFileSync(path, content);
  return { path, content };
}

const left = (): string[] => (existsSync(runtimeDir) ? readdirSync(runtimeDir) : []);
const gone = async (pid: number): Promise<void> =>
  await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 10_000 });

describe("a simulated flash drive, end to end", () => {
  test("is announced, read and written through NBD byte for byte, and SIGINT leaves nothing behind", async (context) => {
    const nbdcopy = requireTool("nbdcopy", context);
    const image = imageFile(4 << 20);
    await using host = start(`sim:flash-drive,image=${image.path}`);
    expect(await host.event("ready")).toEqual({ event: "ready", nodes: ["sd0"] });
    const device = await host.event("device");
    expect(host.events).toEqual([
      { event: "sandbox", device: "sim:flash-drive", level: "full", layers: expect.anything(), missing: [] },
      {
        event: "device",
        device: "sim:flash-drive",
        vendor: "1209",
        product: "0001",
        driver: "umass0",
        pid: device["pid"],
        mode: "overlap (default)",
      },
      {
        event: "node",
        node: "sd0",
        kind: "disk",
        device: "sim:flash-drive",
        size: 4 << 20,
        blockBytes: 512,
        readOnly: false,
      },
      { event: "link", node: "sd0", link: "nbd", uri: `nbd+unix:///sd0?socket=${runtimeDir}/sd0.nbd.sock` },
      { event: "ready", nodes: ["sd0"] },
    ]);
    const uri = String((await host.event("link"))["uri"]);

    const copy = join(folder, "copy.img");
    expect(await runTool(nbdcopy, [uri, copy])).toMatchObject({ exitCode: 0 });
    expect(readFileSync(copy).equals(image.content)).toBe(true);

    const other = randomBytes(4 << 20);
    writeFileSync(copy, other);
    expect(await runTool(nbdcopy, ["--flush", copy, uri])).toMatchObject({ exitCode: 0 });
    expect(readFileSync(image.path).equals(other)).toBe(true);

    expect(await host.end("SIGINT")).toBe(0);
    expect(host.events.slice(5)).toEqual([
      { event: "node-gone", node: "sd0", device: "sim:flash-drive", reason: "shut down" },
      { event: "detach", device: "sim:flash-drive" },
    ]);
    expect(left()).toEqual([]);
    expect(isAlive(Number(device["pid"]))).toBe(false);
  });

  test("fio: reads among writes, many at once, of all sizes; every block has the right bytes", async (context) => {
    const fio = requireTool("fio", context);
    await using host = start("sim:flash-drive,size=32M,cache");
    const uri = String((await host.event("link"))["uri"]);
    const work = ["--rw=randrw", "--bsrange=512-256k", "--blockalign=512", "--iodepth=16", "--size=16m"];
    const check = ["--verify=crc32c", "--verify_state_save=0", "--time_based", "--runtime=2"];
    const result = await runTool(fio, ["--name=v", "--ioengine=nbd", `--uri=${uri}`, ...work, ...check]);
    expect(result.stderr).not.toContain("verify:");
    expect(result.exitCode).toBe(0);
    expect(await host.end()).toBe(0);
  });

  test("two of a kind: names of devices, drivers, nodes and processes differ; SIGTERM ends both", async () => {
    await using host = start("sim:flash-drive,size=1M", "sim:flash-drive,size=2M,readOnly");
    expect((await host.event("ready"))["nodes"]).toEqual(["sd0", "sd1"]);
    const values = (event: string, key: string): unknown[] =>
      host.events.filter((one) => one.event === event).map((one) => one[key]);
    expect(new Set(values("device", "device"))).toEqual(new Set(["sim:flash-drive", "sim:flash-drive#2"]));
    expect(new Set(values("device", "driver"))).toEqual(new Set(["umass0", "umass1"]));
    expect(new Set(values("device", "pid")).size).toBe(2);
    expect(await host.event("node", (event) => event["device"] === "sim:flash-drive#2")).toMatchObject({
      size: 2 << 20,
      readOnly: true,
    });
    expect(await host.end("SIGTERM")).toBe(0);
    expect(left()).toEqual([]);
  });

  test("unplugged in the middle: the node goes, the device detaches; with nothing left the status is 1", async (context) => {
    const nbdcopy = requireTool("nbdcopy", context);
    await using host = start("sim:flash-drive,fault=transfer:disconnect:nth=60");
    const uri = String((await host.event("link"))["uri"]);
    expect((await runTool(nbdcopy, [uri, "null:"])).exitCode).toBe(1);
    await host.event("detach");
    expect(await host.exit()).toBe(1);
    expect(host.events.at(-1)).toMatchObject({ event: "error", code: "DEVICE_GONE" });
    expect(left()).toEqual([]);
  });

  test("--read-only: nothing can be written", async (context) => {
    const nbdinfo = requireTool("nbdinfo", context);
    await using host = start("sim:flash-drive", "--read-only");
    expect((await host.event("node"))["readOnly"]).toBe(true);
    const uri = String((await host.event("link"))["uri"]);
    expect(await runTool(nbdinfo, ["--is", "read-only", uri])).toMatchObject({ exitCode: 0 });
    expect(await host.end()).toBe(0);
  });
});

describe("processes that die", () => {
  test("the rump process: another one serves the same node, and the end is the same", async () => {
    await using host = start("sim:flash-drive");
    await host.event("ready");
    const pid = Number((await host.event("device"))["pid"]);
    process.kill(pid, "SIGKILL");
    const restart = await host.event("restart");
    expect(restart).toMatchObject({ device: "sim:flash-drive", reason: "signal SIGKILL", count: 1 });
    expect(restart["pid"]).not.toBe(pid);
    expect(host.events.filter(({ event }) => event === "error" || event === "node-gone")).toEqual([]);
    expect(await host.end()).toBe(0);
    await gone(Number(restart["pid"]));
    expect(left()).toEqual([]);
  });

  test("the host: its rump process and its simulation end with it, and the next run is not hindered", async () => {
    const host = start("sim:flash-drive");
    await host.event("ready");
    const pid = Number((await host.event("device"))["pid"]);
    expect(await host.end("SIGKILL")).toBe(137);
    await gone(pid);
    await vi.waitFor(() => expect(left()).toEqual(["sd0.nbd.sock"]), { timeout: 10_000 });

    await using next = start("sim:flash-drive");
    expect((await next.event("ready"))["nodes"]).toEqual(["sd0"]);
    expect(await next.end()).toBe(0);
    expect(left()).toEqual([]);
  });
});

describe("a simulated serial adapter, end to end", () => {
  test("--latency is set each time that the line is opened", async () => {
    const socket = join(folder, "usbip.sock");
    await using vdev = new RunningCommand(
      "vdev",
      "serial",
      "--json",
      "--requests",
      "--listen",
      `unix:${socket}`,
      "chip=ft232r",
    );
    await vdev.event("listening");
    await using host = start("--latency", "7ms", `usbip:unix:${socket}/1-1`);
    await host.event("ready");
    const latencies = (): number =>
      vdev.events.filter(({ event, setup }) => event === "request" && setup === "40 09 0007 0000").length;
    for (const opens of [1, 2]) {
      const line = openSync(join(runtimeDir, "ttyU0"), constants.O_RDWR | constants.O_NOCTTY);
      await vi.waitFor(() => expect(latencies()).toBe(opens), { timeout: 10_000 });
      closeSync(line);
      await vdev.event("line", ({ dtr }) => dtr === false);
    }
    expect(await host.end()).toBe(0);
    expect(left()).toEqual([]);
  });
});

describe("what cannot be: a message, the right status, nothing left behind", () => {
  test.each([
    ["a device that is none", ["stick"], 2, "USAGE", /does not name a device; allowed: /],
    ["a link that is none", ["--link", "floppy", "sim:flash-drive"], 2, "USAGE", /no kind "floppy"/],
    ["no such device", ["ffff:ffff"], 3, "NO_SUCH_DEVICE", /no USB device ffff:ffff/],
    [
      "a split of what is one connection",
      ["--split", "sim:flash-drive"],
      2,
      "USAGE",
      /sim:flash-drive is reached over one/,
    ],
    [
      "a latency that is none",
      ["--latency", "0", "sim:serial"],
      2,
      "USAGE",
      /--latency "0": milliseconds from 1 to 255/,
    ],
    ["no such kind", ["sim:toaster"], 2, "USAGE", /"toaster" is none of flash-drive/],
    ["no such option", ["sim:flash-drive,colour=red"], 2, "USAGE", /option "colour" is none of/],
    ["no such image", ["sim:flash-drive,image=/nonexistent.img"], 1, "SIMULATION", /\/nonexistent\.img/],
    ["no such server", ["usbip:unix:/nonexistent.sock/1-1"], 1, "USBIP", /unix:\/nonexistent\.sock: connect ENOENT/],
  ] as const)("%s", async (_name, args, status, code, message) => {
    const result = await runToEnd("run", "--json", "--runtime-dir", runtimeDir, ...args);
    expect(result.status).toBe(status);
    expect(result.events).toMatchObject([{ event: "error", code, message: expect.stringMatching(message) }]);
    expect(result.stderr).toMatch(message);
    expect(left()).toEqual([]);
  });

  test.each([
    [
      "a disk that answers nothing right",
      "csw:tag:every",
      ["sandbox", "demotion", "error"],
      "NO_DRIVER",
      /^sim:flash-drive: no driver has attached; usbdev0: interface 0: umass leaves it: no logical unit can be used: lun 0: CSW: tag \d+, sent \d+/,
    ],
    ["a device unplugged too early", "control:disconnect", ["sandbox", "error"], "DEVICE_GONE", /^sim:flash-drive: /],
  ])("%s: no device is announced, the error says why", async (_name, fault, events, code, message) => {
    const result = await runToEnd("run", "--json", "--runtime-dir", runtimeDir, `sim:flash-drive,fault=${fault}`);
    expect(result.status).toBe(1);
    expect(result.events.map(({ event }) => event)).toEqual(events);
    expect(result.events.at(-1)).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(left()).toEqual([]);
  });

  test("an image that is not a multiple of the block size", async () => {
    const { path } = imageFile(1000);
    const result = await runToEnd("run", "--json", "--runtime-dir", runtimeDir, `sim:flash-drive,image=${path}`);
    expect(result.status).toBe(1);
    expect(result.events).toMatchObject([{ code: "SIMULATION", message: expect.stringContaining("not a multiple") }]);
  });

  test("one that fails does not stop the others", async () => {
    await using host = start("sim:toaster", "sim:flash-drive");
    expect((await host.event("ready"))["nodes"]).toEqual(["sd0"]);
    expect(await host.event("error")).toMatchObject({ code: "USAGE", device: "sim:toaster" });
    expect(await host.end()).toBe(0);
  });

  test("a word that is no command, an option that is none: status 2; help: 0", async () => {
    expect((await runToEnd("lisst")).status).toBe(2);
    expect((await runToEnd("list", "--bogus")).status).toBe(2);
    expect((await runToEnd("--help")).status).toBe(0);
  });
});
