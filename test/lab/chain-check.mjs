/**
 * Transfer chains on real usbfs: run as root in a machine with a mass-storage gadget that no kernel driver has.
 *
 *   node test/lab/chain-check.mjs DEVICE_NODE GADGET_FOLDER
 *
 * The last checks reset and unplug the device. Prints one line per check; status 1 if one failed.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { createUgenhc } from "../../dist/dev/ugenhc/ugenhc.js";
import { attachUsbBus } from "../../dist/dev/usb/attach-bus.js";
import { umass } from "../../dist/dev/usb/umass/umass.js";
import { RumpKernel } from "../../dist/rump/kernel.js";
import { createRumpuser } from "../../dist/rumpuser/real/rumpuser.js";
import { openUsbPort } from "../../dist/rumpuser/real/usb-port.js";

const [, , node, gadget] = process.argv;
const MODES = ["sequence", "overlap", "together"];
const CSW_BYTES = 13;
const endpoints = findEndpoints();
let tag = 0;

function findEndpoints() {
  const fd = openSync(node, "r");
  const bytes = Buffer.alloc(1024);
  const size = readSync(fd, bytes, 0, bytes.length, 0);
  closeSync(fd);
  const found = {};
  for (let at = 0; at + 2 < size && bytes[at] >= 2; at += bytes[at])
    if (bytes[at + 1] === 5) found[bytes[at + 2] & 0x80 ? "in" : "out"] = bytes[at + 2];
  return found;
}

const bulk = (endpointAddress, data) => ({ type: "bulk", endpointAddress, data });
const run = (port, steps) => new Promise((done) => port.submitChain(steps, done));

/** BOT 1.0 §5.1. */
function cbw(bytes, cdb) {
  const wrapper = Buffer.alloc(31);
  wrapper.write("USBC");
  wrapper.writeUInt32LE(++tag, 4);
  wrapper.writeUInt32LE(bytes, 8);
  wrapper[12] = 0x80;
  wrapper[14] = cdb.length;
  wrapper.set(cdb, 15);
  return wrapper;
}

/** A command with data to the host, its phases related as in src/dev/usb/umass/phases.ts; the status only after all data. */
function command(mode, bytes, cdb) {
  const data = Buffer.alloc(bytes);
  const status = Buffer.alloc(CSW_BYTES);
  const relate = (how, condition) => ({ [how]: condition });
  const steps = [
    { transfer: bulk(endpoints.out, cbw(bytes, cdb)) },
    {
      transfer: bulk(endpoints.in, data),
      ...relate(mode === "sequence" ? "after" : "with", { step: 0, minBytes: 31, maxBytes: 31 }),
    },
    {
      transfer: bulk(endpoints.in, status),
      ...relate(mode === "together" ? "with" : "after", { step: 1, minBytes: bytes }),
    },
  ];
  return { steps, data, status };
}
const INQUIRY = [0x12, 0, 0, 0, 36, 0];
const INQUIRY_TOO_LONG = [0x12, 0, 0, 0, 200, 0];

async function inquire(port, mode = "sequence") {
  const { steps, data, status } = command(mode, 36, INQUIRY);
  assert.deepEqual(
    await run(port, steps),
    [31, 36, CSW_BYTES].map((actualBytes) => ({ status: "ok", actualBytes })),
  );
  assert.equal(status[12], 0);
  assert.match(data.toString("latin1", 8, 16), /\S/);
}

/** After short data: the gadget halts its endpoint about 100 ms later, and has the status after that. */
async function readStatusAfterHalt(port) {
  const status = Buffer.alloc(CSW_BYTES);
  for (let tries = 0; tries < 3; tries++) {
    const [end] = await run(port, [{ transfer: bulk(endpoints.in, status) }]);
    if (end.status === "ok") return status;
    assert.equal(end.status, "stalled");
    assert.equal(await port.clearHalt(endpoints.in), "ok");
  }
  return assert.fail("no status after three tries");
}

