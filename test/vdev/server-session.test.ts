/** The server's side of one connection, against clients that are wrong. The client's bytes are written by hand here. */
import { describe, expect, test } from "vitest";
import { concat, viewOf } from "../../src/bytes.js";
import {
  AT,
  cmdSubmit,
  cmdUnlink,
  exportedDevice,
  exportedInterface,
  importRequest,
  opHeader,
  retSubmit,
  retUnlink,
  textOf,
  zeroTerminated,
} from "../../src/dev/usbip/wire.js";
import type { SessionLimits } from "../../src/vdev/usbip-session.js";
import { ECHO, EchoModel } from "../fakes/echo-model.js";
import { sessionInMemory } from "../fakes/usbip-rig.js";

const operation = (code: number, body: Uint8Array = new Uint8Array(0), version = 0x0111) =>
  concat([opHeader.encode({ version, code, status: 0 }), body]);
const importOf = (busId: string) => operation(0x8003, importRequest.encode({ busid: zeroTerminated(busId, 32) }));

const submitOf = (changes: Partial<Parameters<typeof cmdSubmit.encode>[0]> = {}) =>
  cmdSubmit.encode({
    command: 1,
    seqnum: 1,
    devid: 0x00010001,
    direction: 1,
    ep: 2,
    transferFlags: 0,
    transferBufferLength: 4,
    startFrame: 0,
    numberOfPackets: 0,
    interval: 0,
    setup: new Uint8Array(8),
    ...changes,
  });
const unlinkOf = (seqnum: number, unlinkSeqnum: number) =>
  cmdUnlink.encode({
    command: 2,
    seqnum,
    devid: 0x00010001,
    direction: 0,
    ep: 0,
    unlinkSeqnum,
    padding: new Uint8Array(24),
  });

/** A client that writes bytes and keeps what comes back. */
function client(limits: Partial<SessionLimits> = {}) {
  const rig = sessionInMemory({ limits });
  const chunks: Uint8Array[] = [];
  let closed = false;
  rig.client.onData((chunk) => chunks.push(chunk.slice()));
  rig.client.onClose(() => {
    closed = true;
  });
  return {
    ...rig,
    closed: () => closed,
    /** Sends, lets the server work, returns what came back since the last time. */
    exchange: async (...parts: Uint8Array[]): Promise<Uint8Array> => {
      rig.client.write(parts);
      await rig.clock.advance(0);
      return concat(chunks.splice(0));
    },
  };
}

/** A client that has imported 1-1. */
async function importer(limits: Partial<SessionLimits> = {}) {
  const one = client(limits);
  const reply = await one.exchange(importOf("1-1"));
  expect(reply).toHaveLength(8 + exportedDevice.size);
  return one;
}

