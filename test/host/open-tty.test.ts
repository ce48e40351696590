/** A serial adapter for a program of one's own, in real processes. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { HostEvent } from "../../src/host/events.js";
import { openTty, type OpenTtyOptions } from "../../src/host/open-tty.js";
import { noSandbox } from "../../src/host/sandbox/sandbox.js";
import { createBinding } from "../../src/serialport.js";
import { Collector } from "../fakes/tty-collector.js";
import { until } from "../pud/links/serial/rig.js";

const HOW = {
  settings: { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" },
  outputs: { dtr: true, rts: true },
} as const;

let runtimeDir = "";

beforeEach(async () => {
  runtimeDir = await mkdtemp(join(tmpdir(), "rumpusb-open-tty-"));
});

afterEach(async () => {
  await rm(runtimeDir, { recursive: true });
});

const RUMP_SCRIPT = fileURLToPath(new URL("../../dist/rump-process.js", import.meta.url));

const options = (): OpenTtyOptions => ({ runtimeDir, sandbox: noSandbox, rumpScript: RUMP_SCRIPT });

test("drives the device while the line is wanted, and leaves nothing", async () => {
  const events: HostEvent[] = [];
  const hosted = await openTty("sim:serial,chip=cp210x", { ...options(), emit: (event) => events.push(event) });
  expect(hosted.name).toBe("ttyU0");
  expect(hosted.tty.info.model).toMatch(/CP2102/);
  const collector = new Collector();
  const port = await hosted.tty.open(HOW, collector);
  port.grant(100);
  await port.write(Buffer.from("there and back"));
  await until(() => collector.data.toString() === "there and back");
  await hosted.close();
  await hosted.close();
  expect(collector.closedWith?.code).toBe("ENODEV");
  expect(events.map(({ event }) => event)).toContain("detach");
  expect((await readdir(runtimeDir)).filter((name) => name.endsWith(".sock"))).toEqual([]);
});

test.each<[string, object]>([
  ["ffff:ffff", { code: "NO_SUCH_DEVICE" }],
  ["not a device", { code: "USAGE" }],
  ["sim:flash-drive,size=1M", { code: "NO_DRIVER", message: expect.stringMatching(/no serial line/) }],
])("%s is an error", async (selector, error) => {
  await expect(openTty(selector, options())).rejects.toThrow(expect.objectContaining(error));
});

test("a selector is a path for the serialport binding", async () => {
  const binding = createBinding(options());
  const port = await binding.open({ path: "sim:serial,chip=ftdi", baudRate: 9600 });
  await port.write(Buffer.from("echo"));
  const { buffer, bytesRead } = await port.read(Buffer.alloc(10), 2, 8);
  expect(buffer.subarray(2, 2 + bytesRead).toString()).toBe("echo");
  expect((await port.getBaudRate()).baudRate).toBeCloseTo(9600, -2);
  await port.close();
  expect(port.isOpen).toBe(false);
});
