/**
 * Our driver on a usbfs device, at the device switch: no pud, no NBD, no sandbox. Runs in the lab's guest.
 *
 *   node bench/lab-port.mjs NODE MODE DEPTH WARM-UP BYTES:COUNT…     prints reads per second for each BYTES:COUNT, one a line
 *
 * WARM-UP: 4 KiB reads before the first figure; the compiler works beside them, on the guest's one processor.
 */
import { openSync } from "node:fs";

const dist = (path) => new URL(`../dist/${path}`, import.meta.url).href;
const { attachUsbBus, RumpKernel } = await import(dist("index.js"));
const { createUgenhc } = await import(dist("dev/ugenhc/ugenhc.js"));
const { createRumpuser } = await import(dist("rumpuser/real/rumpuser.js"));
const { openUsbPort } = await import(dist("rumpuser/real/usb-port.js"));
const { umass } = await import(dist("dev/usb/umass/umass.js"));

const [, , node, phases, depth, warmUp, ...runs] = process.argv;
const say = ({ level, source, message }) => {
  if (level !== "debug") console.error(`${level} ${source}: ${message}`);
};
const kernel = new RumpKernel(createRumpuser({ write: say }));
const controller = createUgenhc(openUsbPort(openSync(node, "r+")), { name: "ugenhc0", clock: kernel.clock });
await attachUsbBus({ kernel, controller, drivers: [umass], driverOptions: { umass: { phases } } });
const disk = kernel.devices[0].device;

let seed = 1;
function random(below) {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
}

async function measure(bytes, count) {
  const blocks = bytes / disk.info.blockBytes;
  const slots = Math.floor(disk.info.blockCount / blocks);
  let left = count;
  const lane = async () => {
    while (left-- > 0) disk.recycle(await disk.read(random(slots) * blocks, blocks));
  };
  const begin = performance.now();
  await Promise.all(Array.from({ length: Number(depth) }, lane));
  return (count / (performance.now() - begin)) * 1000;
}

await measure(4096, Number(warmUp));
for (const run of runs) {
  const [bytes, count] = run.split(":").map(Number);
  console.log((await measure(bytes, count)).toFixed(1));
}
await kernel.shutdown();