describe("operations", () => {
  test("the list names every export with its interfaces, then the connection closes", async () => {
    const { exchange, exports, closed, clock } = client();
    exports.plug("2-1.4", new EchoModel());
    const reply = await exchange(operation(0x8005));
    const size = exportedDevice.size + exportedInterface.size;
    expect(reply).toHaveLength(12 + 2 * size);
    expect(opHeader.decode(reply)).toEqual({ version: 0x0111, code: 5, status: 0 });
    expect(viewOf(reply).getUint32(8)).toBe(2);
    const second = exportedDevice.decode(reply, 12 + size);
    expect(textOf(second.busid)).toBe("2-1.4");
    expect(second).toMatchObject({
      busnum: 2,
      devnum: 2,
      speed: 3,
      idVendor: 0x1209,
      idProduct: 1,
      bcdDevice: 0x0100,
      bDeviceClass: 0xff,
      bConfigurationValue: 1,
      bNumConfigurations: 1,
      bNumInterfaces: 1,
    });
    expect(exportedInterface.decode(reply, reply.length - 4)).toMatchObject({ bInterfaceClass: 0xff, padding: 0 });
    await clock.run();
    expect(closed()).toBe(true);
  });

  test("an import resets the device and hands it over", async () => {
    const { model, exports } = await importer();
    expect(model.resets).toBe(1);
    expect(exports.find("1-1")?.importer).toBeDefined();
  });

  test.each([
    ["9-9", 4],
    ["", 4],
    ["../../etc", 4],
  ])("an import of %j is refused with status %i", async (busId, status) => {
    const { exchange, closed, clock } = client();
    const reply = await exchange(importOf(busId));
    expect(opHeader.decode(reply)).toEqual({ version: 0x0111, code: 3, status });
    expect(reply).toHaveLength(8);
    await clock.run();
    expect(closed()).toBe(true);
  });

  test("a device has one importer at a time", async () => {
    const { exports, exchange } = client();
    const held = exports.find("1-1");
    if (held !== undefined) held.importer = { end: () => undefined };
    expect(opHeader.decode(await exchange(importOf("1-1")))).toMatchObject({ status: 2 });
  });

  test.each([
    ["a web browser", new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"), "no USB/IP 1.1.1 request"],
    ["another version", operation(0x8005, new Uint8Array(0), 0x0100), "no USB/IP 1.1.1 request"],
    ["an operation of a server", operation(0x0003), "operation 3h is none of a client's"],
    ["zeroes", new Uint8Array(4096), "no USB/IP 1.1.1 request"],
  ])("%s is dropped", async (_what, bytes, reason) => {
    const { exchange, closed, notes, ended } = client();
    expect(await exchange(bytes)).toHaveLength(0);
    expect([closed(), ended()]).toEqual([true, true]);
    expect(notes.join()).toContain(reason);
  });
});

describe("URBs", () => {
  test("a reply carries number_of_packets as it was sent: Linux checks it against its own", async () => {
    const { exchange } = await importer();
    for (const numberOfPackets of [0, -1]) {
      const reply = await exchange(submitOf({ numberOfPackets }));
      expect(retSubmit.decode(reply)).toMatchObject({
        command: 3,
        seqnum: 1,
        status: 0,
        actualLength: 4,
        numberOfPackets,
      });
      expect(reply).toHaveLength(52);
      expect(retSubmit.decode(reply)).toMatchObject({ devid: 0, direction: 0, ep: 0 });
    }
  });

  test("an OUT is answered with what the device took, and no payload", async () => {
    const { exchange, model } = await importer();
    model.script(ECHO.SCRIPT_OUT, "ok", 3);
    const out = submitOf({ direction: 0, ep: 4, transferBufferLength: 8 });
    const reply = await exchange(out, new Uint8Array(8));
    expect(reply).toHaveLength(48);
    expect(retSubmit.decode(reply)).toMatchObject({ status: 0, actualLength: 3 });
  });

  test("an isochronous URB is read over and ends with EINVAL; the connection goes on", async () => {
    const { exchange } = await importer();
    const iso = submitOf({ direction: 0, ep: 1, transferBufferLength: 20, numberOfPackets: 3 });
    const reply = await exchange(iso, new Uint8Array(20 + 3 * 16).fill(0xff), submitOf({ seqnum: 2 }));
    expect(retSubmit.decode(reply)).toMatchObject({ seqnum: 1, status: -22, actualLength: 0, numberOfPackets: 0 });
    expect(retSubmit.decode(reply, 48)).toMatchObject({ seqnum: 2, status: 0, actualLength: 4 });
  });

  test("an IN longer than is allowed ends with EMSGSIZE", async () => {
    const { exchange } = await importer();
    const reply = await exchange(submitOf({ transferBufferLength: 0x7fffffff }));
    expect(retSubmit.decode(reply)).toMatchObject({ status: -90, actualLength: 0 });
  });

  test("one URB more than may be in flight ends with ENOMEM; so does one byte more", async () => {
    const { exchange, model } = await importer({ maxUrbs: 2, maxBytesInFlight: 100 });
    const nak = (seqnum: number, bytes: number) => submitOf({ seqnum, ep: 3, transferBufferLength: bytes });
    const tooLong = submitOf({ seqnum: 5, direction: 0, ep: 1, transferBufferLength: 61 });
    let reply = await exchange(nak(1, 40), tooLong, new Uint8Array(61));
    expect(retSubmit.decode(reply)).toMatchObject({ seqnum: 5, status: -12 });
    reply = await exchange(nak(2, 40), nak(3, 1));
    expect(retSubmit.decode(reply)).toMatchObject({ seqnum: 3, status: -12 });
    expect(model.pending).toHaveLength(2);
    reply = await exchange(unlinkOf(10, 1), submitOf({ seqnum: 11 }));
    expect(retUnlink.decode(reply)).toMatchObject({ command: 4, seqnum: 10, status: -104 });
    expect(retSubmit.decode(reply, 48)).toMatchObject({ seqnum: 11, status: 0 });
  });

  test("SET_ADDRESS is answered without the device, SET_FEATURE(PORT_RESET) resets it", async () => {
    const { exchange, model } = await importer();
    const request = (...setup: number[]) =>
      submitOf({ direction: 0, ep: 0, transferBufferLength: 0, setup: Uint8Array.from(setup) });
    const before = model.seen.length;
    expect(retSubmit.decode(await exchange(request(0, 5, 9, 0, 0, 0, 0, 0)))).toMatchObject({ status: 0 });
    const waiting = submitOf({ seqnum: 7, ep: 3 });
    const reply = await exchange(waiting, request(0x23, 3, 4, 0, 1, 0, 0, 0));
    expect(retSubmit.decode(reply)).toMatchObject({ seqnum: 7, status: -104 });
    expect(retSubmit.decode(reply, 48)).toMatchObject({ seqnum: 1, status: 0 });
    expect(model.seen.slice(before)).toEqual(["bulk 83"]);
    expect(model.resets).toBe(2);
  });
});

describe("unlink", () => {
  test("of a URB that waits: RET_UNLINK -ECONNRESET and no RET_SUBMIT", async () => {
    const { exchange, model } = await importer();
    const reply = await exchange(submitOf({ ep: 3 }), unlinkOf(2, 1));
    expect(reply).toHaveLength(48);
    expect(retUnlink.decode(reply)).toMatchObject({ command: 4, seqnum: 2, status: -104 });
    expect(model.pending).toEqual([]);
  });

  test("of a URB that has been answered, or never was: status 0", async () => {
    const { exchange } = await importer();
    const reply = await exchange(submitOf(), unlinkOf(2, 1), unlinkOf(3, 99));
    expect(retSubmit.decode(reply)).toMatchObject({ seqnum: 1, status: 0 });
    expect(retUnlink.decode(reply, 52)).toMatchObject({ seqnum: 2, status: 0 });
    expect(retUnlink.decode(reply, 100)).toMatchObject({ seqnum: 3, status: 0 });
  });

  test("that comes too late for the device: RET_SUBMIT with the data, then RET_UNLINK 0", async () => {
    const { exchange, model } = await importer();
    model.unlink = (urb) => urb.complete("ok", Uint8Array.of(1, 2));
    const reply = await exchange(submitOf({ ep: 3 }), unlinkOf(2, 1));
    expect(retSubmit.decode(reply)).toMatchObject({ seqnum: 1, status: 0, actualLength: 2 });
    expect(retUnlink.decode(reply, 50)).toMatchObject({ seqnum: 2, status: 0 });
  });
});

describe("a client that breaks the protocol is dropped, its URBs are taken back, the device stays", () => {
  test.each([
    ["another device's number", submitOf({ devid: 7 }), "is for device 7"],
    ["an unknown command", submitOf({ command: 3 }), "command 3 is none of a client's"],
    ["a number that is in flight", submitOf({ seqnum: 50, ep: 3 }), "URB 50 is in flight and was submitted again"],
    ["endpoint 16", submitOf({ ep: 16 }), "endpoint 16"],
    ["a direction that is none", submitOf({ direction: 2 }), "direction 2"],
    ["4 GiB to send", submitOf({ direction: 0, transferBufferLength: 0xffffffff }), "carries 4294967295 bytes"],
    ["a million packets", submitOf({ numberOfPackets: 1_000_000 }), "1000000 isochronous packets"],
    ["minus two packets", submitOf({ numberOfPackets: -2 }), "-2 isochronous packets"],
  ])("%s", async (_what, bytes, reason) => {
    const { exchange, model, exports, notes, closed } = await importer();
    await exchange(submitOf({ seqnum: 50, ep: 3 }), submitOf({ seqnum: 51, direction: 0, ep: 3 }), new Uint8Array(4));
    expect(model.pending).toHaveLength(2);
    await exchange(bytes);
    expect(closed()).toBe(true);
    expect(notes.join()).toContain(reason);
    expect(model.pending).toEqual([]);
    expect(exports.find("1-1")).toMatchObject({ importer: undefined });
  });

  test("unlinking one URB twice", async () => {
    const { exchange, model, notes } = await importer();
    model.unlink = () => undefined;
    await exchange(submitOf({ ep: 3 }), unlinkOf(2, 1), unlinkOf(3, 1));
    expect(notes.join()).toContain("URB 1 is unlinked a second time");
  });

  test("half a payload and then nothing holds one buffer, and is dropped with the connection", async () => {
    const { exchange, client: stream, model, clock, ended } = await importer();
    await exchange(submitOf({ direction: 0, ep: 1, transferBufferLength: 1000 }), new Uint8Array(10));
    stream.close();
    await clock.run();
    expect(ended()).toBe(true);
    expect(model.seen).toEqual([]);
  });
});

test("a client that does not read what it asks for is not read any more", async () => {
  const rig = sessionInMemory();
  rig.client.write([importOf("1-1")]);
  await rig.clock.advance(0);
  const message = new Uint8Array(200_000);
  let asked = 0;
  for (; asked < 100; asked++) {
    const before = rig.model.seen.length;
    rig.client.write([submitOf({ seqnum: asked, direction: 0, ep: 1, transferBufferLength: message.length }), message]);
    rig.client.write([submitOf({ seqnum: 1000 + asked, ep: 1, transferBufferLength: message.length })]);
    await rig.clock.advance(0);
    if (rig.model.seen.length === before) break;
  }
  expect(asked).toBeLessThan(20);
  let received = 0;
  rig.client.onData((chunk) => {
    received += chunk.length;
  });
  await rig.clock.run();
  expect(received).toBe(8 + exportedDevice.size + (asked + 1) * (2 * 48 + message.length));
});

test("a model that unplugs itself leaves the list, and its client", async () => {
  const { model, exports, clock, closed, exchange } = await importer();
  await exchange(submitOf({ ep: 3 }));
  model.unplug();
  await clock.run();
  expect(closed()).toBe(true);
  expect(exports.list()).toEqual([]);
  expect(model.pending).toEqual([]);
  exports.plug("1-1", model);
  expect(exports.list()).toHaveLength(1);
});

test.each(["", "1", "a-b", "0-1", "1-0", "1-1/../2", "1-1.1.1.1.1.1.1", "x".repeat(40)])(
  "%j is no bus id to export under",
  (busId) => {
    const { exports } = sessionInMemory();
    expect(() => exports.plug(busId, new EchoModel())).toThrow("is no bus id");
  },
);

test("a bus id is given once, and not more than a bus holds", () => {
  const { exports } = sessionInMemory();
  expect(() => exports.plug("1-1", new EchoModel())).toThrow("1-1 is exported already");
  for (let port = 2; port <= 127; port++) exports.plug(`1-${port}`, new EchoModel());
  expect(() => exports.plug("2-1", new EchoModel())).toThrow("127 devices are exported");
});

test("the offset of the endpoint in a header is the record's", () => {
  expect(viewOf(submitOf({ ep: 9 })).getUint32(AT.ENDPOINT)).toBe(9);
});
