/**
 * What UAS brings: random reads of 4 KiB from the same drive at SuperSpeed, over Bulk-Only Transport and over UAS with bulk streams.
 *
 *   node bench/uas.mjs [--seconds 1] [--rounds 5] [--write]
 *
 * Stack, driver and drive are in this process (dev/vhc): USB/IP carries no streams. So processor time is that of all three, and
 * counts more than rates do. A drive that answers at once shows what a command costs; one that takes a millisecond for each
 * command, as a disk does, what having several on their way is good for. Every row is measured once a round, in turned order; a
 * figure is the median of the rounds. A first round is not counted: V8 compiles meanwhile.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeSection } from "./page.mjs";
import { describeMachine, median, table } from "./tables.mjs";

const dist = (path) => fileURLToPath(new URL(`../dist/${path}`, import.meta.url));
const { attachUsbBus, createVhc, RumpKernel } = await import(dist("index.js"));
const { createRumpuser } = await import(dist("rumpuser/real/rumpuser.js"));
const { FlashDrive } = await import(dist("vdev/flash-drive.js"));
const { MemoryStore } = await import(dist("vdev/image.js"));
const { umass } = await import(dist("dev/usb/umass/umass.js"));
const { uas } = await import(dist("dev/usb/uas/uas.js"));

const SIZE_MIB = 64;
const READ_BYTES = 4096;
const BLOCK_BYTES = 512;
const SLOW = [{ phase: "cbw", nth: "every", action: { kind: "delay", ms: 1 } }];
const DEPTHS = [1, 8, 32];

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "1" },
    rounds: { type: "string", default: "5" },
    write: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);
if (!(seconds > 0) || !(rounds >= 1)) {
  process.stderr.write("uas: --seconds and --rounds are numbers above 0\n");
  process.exit(2);
}

/** One drive with its stack, driven in one way. */
async function start(way, isSlow) {
  const kernel = new RumpKernel(createRumpuser({ write: () => {} }));
  const controller = createVhc({ name: "vhc0", clock: kernel.clock });
  const drive = new FlashDrive({
    clock: kernel.clock,
    speed: "super",
    units: [{ store: new MemoryStore(SIZE_MIB << 20), blockBytes: BLOCK_BYTES, writeCache: true }],
    ...(way === "UAS" ? { uas: {} } : {}),
  });
  controller.plug(1, drive);
  await attachUsbBus({ kernel, controller, drivers: [umass, uas] });
  if (isSlow) for (const fault of SLOW) drive.faults.add(fault);
  return { kernel, controller, disk: kernel.devices[0].device };
}

/** @returns commands a second, CPU µs and transfers of a command. */
async function measure({ controller, disk }, depth) {
  const blocks = READ_BYTES / BLOCK_BYTES;
  const slots = Math.floor(disk.info.blockCount / blocks);
  const transfersBefore = controller.transferCount;
  const cpuBefore = process.cpuUsage();
  const started = performance.now();
  const end = started + seconds * 1000;
  let done = 0;
  const lane = async () => {
    while (performance.now() < end) {
      await disk.read(Math.floor(Math.random() * slots) * blocks, blocks);
      done++;
    }
  };
  await Promise.all(Array.from({ length: depth }, lane));
  const { user, system } = process.cpuUsage(cpuBefore);
  return {
    rate: (done / (performance.now() - started)) * 1000,
    cpuMicroseconds: (user + system) / done,
    transfers: (controller.transferCount - transfersBefore) / done,
  };
}

const rows = [];
for (const isSlow of [false, true])
  for (const way of ["Bulk-Only, overlap", "UAS"]) {
    const target = await start(way, isSlow);
    for (const depth of DEPTHS) rows.push({ isSlow, way, depth, target, figures: [] });
  }
for (let round = -1; round < rounds; round++)
  for (let turn = 0; turn < rows.length; turn++) {
    const { target, depth, figures } = rows[(turn + Math.max(0, round)) % rows.length];
    const figure = await measure(target, depth);
    if (round >= 0) figures.push(figure);
  }
for (const { target, depth } of rows) if (depth === DEPTHS[0]) await target.kernel.shutdown();

const cells = rows.map(({ isSlow, way, depth, figures }) => {
  const first = rows.find((row) => row.isSlow === isSlow); // Bulk-Only at depth 1
  const ratio = (name) => median(figures.map((one, round) => one[name] / first.figures[round][name])).toFixed(2);
  return [
    isSlow ? "1 ms a command" : "answers at once",
    way,
    depth,
    `${median(figures.map(({ rate }) => rate)).toFixed(0)} /s`,
    ratio("rate"),
    median(figures.map(({ cpuMicroseconds }) => cpuMicroseconds)).toFixed(0),
    ratio("cpuMicroseconds"),
    median(figures.map(({ transfers }) => transfers)).toFixed(1),
  ];
});
const head = ["drive", "driven by", "depth", "reads", "of the first", "CPU µs each", "of the first", "transfers each"];
const lines = [describeMachine(SIZE_MIB, rounds, seconds), "", ...table(head, cells)];
console.log(lines.join("\n"));
if (values.write) writeSection("uas", lines);
