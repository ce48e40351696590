/**
 * The stack with the uas driver on a real usbfs device, in one process with no host around it: run as root.
 *
 *   node test/lab/uas-check.mjs DEVICE_NODE STREAMS
 *
 * STREAMS: what the driver must say of its streams ("16", "no"). Reads the first unit with 16 requests at a time, writes it,
 * takes a caller's request back, and prints the SHA-256 of what was read and of what was written.
 */
import assert from "node:assert/strict";
import { createHash, randomFillSync } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { createUgenhc } from "../../dist/dev/ugenhc/ugenhc.js";
import { attachUsbBus } from "../../dist/dev/usb/attach-bus.js";
import { uas } from "../../dist/dev/usb/uas/uas.js";
import { RumpKernel } from "../../dist/rump/kernel.js";
import { realClock } from "../../dist/rumpuser/real/clock.js";
import { createRumpuser } from "../../dist/rumpuser/real/rumpuser.js";
import { openUsbPort } from "../../dist/rumpuser/real/usb-port.js";

const [, , node = "", streams = ""] = process.argv;
const AT_ONCE = 16;
const CHUNK_BLOCKS = 128;

const lines = [];
const log = { write: ({ level, source, message }) => lines.push(`${level} ${source}: ${message}`) };
const kernel = new RumpKernel(createRumpuser(log));
const fd = openSync(node, "r+");

async function run() {
  const controller = createUgenhc(openUsbPort(fd), { name: "ugenhc0", clock: realClock });
  await attachUsbBus({ kernel, controller, drivers: [uas], interrupted: true });
  const disk = kernel.devices.find(({ name }) => name === "sd0")?.device;
  assert.ok(disk, "no disk");
  assert.ok(
    lines.some((line) => line.includes(`uas with ${streams} streams`)),
    "streams",
  );
  const { blockCount, blockBytes } = disk.info;
  const chunks = Array.from({ length: blockCount / CHUNK_BLOCKS }, (_, at) => at * CHUNK_BLOCKS);

  const content = Buffer.alloc(blockCount * blockBytes);
  await each(chunks, async (first) => content.set(await disk.read(first, CHUNK_BLOCKS), first * blockBytes));
  console.log(`read ${sha256(content)}`);

  const stop = new AbortController();
  const given = disk.read(0, CHUNK_BLOCKS, { signal: stop.signal }).catch((error) => error.code);
  setImmediate(() => stop.abort());
  const outcome = await given;
  assert.ok(outcome === "ECANCELED" || outcome.length === CHUNK_BLOCKS * blockBytes, String(outcome));

  randomFillSync(content);
  await each(chunks, (first) =>
    disk.write(first, content.subarray(first * blockBytes, (first + CHUNK_BLOCKS) * blockBytes)),
  );
  await disk.flush();
  await each(chunks, async (first) => {
    const at = first * blockBytes;
    const back = await disk.read(first, CHUNK_BLOCKS);
    assert.equal(Buffer.compare(back, content.subarray(at, at + back.length)), 0, `block ${first}`);
  });
  console.log(`written ${sha256(content)}`);
}

/** `AT_ONCE` at a time. */
async function each(items, act) {
  const left = items.values();
  const worker = async () => {
    for (const item of left) await act(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

try {
  await run();
} catch (error) {
  console.log(lines.join("\n"));
  console.log(error);
  process.exitCode = 1;
} finally {
  await kernel.shutdown();
  closeSync(fd);
}
