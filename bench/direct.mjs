/**
 * The same flash drive driven with no pud and no NBD: the stack and the driver in this process, the model in another, joined by
 * USB/IP. Prints one JSON line per workload. Usage: node bench/direct.mjs SOCKET SECONDS
 */
import net from "node:net";
import { fileURLToPath } from "node:url";
import { WORKLOADS } from "./workloads.mjs";

const dist = (path) => fileURLToPath(new URL(`../dist/${path}`, import.meta.url));
const { attachUsbBus, createUsbip, DRIVERS, loadDrivers, RumpKernel } = await import(dist("index.js"));
const { createRumpuser } = await import(dist("rumpuser/real/rumpuser.js"));
const { streamOfSocket } = await import(dist("rumpuser/real/byte-stream.js"));

const [, , socketPath, seconds] = process.argv;
const kernel = new RumpKernel(createRumpuser({ write: () => {} }));
const entries = DRIVERS.map((entry) => ({ ...entry, specifier: dist(`dev/usb/${entry.specifier}`) }));
const drivers = await loadDrivers(kernel, entries);
const socket = net.connect(socketPath);
socket.pause();
await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
const controller = await createUsbip(streamOfSocket(socket), { name: "usbip0", clock: kernel.clock, busId: "1-1" });
await attachUsbBus({ kernel, controller, drivers });
const disk = kernel.devices[0].device;

for (const workload of WORKLOADS) {
  const blocks = workload.bytes / disk.info.blockBytes;
  const slots = Math.floor(disk.info.blockCount / blocks);
  const data = new Uint8Array(workload.bytes);
  const end = performance.now() + Number(seconds) * 1000;
  const started = performance.now();
  let done = 0;
  let next = 0;
  const lane = async () => {
    while (performance.now() < end) {
      const slot = workload.random ? Math.floor(Math.random() * slots) : next++ % slots;
      if (workload.write) await disk.write(slot * blocks, data);
      else await disk.read(slot * blocks, blocks);
      done++;
    }
  };
  const { user, system } = process.cpuUsage();
  await Promise.all(Array.from({ length: workload.depth }, lane));
  const elapsed = (performance.now() - started) / 1000;
  const cpu = process.cpuUsage({ user, system });
  const gib = (done * workload.bytes) / 2 ** 30;
  console.log(
    JSON.stringify({
      workload: workload.name,
      operationsPerSecond: done / elapsed,
      cpuPerGiB: (cpu.user + cpu.system) / 1e6 / gib,
    }),
  );
}
await kernel.shutdown();
