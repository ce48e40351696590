/**
 * The serial drivers: `npm run build && node bench/serial.mjs [--seconds 2]`. A table, a row for each driver: bytes a second through a
 * loopback, what a KiB costs this process, one byte there and back, and the processor at 115,200 baud without a pause.
 *
 * Stack and driver are in this process, the model in another, joined by USB/IP; no pud, no link. The line itself takes no time,
 * except in the last column.
 */
import { once } from "node:events";
import { spawn } from "node:child_process";
import net from "node:net";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median, table } from "./tables.mjs";

const dist = (path) => fileURLToPath(new URL(`../dist/${path}`, import.meta.url));
const { attachUsbBus, createUsbip, DRIVERS, loadDrivers, RumpKernel } = await import(dist("index.js"));
const { createRumpuser } = await import(dist("rumpuser/real/rumpuser.js"));
const { streamOfSocket } = await import(dist("rumpuser/real/byte-stream.js"));

/** A chip for each driver, and a fast one of FTDI's. */
const CHIPS = [
  ["umodem", "acm"],
  ["uftdi", "ft232r"],
  ["uftdi", "ft232h"],
  ["uslsa", "cp2104"],
  ["uchcom", "ch340"],
  ["uplcom", "pl2303-hx"],
];
const CHUNK = new Uint8Array(4096).fill(0x55);
/** Bytes on their way at a time. */
const WINDOW_BYTES = 64 * 1024;
const ROUND_TRIPS = 200;
const PLENTY = 2 ** 50;
const CONTINUOUS_BAUD = 115_200;

const { values } = parseArgs({ options: { seconds: { type: "string", default: "2" } } });
const runMs = Number(values.seconds) * 1000;

const rows = [];
for (const [driver, chip] of CHIPS) {
  const quick = await withPort(chip, [], async (port, received) => [
    await throughput(port, received),
    await roundTripMs(port, received),
  ]);
  const cpu = await withPort(chip, ["paced"], continuousCpu);
  const [{ bytesPerSecond, cpuUsPerKiB }, oneByteMs] = quick;
  rows.push([
    `${driver} (${chip})`,
    (bytesPerSecond / 1e6).toFixed(2),
    cpuUsPerKiB.toFixed(0),
    oneByteMs.toFixed(2),
    (cpu * 100).toFixed(1),
  ]);
}
const titles = ["driver", "loopback MB/s", "CPU µs per KiB", "one byte, ms", "% of a core at 115,200 baud"];
console.log(table(titles, rows).join("\n"));

/** Opens the line of a model of its own for `measure`; `received.onData` hears what comes. */
async function withPort(chip, options, measure) {
  const socketPath = `${tmpdir()}/rumpusb-serial-${process.pid}.sock`;
  const cli = fileURLToPath(new URL("../bin/rumpusb.js", import.meta.url));
  const model = spawn(
    process.execPath,
    [cli, "vdev", "serial", `chip=${chip}`, ...options, "--listen", `unix:${socketPath}`],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  try {
    await once(model.stdout, "data");
    model.stdout.resume();
    return await onModel(socketPath, measure);
  } finally {
    model.kill();
    await once(model, "exit");
  }
}

async function onModel(socketPath, measure) {
  const kernel = new RumpKernel(createRumpuser({ write: () => {} }));
  const entries = DRIVERS.map((entry) => ({ ...entry, specifier: dist(`dev/usb/${entry.specifier}`) }));
  const drivers = await loadDrivers(kernel, entries);
  const socket = net.connect(socketPath);
  socket.pause();
  await once(socket, "connect");
  const controller = await createUsbip(streamOfSocket(socket), { name: "usbip0", clock: kernel.clock, busId: "1-1" });
  await attachUsbBus({ kernel, controller, drivers });
  const tty = kernel.devices[0].device;
  const received = { onData: () => {} };
  const settings = { baud: CONTINUOUS_BAUD, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" };
  const port = await tty.open(
    { settings, outputs: { dtr: true, rts: true } },
    { received: (data) => received.onData(data.length), changed: () => {}, closed: () => {} },
  );
  port.grant(PLENTY);
  // As low as the chip has it: else a lone byte waits 16 ms in it.
  if (tty.info.hasLatency) await port.setLatency(1);
  try {
    return await measure(port, received);
  } finally {
    await port.close();
    await kernel.shutdown();
    socket.destroy();
  }
}

/** Writes and hears its own bytes for the time of the run. */
async function throughput(port, received) {
  let heard = 0;
  let sent = 0;
  let wake = () => {};
  received.onData = (bytes) => {
    heard += bytes;
    wake();
  };
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  while (performance.now() - startedMs < runMs) {
    await port.write(CHUNK);
    sent += CHUNK.length;
    while (sent - heard > WINDOW_BYTES) await new Promise((resolve) => (wake = resolve));
  }
  while (heard < sent) await new Promise((resolve) => (wake = resolve));
  const seconds = (performance.now() - startedMs) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  return { bytesPerSecond: heard / seconds, cpuUsPerKiB: (user + system) / (heard / 1024) };
}

async function roundTripMs(port, received) {
  const times = [];
  for (let n = 0; n < ROUND_TRIPS; n++) {
    const startedMs = performance.now();
    const back = new Promise((resolve) => (received.onData = resolve));
    await port.write(CHUNK.subarray(0, 1));
    await back;
    times.push(performance.now() - startedMs);
  }
  return median(times);
}

/** @returns processor seconds of this process in a second of a line that never rests. */
async function continuousCpu(port, received) {
  received.onData = () => {};
  // V8 compiles meanwhile.
  const warmUntilMs = performance.now() + runMs;
  while (performance.now() < warmUntilMs) await port.write(CHUNK);
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  while (performance.now() - startedMs < runMs) await port.write(CHUNK);
  const elapsedMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(cpu);
  return (user + system) / 1000 / elapsedMs;
}
