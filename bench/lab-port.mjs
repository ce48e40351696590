/**
 * Our driver on a usbfs device, at the device switch: no pud, no NBD, no sandbox. A contender, as bench/c/contender.h describes
 * them; runs in the lab's guest.
 *
 *   node bench/lab-port.mjs sequence|overlap|together /dev/bus/usb/BBB/DDD
 */
import { openSync } from "node:fs";
import { createInterface } from "node:readline";

const dist = (path) => new URL(`../dist/${path}`, import.meta.url).href;
const { attachUsbBus, RumpKernel } = await import(dist("index.js"));
const { createUgenhc } = await import(dist("dev/ugenhc/ugenhc.js"));
const { createRumpuser } = await import(dist("rumpuser/real/rumpuser.js"));
const { openUsbPort } = await import(dist("rumpuser/real/usb-port.js"));
const { umass } = await import(dist("dev/usb/umass/umass.js"));

const [, , phases, node] = process.argv;
const say = ({ level, source, message }) => {
  if (level !== "debug") console.error(`${level} ${source}: ${message}`);
};
const kernel = new RumpKernel(createRumpuser({ write: say }));
const controller = createUgenhc(openUsbPort(openSync(node, "r+")), { name: "ugenhc0", clock: kernel.clock });
await attachUsbBus({ kernel, controller, drivers: [umass], driverOptions: { umass: { phases } } });
const disk = kernel.devices[0].device;

for await (const line of createInterface({ input: process.stdin })) {
  const [direction, order, ...numbers] = line.split(" ");
  const us = [];
  const begin = performance.now();
  await run(direction === "write", order === "sequential", numbers.map(Number), us);
  console.log(JSON.stringify({ seconds: (performance.now() - begin) / 1000, us }));
}
await kernel.shutdown();

async function run(isWrite, isSequential, [bytes, depth, count], us) {
  const blocks = bytes / disk.info.blockBytes;
  const slots = Math.floor(disk.info.blockCount / blocks);
  const data = new Uint8Array(bytes);
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const index = next++;
      const block = (isSequential ? index % slots : Math.floor(Math.random() * slots)) * blocks;
      const begin = performance.now();
      if (isWrite) await disk.write(block, data);
      else disk.recycle(await disk.read(block, blocks));
      us[index] = Math.round((performance.now() - begin) * 1000);
    }
  };
  await Promise.all(Array.from({ length: depth }, lane));
}
