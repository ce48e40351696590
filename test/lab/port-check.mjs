/**
 * The USB port on real usbfs: run as root in a machine with a high-speed mass-storage gadget.
 *
 *   node test/lab/port-check.mjs VID:PID GADGET_FOLDER
 *
 * GADGET_FOLDER is the gadget in configfs: its UDC file plugs and unplugs. Prints one line per check; status 1 if one failed.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { detachKernelDriver, dropPrivileges, keeperPath, loadAddon } from "../../dist/rumpuser/real/addon.js";
import { watchUsbUevents } from "../../dist/rumpuser/real/uevents.js";
import { openUsbPort, UsbPortError } from "../../dist/rumpuser/real/usb-port.js";

const { attachKernelDriver, kernelDriver } = loadAddon();
const [, , ids = "", gadget = ""] = process.argv;
const udcFile = `${gadget}/UDC`;
const udc = readFileSync(udcFile, "utf8").trim();
const EMPTY = new Uint8Array(0);

/** The usbfs node of the device, once it is there. */
async function deviceNode() {
  const number = (path) => readFileSync(path, "utf8").trim().padStart(3, "0");
  return await until(`a device ${ids}`, () => {
    for (const name of readdirSync("/sys/bus/usb/devices")) {
      const at = `/sys/bus/usb/devices/${name}`;
      try {
        const found = [`${at}/idVendor`, `${at}/idProduct`].map((path) => readFileSync(path, "utf8").trim()).join(":");
        if (found === ids) return `/dev/bus/usb/${number(`${at}/busnum`)}/${number(`${at}/devnum`)}`;
      } catch {
        // an interface, or a device that is just going
      }
    }
    return undefined;
  });
}

async function until(what, probe) {
  for (let tries = 0; tries < 500; tries++) {
    const found = probe();
    if (found !== undefined && found !== false) return found;
    await wait(20);
  }
  throw new Error(`waited 10 s for ${what}`);
}

const transfer = (port, request) => new Promise((done) => port.submit(request, done));
const bulk = (port, endpointAddress, data, more = {}) =>
  transfer(port, { type: "bulk", endpointAddress, data, ...more });
const control = (port, setup, data) =>
  transfer(port, { type: "control", endpointAddress: setup[0] & 0x80, setup: Uint8Array.from(setup), data });

/** A BOT command block wrapper (BOT 1.0 §5.1). */
function cbw(tag, bytes, flags, command) {
  const wrapper = Buffer.alloc(31);
  wrapper.write("USBC");
  wrapper.writeUInt32LE(tag, 4);
  wrapper.writeUInt32LE(bytes, 8);
  wrapper[12] = flags;
  wrapper[14] = command.length;
  wrapper.set(command, 15);
  return wrapper;
}
const read10 = (blocks) => [0x28, 0, 0, 0, 0, 0, 0, blocks >> 8, blocks & 0xff, 0];
const inquiry = [0x12, 0, 0, 0, 36, 0];

/** Command, data, status; all must go well. Returns the data. */
async function command(port, tag, bytes, block) {
  assert.deepEqual(await bulk(port, endpointOut, cbw(tag, bytes, 0x80, block)), { status: "ok", actualBytes: 31 });
  const data = Buffer.alloc(bytes);
  const moved = await bulk(port, endpointIn, data);
  assert.deepEqual(moved, { status: "ok", actualBytes: bytes });
  const status = Buffer.alloc(13);
  assert.deepEqual(await bulk(port, endpointIn, status), { status: "ok", actualBytes: 13 });
  assert.equal(status[12], 0);
  return data;
}

/** Takes the unit attention that a disk has after it was plugged in or reset (SPC-4 §5.14). */
async function ready(port) {
  for (const tag of [101, 102, 103]) {
    await bulk(port, endpointOut, cbw(tag, 0, 0, [0, 0, 0, 0, 0, 0]));
    const status = Buffer.alloc(13);
    await bulk(port, endpointIn, status);
    if (status[12] === 0) return;
    await command(port, tag + 100, 18, [0x03, 0, 0, 0, 18, 0]);
  }
  assert.fail("not ready after three tries");
}

/** The bulk endpoints, found in the descriptors: gadgets number them as their controller likes. */
let endpointIn = 0;
let endpointOut = 0;
function findEndpoints(fd) {
  const descriptors = Buffer.alloc(1024);
  const size = readSync(fd, descriptors, 0, descriptors.length, 0);
  for (let at = 0; at + 2 < size && descriptors[at] >= 2; at += descriptors[at]) {
    if (descriptors[at + 1] !== 5) continue;
    if (descriptors[at + 2] & 0x80) endpointIn = descriptors[at + 2];
    else endpointOut = descriptors[at + 2];
  }
}

