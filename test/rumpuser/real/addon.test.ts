import { once } from "node:events";
import { closeSync, ftruncateSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { describe, expect, test } from "vitest";
import {
  createMemory,
  detachKernelDriver,
  dropPrivileges,
  keeperPath,
  loadAddon,
  mapMemory,
} from "../../../src/rumpuser/real/addon.js";
import { fillRandom } from "../../../src/rumpuser/real/locked-calls.js";
import { openUsbPort } from "../../../src/rumpuser/real/usb-port.js";

/** Of which the host has no use; what is tested with them has. */
const { attachKernelDriver, kernelDriver, socketpair } = loadAddon();

const openDescriptors = (): number => readdirSync("/proc/self/fd").length;

describe("descriptors that are not a USB device's", () => {
  test.each(["/dev/null", "/proc/self/stat"])("%s as a port: an error that says so, nothing left behind", (path) => {
    const fd = openSync(path, "r");
    const before = openDescriptors();
    for (let round = 0; round < 20; round++)
      expect(() => openUsbPort(fd)).toThrow(expect.objectContaining({ code: "USB_PORT" }));
    expect(openDescriptors()).toBe(before);
    closeSync(fd);
  });

  test.each([-1, 1 << 20])("number %i", (fd) => {
    expect(() => openUsbPort(fd)).toThrow(expect.objectContaining({ code: "USB_PORT" }));
    expect(kernelDriver(fd, 0)).toBe(-9);
    expect(detachKernelDriver(fd, 0)).toBe(-9);
    expect(attachKernelDriver(fd, 0)).toBe(-9);
    expect(dropPrivileges(fd, 1)).toBe(-9);
  });

  test("usbfs calls on a file say ENOTTY", () => {
    const fd = openSync("/dev/null", "r+");
    expect(kernelDriver(fd, 0)).toBe(-25);
    expect(detachKernelDriver(fd, 0)).toBe(-25);
    closeSync(fd);
  });
});

describe("shared memory", () => {
  test("is the same for all who map it, and its size stays", () => {
    const fd = createMemory(1 << 20);
    const [one, other] = [new Uint8Array(mapMemory(fd, 1 << 20)), new Uint8Array(mapMemory(fd, 1 << 20))];
    one[12345] = 67;
    expect(other[12345]).toBe(67);
    for (const bytes of [0, 1 << 21])
      expect(() => ftruncateSync(fd, bytes)).toThrow(expect.objectContaining({ code: "EPERM" }));
    closeSync(fd);
    other[0] = 89;
    expect(one[0]).toBe(89);
  });

  test("is closed in programs that are started, and what is none says so", () => {
    const fd = createMemory(4096);
    expect(/^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1]).toMatch(/^02/); // O_CLOEXEC
    closeSync(fd);
    expect(() => mapMemory(fd, 4096)).toThrow(/mmap, 4096 bytes: EBADF/);
  });
});

describe("socketpair", () => {
  function pairOf(bufferBytes: number): [number, number] {
    const pair = socketpair(bufferBytes);
    if (typeof pair === "number") throw new Error(`socketpair: ${pair}`);
    return pair;
  }

  test("joins two streams", async () => {
    const [one, other] = pairOf(1 << 20);
    const left = new net.Socket({ fd: one });
    const right = new net.Socket({ fd: other });
    left.write("from left");
    expect(String((await once(right, "data"))[0])).toBe("from left");
    right.end("from right");
    expect(String((await once(left, "data"))[0])).toBe("from right");
    left.destroy();
    right.destroy();
  });

  test("is closed in programs that are started", () => {
    const pair = pairOf(0);
    for (const fd of pair) {
      const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "0";
      expect(Number.parseInt(flags, 8) & 0o2000000).toBe(0o2000000);
      closeSync(fd);
    }
  });
});

describe("keeper", () => {
  /** Starts it with a file in the place of the device. */
  function start(...interfaces: string[]) {
    const device = openSync("/dev/null", "r+");
    const keeper = spawn(keeperPath(), interfaces, { stdio: ["pipe", "ignore", "pipe", device] });
    closeSync(device);
    const ended = once(keeper, "exit");
    const { stdin, stderr } = keeper;
    if (stdin === null || stderr === null) throw new Error("the keeper has no pipes");
    return { keeper, stdin, stderr, ended };
  }

  test.each([[], ["x"], ["256"], ["-1"], ["1", ""], Array.from({ length: 33 }, String)])(
    "wrong arguments %j: a usage error",
    async (...interfaces) => {
      const { stderr, ended } = start(...interfaces);
      const [text] = await once(stderr, "data");
      expect(String(text)).toMatch(/^usage: rumpusb-keeper|is not an interface number/);
      expect(await ended).toEqual([2, null]);
    },
  );

  test("a byte from the host: nothing is left to do", async () => {
    const { stdin, ended } = start("0");
    stdin.write("x");
    expect(await ended).toEqual([0, null]);
  });

  test("the end of the pipe: it tries, and says that this is no device", async () => {
    const { stdin, ended } = start("0", "1");
    stdin.end();
    expect(await ended).toEqual([1, null]);
  });

  test("outlives the signals that end its host's group", async () => {
    const { keeper, stdin, ended } = start("0");
    const ignores = () =>
      Number.parseInt(/SigIgn:\s*(\w+)/.exec(readFileSync(`/proc/${keeper.pid}/status`, "utf8"))?.[1] ?? "0", 16);
    const wanted = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"] as const;
    await expect.poll(() => (ignores() & 0x4007) === 0x4007).toBe(true);
    for (const signal of wanted) keeper.kill(signal);
    stdin.write("x");
    expect(await ended).toEqual([0, null]);
  });
});

test("random bytes: all of them are written, and they are never the same", () => {
  const draw = (length: number): Buffer => {
    const memory = Buffer.alloc(length + 2);
    fillRandom(memory.subarray(1, length + 1));
    expect([memory.at(0), memory.at(-1)]).toEqual([0, 0]);
    return memory.subarray(1, length + 1);
  };
  for (const length of [0, 1]) draw(length);
  // Sixteen zeroes, or twice the same sixteen bytes, do not happen.
  for (const length of [16, 100_000]) {
    expect(draw(length).equals(draw(length))).toBe(false);
    expect(draw(length).subarray(-16).equals(Buffer.alloc(16))).toBe(false);
  }
});

test("a missing addon names what to run", async () => {
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-"));
  const source = `
    import Module from "node:module";
    const load = Module._load;
    Module._load = (name, ...rest) => name === "node-gyp-build" ? () => { throw new Error("none") } : load(name, ...rest);
    const { loadAddon } = await import(${JSON.stringify(new URL("../../../dist/rumpuser/real/addon.js", import.meta.url).href)});
    try { loadAddon(); } catch (error) { console.log(error.code, error.message); }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    cwd: folder,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [text] = await once(child.stdout, "data");
  rmSync(folder, { recursive: true });
  expect(String(text)).toMatch(/^ADDON_MISSING no native addon for linux-\w+ under .*: run "npm rebuild rumpusb"/);
});
