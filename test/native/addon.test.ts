/** The addon's raw surface: what no argument, environment or neighbour may do to it. */
import { createRequire } from "node:module";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { describe, expect, test, vi } from "vitest";
import { loadAddon } from "../../src/rumpuser/real/addon.js";

const ROOT = new URL("../../", import.meta.url).pathname;
const addon = loadAddon();

describe("wrong arguments", () => {
  const nothing = (): void => {};
  const port = new addon.Port(nothing) as unknown as Record<string, (...args: unknown[]) => unknown>;
  const functions = addon as unknown as Record<string, (...args: unknown[]) => unknown>;
  const data = new Uint8Array(8);

  const WRONG: readonly [string, () => unknown][] = [
    ["a port without a listener", () => Reflect.construct(addon.Port, [])],
    ["a port with a number for a listener", () => Reflect.construct(addon.Port, [1])],
    ["a port as a function", () => Reflect.apply(addon.Port, undefined, [nothing])],
    ["a method on another object", () => Reflect.apply(port["submit"] as () => void, {}, [])],
    ["open without a descriptor", () => port["open"]?.()],
    ["open with a fraction", () => port["open"]?.(1.5)],
    ["open with NaN", () => port["open"]?.(Number.NaN)],
    ["open with 2^31", () => port["open"]?.(2 ** 31)],
    ["submit without anything", () => port["submit"]?.()],
    ["submit with a text for a type", () => port["submit"]?.("bulk", 1, undefined, data, false, 0, undefined)],
    ["submit with an array for setup", () => port["submit"]?.(0, 0, [1, 2], data, false, 0, undefined)],
    ["submit with no data", () => port["submit"]?.(2, 1, undefined, undefined, false, 0, undefined)],
    ["submit with a DataView", () => port["submit"]?.(2, 1, undefined, new DataView(data.buffer), false, 0, undefined)],
    ["submit with 16-bit data", () => port["submit"]?.(2, 1, undefined, new Uint16Array(4), false, 0, undefined)],
    ["submit with a number for sendZlp", () => port["submit"]?.(2, 1, undefined, data, 1, 0, undefined)],
    ["submit with packets as an array", () => port["submit"]?.(1, 1, undefined, data, false, 0, [8])],
    ["cancel with a text", () => port["cancel"]?.("0")],
    ["setInterface with one number", () => port["setInterface"]?.(1)],
    ["allocStreams with an array", () => port["allocStreams"]?.(1, [0x81])],
    ["kernelDriver without an interface", () => functions["kernelDriver"]?.(1)],
    ["fillRandom with a number", () => functions["fillRandom"]?.(8)],
    ["socketpair with a text", () => functions["socketpair"]?.("big")],
    ["a device file without a listener", () => Reflect.construct(addon.DeviceFile, [])],
    ["a device file of a text", () => new addon.DeviceFile(nothing).open("3" as unknown as number)],
    ["reading into an array", () => new addon.DeviceFile(nothing).read([] as unknown as Uint8Array)],
    ["an ioctl with a text for a request", () => new addon.DeviceFile(nothing).ioctl("x" as unknown as number, 0)],
    ["an ioctl with an array for memory", () => new addon.DeviceFile(nothing).ioctl(1, [] as unknown as Uint8Array)],
    ["watching for a text", () => new addon.DeviceFile(nothing).watch("in" as unknown as number)],
    ["a watch of a number", () => functions["watchFile"]?.(1, 1)],
    ["a watch without a mask", () => functions["watchFile"]?.("/")],
    ["a socket at a number", () => functions["listenUnix"]?.(1, 1)],
    ["a port as a text", () => functions["listenTcp"]?.("127.0.0.1", "80", 1)],
    ["a copy of nothing", () => functions["duplicate"]?.()],
    ["uevents without a listener", () => Reflect.construct(addon.UeventSocket, [])],
  ];
  test.each(WRONG)("%s: a TypeError", (_what, call) => {
    expect(call).toThrow(TypeError);
  });

  test("a port that is not open refuses everything by number", async () => {
    const closed = new addon.Port(nothing);
    expect(closed.submit(2, 0x81, undefined, data, false, 0, undefined)).toBe(-4);
    expect(closed.cancel(0)).toBe(-5);
    expect(closed.speed()).toBe(0);
    expect(await closed.reset()).toBe(-4);
    expect(await closed.configuration()).toBe(-4);
    closed.close();
    closed.close();
  });

  test("a port is opened once", () => {
    const once = new addon.Port(nothing);
    expect(once.open(-1)).toBe(-2);
    expect(once.open(1 << 20)).toBeLessThan(0);
    expect(() => once.open(0)).toThrow("opened before");
    const socket = new addon.UeventSocket(nothing);
    expect(socket.open()).toBe(0);
    expect(() => socket.open()).toThrow("opened before");
    socket.close();
  });
});