async function open() {
  const fd = openSync(await deviceNode(), "r+");
  findEndpoints(fd);
  const port = openUsbPort(fd);
  return {
    fd,
    port,
    done() {
      port.close();
      closeSync(fd);
    },
  };
}

async function withPort(body) {
  const device = await open();
  try {
    detachKernelDriver(device.fd, 0);
    assert.equal(await device.port.claimInterface(0), "ok");
    await body(device.port, device.fd);
  } finally {
    device.done();
  }
}

const checks = {
  async "kernel driver: named, detached, given back"() {
    const fd = openSync(await deviceNode(), "r+");
    await until("usb-storage", () => kernelDriver(fd, 0) === "usb-storage");
    assert.equal(attachKernelDriver(fd, 0), -16);
    assert.equal(detachKernelDriver(fd, 0), 0);
    assert.equal(kernelDriver(fd, 0), -61);
    assert.equal(detachKernelDriver(fd, 0), -61);
    assert.equal(attachKernelDriver(fd, 0), 1);
    assert.equal(kernelDriver(fd, 0), "usb-storage");
    closeSync(fd);
  },

  async "speed, configuration, claim, alternate setting, clear halt"() {
    const { port, fd, done } = await open();
    assert.equal(port.speed, "high");
    assert.equal(await port.configuration(), 1);
    assert.equal(await port.claimInterface(0), "busy");
    detachKernelDriver(fd, 0);
    assert.equal(await port.claimInterface(0), "ok");
    assert.equal(await port.claimInterface(5), "notFound");
    assert.equal(await port.claimInterface(99), "invalid");
    assert.equal(await port.setConfiguration(1), "busy");
    assert.equal(await port.setConfiguration(300), "invalid");
    assert.equal(await port.setInterface(0, 0), "ok");
    assert.equal(await port.setInterface(0, 3), "notFound");
    assert.equal(await port.clearHalt(endpointIn), "ok");
    assert.equal(await port.clearHalt(0x8f), "notFound");
    assert.equal(await port.releaseInterface(0), "ok");
    assert.equal(await port.releaseInterface(0), "notFound");
    done();
  },

  async "control transfers: data in, short, stalled, refused"() {
    await withPort(async (port) => {
      const descriptor = new Uint8Array(64);
      assert.deepEqual(await control(port, [0x80, 6, 0, 1, 0, 0, 64, 0], descriptor), {
        status: "ok",
        actualBytes: 18,
      });
      assert.equal(descriptor[1], 1);
      const lun = new Uint8Array(1);
      assert.deepEqual(await control(port, [0xa1, 0xfe, 0, 0, 0, 0, 1, 0], lun), { status: "ok", actualBytes: 1 });
      assert.equal((await control(port, [0x80, 6, 0, 0xff, 0, 0, 8, 0], new Uint8Array(8))).status, "stalled");
      assert.equal((await control(port, [0x80, 6, 0, 1, 0, 0, 0xff, 0xff], new Uint8Array(65535))).status, "error");
      assert.equal((await control(port, [0x80, 6, 0, 1, 0, 0, 64, 0], new Uint8Array(8))).status, "error");
      assert.equal((await control(port, [0, 9], EMPTY)).status, "error");
      assert.equal((await bulk(port, 0x0f, new Uint8Array(8))).status, "error");
    });
  },

  async "INQUIRY, and 1 MiB in one transfer"() {
    await withPort(async (port) => {
      const answer = await command(port, 1, 36, inquiry);
      assert.match(answer.toString("latin1", 8, 16), /Linux/);
      await ready(port);
      await command(port, 2, 1 << 20, read10(2048));
    });
  },

  async "many in flight on one endpoint end in order"() {
    await withPort(async (port) => {
      await ready(port);
      const order = [];
      const chunks = Array.from({ length: 32 }, (_, i) =>
        bulk(port, endpointIn, Buffer.alloc(1024)).then((end) => order.push([i, end.status, end.actualBytes])),
      );
      await bulk(port, endpointOut, cbw(3, 32 * 1024, 0x80, read10(64)));
      const status = Buffer.alloc(13);
      const end = await bulk(port, endpointIn, status);
      await Promise.all(chunks);
      assert.deepEqual(
        order,
        Array.from({ length: 32 }, (_, i) => [i, "ok", 1024]),
      );
      assert.deepEqual(end, { status: "ok", actualBytes: 13 });
    });
  },

  async "a waiting transfer is cancelled, and the next one works"() {
    await withPort(async (port) => {
      let cancel;
      const waiting = new Promise((done) => {
        cancel = port.submit({ type: "bulk", endpointAddress: endpointIn, data: Buffer.alloc(512) }, done);
      });
      await wait(20);
      cancel();
      cancel();
      assert.deepEqual(await waiting, { status: "cancelled", actualBytes: 0 });
      await command(port, 4, 36, inquiry);
    });
  },

  async "an idle port makes no wake-up, a transfer makes few"() {
    await withPort(async (port) => {
      port.submit({ type: "bulk", endpointAddress: endpointIn, data: Buffer.alloc(512) }, () => {});
      const ran = process.cpuUsage();
      const before = process.resourceUsage().voluntaryContextSwitches;
      await wait(1000);
      const switches = process.resourceUsage().voluntaryContextSwitches - before;
      const { user, system } = process.cpuUsage(ran);
      assert.ok(switches <= 5, `${switches} context switches in an idle second`);
      assert.ok(user + system < 50_000, `${user + system} us of processor time in an idle second`);
    });
  },

  async "closing ends what is in flight, and the device can be opened again"() {
    const { port, fd } = await open();
    detachKernelDriver(fd, 0);
    await port.claimInterface(0);
    const waiting = bulk(port, endpointIn, Buffer.alloc(512));
    const resetting = port.reset();
    port.close();
    port.close();
    assert.deepEqual(await waiting, { status: "cancelled", actualBytes: 0 });
    assert.ok(["ok", "disconnected"].includes(await resetting));
    assert.equal((await bulk(port, endpointIn, Buffer.alloc(512))).status, "disconnected");
    assert.equal(await port.claimInterface(0), "disconnected");
    closeSync(fd);
    await withPort(async (again) => await command(again, 5, 36, inquiry));
  },

  async "a reset keeps the claim and the device answers after it"() {
    await withPort(async (port) => {
      const waiting = bulk(port, endpointIn, Buffer.alloc(512));
      assert.equal(await port.reset(), "ok");
      assert.deepEqual(await waiting, { status: "cancelled", actualBytes: 0 });
      await command(port, 6, 36, inquiry);
    });
  },

  async "a worker ends with transfers in flight, and a process too"() {
    const node = await deviceNode();
    const body = `
      const { openSync } = await import("node:fs");
      const { openUsbPort } = await import(${JSON.stringify(new URL("../../dist/rumpuser/real/usb-port.js", import.meta.url))});
      const { detachKernelDriver } = await import(${JSON.stringify(new URL("../../dist/rumpuser/real/addon.js", import.meta.url))});
      const fd = openSync(${JSON.stringify(node)}, "r+");
      detachKernelDriver(fd, 0);
      const port = openUsbPort(fd);
      await port.claimInterface(0);
      for (let i = 0; i < 8; i++) port.submit({ type: "bulk", endpointAddress: ${endpointIn}, data: new Uint8Array(512) }, () => {});
      void port.reset();`;
    for (let round = 0; round < 3; round++) {
      const source = `${body}\n(await import("node:worker_threads")).parentPort.postMessage("ready");`;
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
      await new Promise((ready, failed) => worker.once("message", ready).once("error", failed));
      await worker.terminate();
    }
    const child = spawn(process.execPath, ["--input-type=module", "-e", `${body}\nprocess.exit(7);`]);
    const [code, signal] = await new Promise((exited) => child.once("exit", (...how) => exited(how)));
    assert.deepEqual([code, signal], [7, null]);
    await withPort(async (port) => await command(port, 7, 36, inquiry));
  },

  async "dropped privileges: claims of the mask only"() {
    const { port, fd, done } = await open();
    detachKernelDriver(fd, 0);
    assert.equal(dropPrivileges(fd, 0b10), 0);
    assert.equal(await port.claimInterface(0), "other");
    assert.equal(attachKernelDriver(fd, 0), -13);
    done();
  },

  async "what a completion throws is an uncaught exception, and the port goes on"() {
    await withPort(async (port) => {
      const caught = new Promise((resolve) => process.once("uncaughtException", resolve));
      const setup = Uint8Array.of(0x80, 6, 0, 1, 0, 0, 18, 0);
      port.submit({ type: "control", endpointAddress: 0, setup, data: new Uint8Array(18) }, () => {
        throw new Error("thrown by a completion");
      });
      assert.match((await caught).message, /thrown by a completion/);
      await command(port, 8, 36, inquiry);
    });
  },

  async "more than 1024 in flight are refused, the others end"() {
    await withPort(async (port) => {
      const ends = [];
      const cancels = Array.from({ length: 1030 }, () =>
        port.submit({ type: "bulk", endpointAddress: endpointIn, data: new Uint8Array(64) }, (end) =>
          ends.push(end.status),
        ),
      );
      await until("the refusals", () => ends.length === 6);
      for (const cancel of cancels) cancel();
      await until("every end", () => ends.length === 1030);
      assert.equal(ends.filter((status) => status === "error").length, 6);
      assert.equal(ends.filter((status) => status === "cancelled").length, 1024);
    });
  },

  async "wrong descriptors are refused"() {
    const plain = openSync(import.meta.filename ?? process.argv[1], "r");
    for (const fd of [plain, 9999, -1]) assert.throws(() => openUsbPort(fd), UsbPortError);
    closeSync(plain);
  },

  async "unplug: everything in flight ends at once, told once, by uevent too"() {
    const { port, fd } = await open();
    detachKernelDriver(fd, 0);
    await port.claimInterface(0);
    let told = 0;
    const gone = new Promise((done) =>
      port.onDisconnect(() => {
        told++;
        done();
      }),
    );
    let changed;
    const uevent = new Promise((done) => (changed = done));
    const stop = watchUsbUevents(changed);
    const waiting = Array.from({ length: 4 }, () => bulk(port, endpointIn, Buffer.alloc(512)));
    writeFileSync(udcFile, "\n");
    // The controller notices first and reports a bus error; the hub tells the kernel a moment later.
    for (const end of await Promise.all(waiting)) assert.match(end.status, /^(disconnected|error)$/);
    await gone;
    await uevent;
    stop();
    assert.equal((await bulk(port, endpointIn, Buffer.alloc(512))).status, "disconnected");
    assert.equal(await port.claimInterface(0), "disconnected");
    await wait(50);
    assert.equal(told, 1);
    port.close();
    closeSync(fd);
    writeFileSync(udcFile, udc);
  },

  async "the keeper gives the driver back when everyone is killed"() {
    const node = await deviceNode();
    const probe = openSync(node, "r+");
    await until("usb-storage", () => kernelDriver(probe, 0) === "usb-storage");
    const source = `
      const { openSync } = await import("node:fs");
      const { spawn } = await import("node:child_process");
      const { openUsbPort } = await import(${JSON.stringify(new URL("../../dist/rumpuser/real/usb-port.js", import.meta.url))});
      const { detachKernelDriver } = await import(${JSON.stringify(new URL("../../dist/rumpuser/real/addon.js", import.meta.url))});
      const fd = openSync(${JSON.stringify(node)}, "r+");
      const keeper = spawn(${JSON.stringify(keeperPath())}, ["0"], { stdio: ["pipe", "ignore", "inherit", fd] });
      detachKernelDriver(fd, 0);
      const port = openUsbPort(fd);
      console.log(await port.claimInterface(0), keeper.pid);
      port.submit({ type: "bulk", endpointAddress: ${endpointIn}, data: new Uint8Array(512) }, () => {});`;
    const host = spawn(process.execPath, ["--input-type=module", "-e", source], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const line = await new Promise((read) => host.stdout.once("data", (bytes) => read(String(bytes))));
    const [result, keeper] = line.split(" ");
    assert.equal(result, "ok");
    assert.equal(kernelDriver(probe, 0), "usbfs");
    process.kill(Number(keeper), "SIGTERM");
    process.kill(Number(keeper), "SIGINT");
    host.kill("SIGKILL");
    await until("usb-storage after the kill", () => kernelDriver(probe, 0) === "usb-storage");
    await until("the end of the keeper", () => {
      try {
        process.kill(Number(keeper), 0);
        return readFileSync(`/proc/${Number(keeper)}/stat`, "utf8").includes(") Z ");
      } catch {
        return true;
      }
    });
    closeSync(probe);
  },
};

async function late(limitMs) {
  await wait(limitMs, undefined, { ref: false });
  throw new Error(`not done after ${limitMs} ms`);
}

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await Promise.race([check(), late(20_000)]);
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok ${name}\n${error.stack}`);
  }
}
console.log(`${Object.keys(checks).length - failed} of ${Object.keys(checks).length} checks passed`);
process.exit(failed === 0 ? 0 : 1);
