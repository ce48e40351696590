/**
 * Reads that follow one another on real usbfs: run as root with an idle FTDI chip of our models, which may be told to ring.
 *
 *   node test/lab/reads-check.mjs DEVICE_NODE MODEL_COMMANDS
 *
 * Prints one line per check; status 1 if one failed.
 */
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { detachKernelDriver } from "../../dist/rumpuser/real/addon.js";
import { openUsbPort } from "../../dist/rumpuser/real/usb-port.js";

const [, , node = "", commands = ""] = process.argv;
const SLOTS = 8;
const SLOT_BYTES = 64;
const IDLE_MS = 2_000;
/** The first status byte (FTDI D2XX: modem status). */
const RING = 0x40;

const say = (command) => writeFileSync(commands, `${command}\n`);

async function until(what, probe) {
  for (let tries = 0; tries < 300; tries++) {
    if (probe()) return;
    await wait(10);
  }
  throw new Error(`waited 3 s for ${what}`);
}

/** All slots in flight; whatever is told is read again. */
function openReads(port, repeatBytes) {
  const memory = new Uint8Array(SLOTS * SLOT_BYTES);
  const told = [];
  let isOver = false;
  const reads = port.openReads(
    { endpointAddress: 0x81, type: "bulk", memory, slotBytes: SLOT_BYTES, repeatBytes },
    (ends) => {
      for (const { slot, status, actualBytes } of ends) {
        const at = slot * SLOT_BYTES;
        told.push({ status, bytes: [...memory.subarray(at, at + actualBytes)], atMs: performance.now() });
        if (!isOver) reads.start(slot, SLOT_BYTES);
      }
    },
  );
  for (let slot = 0; slot < SLOTS; slot++) reads.start(slot, SLOT_BYTES);
  const end = async () => {
    isOver = true;
    const before = told.length;
    reads.cancel();
    await until("the end of all reads", () => told.length - before >= SLOTS);
    reads.close();
    return told.slice(before);
  };
  return { reads, told, end };
}

async function withPort(body) {
  const fd = openSync(node, "r+");
  detachKernelDriver(fd, 0);
  const port = openUsbPort(fd);
  try {
    assert.equal(await port.claimInterface(0), "ok");
    await body(port);
  } finally {
    port.close();
    closeSync(fd);
  }
}

/** Wake-ups of this process, and its processor time in ms. */
function used() {
  const status = readFileSync("/proc/self/status", "latin1");
  const { user, system } = process.cpuUsage();
  return { wakes: Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]), cpuMs: (user + system) / 1000 };
}

async function idle(port, repeatBytes) {
  const { told, end } = openReads(port, repeatBytes);
  await wait(500);
  const [before, toldBefore] = [used(), told.length];
  await wait(IDLE_MS);
  const after = used();
  const count = told.length - toldBefore;
  await end();
  const figures = `${count} told, ${after.wakes - before.wakes} wake-ups, ${(after.cpuMs - before.cpuMs).toFixed(1)} ms of processor time`;
  console.log(`  in ${IDLE_MS / 1000} s: ${figures}`);
  return count;
}

const checks = {
  async "each status is told, some sixty a second"() {
    await withPort(async (port) => assert.ok((await idle(port, 0)) > IDLE_MS / 32));
  },

  async "one that is repeated is not"() {
    await withPort(async (port) => assert.ok((await idle(port, 2)) <= 1));
  },

  async "a new one comes at once, and the last state is told"() {
    await withPort(async (port) => {
      const { told, end } = openReads(port, 2);
      await wait(200);
      for (const isOn of [true, false, true]) {
        const before = told.length;
        say(`ring ${isOn ? "on" : "off"}`);
        await until("a new status", () => told.length > before);
        assert.equal((told.at(-1).bytes[0] & RING) !== 0, isOn);
      }
      say("ring off");
      await until("the last status", () => (told.at(-1).bytes[0] & RING) === 0);
      assert.ok(told.every(({ status, bytes }) => status === "ok" && bytes.length === 2));
      await end();
    });
  },

  async "one that is repeated is told while that is asked for"() {
    await withPort(async (port) => {
      const { reads, told, end } = openReads(port, 2);
      const toldIn = async (ms) => {
        const before = told.length;
        await wait(ms);
        return told.length - before;
      };
      await wait(200);
      reads.tellRepeats(true);
      assert.ok((await toldIn(1000)) > 30);
      reads.tellRepeats(false);
      await wait(100);
      assert.ok((await toldIn(1000)) <= 1);
      await end();
    });
  },

  async "what is in flight is cancelled, and reads can be opened again"() {
    await withPort(async (port) => {
      for (let round = 0; round < 20; round++) {
        const ends = await openReads(port, 2).end();
        // On a busy machine some have come meanwhile.
        assert.ok(ends.some(({ status }) => status === "cancelled"));
        assert.ok(ends.every(({ status }) => status === "cancelled" || status === "ok"));
      }
    });
  },

  async "they end with the port"() {
    const ends = [];
    await withPort(async (port) => {
      const reads = port.openReads(
        { endpointAddress: 0x81, type: "bulk", memory: new Uint8Array(64), slotBytes: 64, repeatBytes: 2 },
        (all) => ends.push(...all.map(({ status }) => status)),
      );
      reads.start(0, 64);
    });
    await wait(50);
    assert.deepEqual(ends, ["cancelled"]);
  },
};

let failed = false;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok ${name}`);
  } catch (error) {
    failed = true;
    console.log(`FAILED ${name}: ${error.stack ?? error}`);
  }
}
process.exitCode = failed ? 1 : 0;