async function withPort(body) {
  const fd = openSync(node, "r+");
  const port = openUsbPort(fd);
  try {
    assert.equal(await port.claimInterface(0), "ok");
    await body(port);
  } finally {
    port.close();
    closeSync(fd);
  }
}

const checks = {
  async "three phases in one chain, in every mode"() {
    await withPort(async (port) => {
      for (let round = 0; round < 50; round++) for (const mode of MODES) await inquire(port, mode);
    });
  },

  async "short data: the status is not waited for, nothing is lost, the next command works"() {
    await withPort(async (port) => {
      for (const mode of MODES) {
        const { steps, data, status: queued } = command(mode, 200, INQUIRY_TOO_LONG);
        const [sent, got, end] = await run(port, steps);
        assert.deepEqual(sent, { status: "ok", actualBytes: 31 });
        assert.equal(got.status, "ok");
        assert.ok(got.actualBytes >= 36 && got.actualBytes < 200, `${got.actualBytes} bytes`);
        assert.equal(data[4], got.actualBytes - 5);
        if (mode !== "together") assert.equal(end, undefined);
        // Taken back, unless it had come before that.
        const isHere = end?.actualBytes === CSW_BYTES;
        const status = isHere ? queued : await readStatusAfterHalt(port);
        assert.equal(status.readUInt32LE(4), tag);
        await inquire(port, mode);
      }
    });
  },

  async "cancelling ends what is in flight, the rest never starts"() {
    await withPort(async (port) => {
      const waiting = bulk(endpoints.in, Buffer.alloc(512));
      const condition = { step: 0, minBytes: 0 };
      let cancel;
      const ended = new Promise((done) => {
        cancel = port.submitChain(
          [{ transfer: waiting }, { transfer: waiting, with: condition }, { transfer: waiting, after: condition }],
          done,
        );
      });
      await wait(20);
      cancel();
      cancel();
      assert.deepEqual(await ended, [
        { status: "cancelled", actualBytes: 0 },
        { status: "cancelled", actualBytes: 0 },
        undefined,
      ]);
      await inquire(port);
    });
  },

  async "what usbfs has no memory for says so, and what runs with it is taken back"() {
    await withPort(async (port) => {
      const huge = bulk(endpoints.in, Buffer.alloc(64 << 20));
      const beside = { transfer: bulk(endpoints.in, Buffer.alloc(512)), with: { step: 0, minBytes: 0 } };
      const [refused, other] = await run(port, [{ transfer: huge }, beside]);
      assert.equal(refused.status, "error");
      assert.equal(other, undefined);
      await inquire(port);
    });
  },

  async "whoever else waits in the loop has a turn while one command follows the other"() {
    const server = net.createServer().listen(join(tmpdir(), `chain-check-${process.pid}`));
    const near = net.connect(server.address());
    const [far] = await once(server, "connection");
    await withPort(async (port) => {
      let [commands, isOver] = [0, false];
      const load = (async () => {
        for (; !isOver; commands++) await inquire(port, "together");
      })();
      /** Commands that end before it does. */
      const commandsUntil = async (event) => {
        const before = commands;
        await event();
        return commands - before;
      };
      for (let round = 0; round < 50; round++) {
        const untilRead = await commandsUntil(async () => {
          near.write("x");
          await once(far, "data");
        });
        assert.ok(untilRead <= 4, `${untilRead} commands before a socket was read`);
        const untilTimer = await commandsUntil(() => wait(1));
        assert.ok(untilTimer <= 40, `${untilTimer} commands before a timer fired`);
      }
      isOver = true;
      await load;
    });
    near.destroy();
    far.destroy();
    server.close();
  },

  async "a worker ends with chains in flight, again and again"() {
    const url = (path) => JSON.stringify(new URL(`../../dist/${path}`, import.meta.url));
    const source = `
      const { openSync } = await import("node:fs");
      const { openUsbPort } = await import(${url("rumpuser/real/usb-port.js")});
      const port = openUsbPort(openSync(${JSON.stringify(node)}, "r+"));
      await port.claimInterface(0);
      const step = () => ({ transfer: { type: "bulk", endpointAddress: ${endpoints.in}, data: new Uint8Array(512) } });
      for (let i = 0; i < 8; i++) port.submitChain([step(), { ...step(), after: { step: 0, minBytes: 0 } }], () => {});
      (await import("node:worker_threads")).parentPort.postMessage("ready");`;
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
      await new Promise((ready, failed) => worker.once("message", ready).once("error", failed));
      await worker.terminate();
    }
    await withPort(inquire);
  },

  async "closing in the middle ends a chain once"() {
    const fd = openSync(node, "r+");
    const port = openUsbPort(fd);
    assert.equal(await port.claimInterface(0), "ok");
    const step = { transfer: bulk(endpoints.in, Buffer.alloc(512)) };
    const ended = run(port, [step, { ...step, after: { step: 0, minBytes: 0 } }]);
    port.close();
    assert.deepEqual(await ended, [{ status: "cancelled", actualBytes: 0 }, undefined]);
    assert.deepEqual(await run(port, [step]), [{ status: "disconnected", actualBytes: 0 }]);
    closeSync(fd);
  },

  async "the driver reads what it wrote, in every mode"() {
    for (const [round, phases] of MODES.entries()) {
      const fd = openSync(node, "r+");
      const problems = [];
      const kernel = new RumpKernel(
        createRumpuser({ write: (entry) => /warn|error/.test(entry.level) && problems.push(entry.message) }),
      );
      const controller = createUgenhc(openUsbPort(fd), { name: "ugenhc0", clock: kernel.clock });
      await attachUsbBus({ kernel, controller, drivers: [umass], driverOptions: { umass: { phases } } });
      const { device: disk } = kernel.devices[0];
      for (const blocks of [1, 8, 128, 2048]) {
        const data = Buffer.alloc(blocks * 512, `${round} ${blocks} `);
        await disk.write(64, data, { forceUnitAccess: blocks === 8 });
        assert.ok(Buffer.compare(await disk.read(64, blocks), data) === 0, `${phases}, ${blocks} blocks`);
      }
      await disk.flush();
      assert.deepEqual(problems, []);
      await kernel.shutdown();
      closeSync(fd);
    }
  },

  async "a reset in the middle: no step of the chain starts after it"() {
    await withPort(async (port) => {
      const step = { transfer: bulk(endpoints.in, Buffer.alloc(512)) };
      const ended = run(port, [step, { ...step, after: { step: 0, minBytes: 0 } }]);
      assert.equal(await port.reset(), "ok");
      assert.deepEqual(await ended, [{ status: "cancelled", actualBytes: 0 }, undefined]);
      await inquire(port);
    });
  },

  async "an unplug in the middle ends every chain once"() {
    await withPort(async (port) => {
      const step = { transfer: bulk(endpoints.in, Buffer.alloc(512)) };
      const steps = [step, { ...step, with: { step: 0, minBytes: 1 } }, { ...step, after: { step: 1, minBytes: 1 } }];
      const ended = Array.from({ length: 4 }, () => run(port, steps));
      writeFileSync(`${gadget}/UDC`, "\n");
      for (const [first, second, third] of await Promise.all(ended)) {
        // The controller notices first and reports a bus error; the hub tells the kernel a moment later.
        assert.match(first.status, /^(disconnected|error)$/);
        assert.match(second.status, /^(disconnected|error|cancelled)$/);
        assert.equal(third, undefined);
      }
    });
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    const late = wait(20_000, undefined, { ref: false }).then(() => assert.fail("not done after 20 s"));
    await Promise.race([check(), late]);
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok ${name}\n${error.stack}`);
  }
}
process.exit(failed === 0 ? 0 : 1);