describe("a device file", () => {
  test("moves bytes, tells when there are more, and is deaf after its close", async () => {
    const [one, other] = addon.socketpair(0) as [number, number];
    let told = 0;
    const receiver = new addon.DeviceFile(() => {
      told++;
      receiver.watch(0);
    });
    const sender = new addon.DeviceFile(() => {});
    expect([receiver.open(one), sender.open(other)]).toEqual([0, 0]);
    expect(() => receiver.open(one)).toThrow("opened before");
    receiver.watch(1);
    expect(sender.write(Uint8Array.of(1, 2, 3))).toBe(3);
    const bytes = new Uint8Array(8);
    await vi.waitFor(() => expect(told).toBe(1));
    expect([receiver.ready() & 1, receiver.read(bytes), [...bytes.subarray(0, 3)]]).toEqual([1, 3, [1, 2, 3]]);
    sender.close();
    expect(receiver.ready() & 0x10).toBe(0x10);
    expect(receiver.ioctl(0x541b, new Uint8Array(4))).toBe(0);
    expect(receiver.ioctl(0x5401, new Uint8Array(64))).toBeLessThan(0);
    receiver.watch(1);
    receiver.close();
    receiver.close();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([told, receiver.read(bytes), receiver.write(bytes), receiver.ready()]).toEqual([1, -9, -9, 0]);
  });

  test("a watch of what is not there is refused", () => {
    expect(addon.watchFile("/nowhere", 0x20)).toBe(-2);
  });
});

describe("sockets that listen", () => {
  const [EBADF, EINVAL, ENAMETOOLONG] = [-9, -22, -36];

  test.each<[string, () => unknown, number]>([
    ["no path", () => addon.listenUnix("", 1), EINVAL],
    ["a path of the abstract kind", () => addon.listenUnix("\0x", 1), EINVAL],
    ["a path with a 0 byte", () => addon.listenUnix("/tmp/x\0y", 1), EINVAL],
    ["a path of 108 bytes", () => addon.listenUnix(`/${"x".repeat(107)}`, 1), ENAMETOOLONG],
    ["a host name", () => addon.listenTcp("localhost", 0, 1), EINVAL],
    ["a port of 17 bits", () => addon.listenTcp("127.0.0.1", 65_536, 1), EINVAL],
    ["a negative port", () => addon.listenTcp("127.0.0.1", -1, 1), EINVAL],
    ["a copy of what is not open", () => addon.duplicate(-1), EBADF],
  ])("%s is refused by number", (_what, call, errno) => {
    expect(call()).toBe(errno);
  });
});

test("is libusb 1.0.30 beside npm's usb, which brings its own", () => {
  const { usb } = createRequire(import.meta.url)("usb") as { usb: { getDeviceList(): unknown[] } };
  expect(addon.libusbVersion).toBe("1.0.30");
  expect(Array.isArray(usb.getDeviceList())).toBe(true);
  expect(new addon.Port(() => {}).open(0)).toBeLessThan(0);
});

/** Runs a script that has the addon as `addon`, and gives how it ended. */
async function run(source: string): Promise<{ code: unknown; signal: unknown; out: string }> {
  const script = `const addon = require("node-gyp-build")(${JSON.stringify(ROOT)});\n${source}`;
  const child = spawn(process.execPath, ["-e", script], { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (bytes: Uint8Array) => {
    out += String(bytes);
  });
  const [code, signal] = await once(child, "close");
  return { code, signal, out };
}

describe("ends", () => {
  test("a process whose ports are closed or never opened", async () => {
    const ended = await run(`
      new addon.Port(() => {});
      const port = new addon.Port(() => {}); port.open(0); port.close();
      const socket = new addon.UeventSocket(() => {}); socket.open(); socket.close();
      console.log("end");`);
    expect(ended).toEqual({ code: 0, signal: null, out: "end\n" });
  });

  test("a process that exits with everything open", async () => {
    expect(await run(`new addon.UeventSocket(() => {}).open(); process.exit(5);`)).toMatchObject({
      code: 5,
      signal: null,
    });
  });

  test("a worker that is told to end with everything open, five times", async () => {
    const source = `
      const addon = require("node-gyp-build")(${JSON.stringify(ROOT)});
      globalThis.kept = [new addon.UeventSocket(() => {}), new addon.Port(() => {}), new addon.DeviceFile(() => {})];
      globalThis.kept[0].open(); globalThis.kept[1].open(0);
      globalThis.kept[2].open(addon.watchFile("/tmp", 0x20)); globalThis.kept[2].watch(1);
      require("node:worker_threads").parentPort.postMessage("open");`;
    for (let round = 0; round < 5; round++) {
      const worker = new Worker(source, { eval: true });
      await once(worker, "message");
      expect(await worker.terminate()).toBe(1);
    }
  });

  test("objects that nobody holds any more are collected", async () => {
    const ended = await run(`
      const { setFlagsFromString } = require("node:v8"); setFlagsFromString("--expose-gc");
      const gc = require("node:vm").runInNewContext("gc");
      let collected = 0;
      const watch = new FinalizationRegistry(() => collected++);
      for (let i = 0; i < 20; i++) {
        const socket = new addon.UeventSocket(() => socket);
        socket.open(); socket.close();
        watch.register(socket);
      }
      let turns = 0;
      (function turn() { gc(); if (collected < 19 && ++turns < 200) setImmediate(turn); else console.log(collected >= 19); })();`);
    expect(ended.out).toBe("true\n");
  });
});
