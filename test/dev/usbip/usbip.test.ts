/** The client against servers that are wrong, slow or gone. The server's bytes are written by hand here. */
import { describe, expect, test } from "vitest";
import { concat, viewOf } from "../../../src/bytes.js";
import { createUsbip, UsbipError } from "../../../src/dev/usbip/usbip.js";
import {
  AT,
  cmdSubmit,
  cmdUnlink,
  exportedDevice,
  opHeader,
  retSubmit,
  retUnlink,
  zeroTerminated,
} from "../../../src/dev/usbip/wire.js";
import type { HcCompletion, HcTransfer, HostController } from "../../../src/dev/usb/usbdivar.js";
import { createMemoryStreamPair } from "../../../src/rumpuser/memory-stream.js";
import type { ByteStream, LogEntry } from "../../../src/rumpuser/rumpuser.js";
import { createVirtualClock } from "../../../src/rumpuser/simulated.js";
import { usbipInMemory } from "../../fakes/usbip-rig.js";

const basic = { devid: 0, direction: 0, ep: 0 };

const device = (changes: Partial<Parameters<typeof exportedDevice.encode>[0]> = {}) =>
  exportedDevice.encode({
    path: zeroTerminated("/sys/x", 256),
    busid: zeroTerminated("1-1", 32),
    busnum: 1,
    devnum: 2,
    speed: 3,
    idVendor: 1,
    idProduct: 2,
    bcdDevice: 3,
    bDeviceClass: 0,
    bDeviceSubClass: 0,
    bDeviceProtocol: 0,
    bConfigurationValue: 1,
    bNumConfigurations: 1,
    bNumInterfaces: 1,
    ...changes,
  });

const importReply = (status: number, body = device(), changes: { version?: number; code?: number } = {}) =>
  concat([opHeader.encode({ version: 0x0111, code: 3, status, ...changes }), status === 0 ? body : new Uint8Array(0)]);

const submitReply = (seqnum: number, status: number, actualLength: number, payload = new Uint8Array(0)) =>
  concat([
    retSubmit.encode({
      ...basic,
      command: 3,
      seqnum,
      status,
      actualLength,
      startFrame: 0,
      numberOfPackets: 0,
      errorCount: 0,
      padding: new Uint8Array(8),
    }),
    payload,
  ]);

const unlinkReply = (seqnum: number, status: number) =>
  retUnlink.encode({ ...basic, command: 4, seqnum, status, padding: new Uint8Array(24) });

/** A client whose server is the test: it sees 48-byte headers (payloads of OUT are not expected) and writes bytes. */
async function handMade() {
  const clock = createVirtualClock();
  const [client, server] = createMemoryStreamPair({ clock });
  const log: LogEntry[] = [];
  let received = new Uint8Array(0);
  let closed = false;
  server.onData((chunk) => {
    received = concat([received, chunk]) as Uint8Array<ArrayBuffer>;
  });
  server.onClose(() => {
    closed = true;
  });
  const creating = createUsbip(client, {
    name: "usbip0",
    clock,
    busId: "1-1",
    log: { write: (e) => void log.push(e) },
  });
  server.write([importReply(0)]);
  const hc = await clock.runUntil(creating);
  received = new Uint8Array(0);
  await clock.runUntil(hc.ports.reset(1));
  return {
    clock,
    hc,
    server,
    log,
    closed: () => closed,
    /** Headers since the last call. */
    headers: async (): Promise<Uint8Array[]> => {
      await clock.advance(0);
      const list = [];
      for (let at = 0; at + 48 <= received.length; at += 48) list.push(received.slice(at, at + 48));
      received = new Uint8Array(0);
      return list;
    },
  };
}

const inTransfer = (bytes: number): HcTransfer => ({
  address: 0,
  endpointAddress: 0x81,
  type: "bulk",
  data: new Uint8Array(bytes),
});

function started(hc: HostController, transfer: HcTransfer) {
  let cancel = (): void => undefined;
  const completions: HcCompletion[] = [];
  const ended = new Promise<HcCompletion>((resolve) => {
    cancel = hc.submit(transfer, (completion) => {
      completions.push(completion);
      resolve(completion);
    });
  });
  return { ended, completions, cancel: () => cancel() };
}

const seqnumOf = (header: Uint8Array | undefined) => viewOf(header ?? new Uint8Array(48)).getUint32(AT.SEQNUM);

describe("import", () => {
  const attempt = async (serve: (server: ByteStream) => void, busId = "1-1"): Promise<unknown> => {
    const clock = createVirtualClock();
    const [client, server] = createMemoryStreamPair({ clock });
    let clientGone = false;
    server.onClose(() => {
      clientGone = true;
    });
    server.onData(() => undefined);
    serve(server);
    const failure = await clock.runUntil(
      createUsbip(client, { name: "usbip0", clock, busId }).catch((e: unknown) => e),
    );
    await clock.run();
    expect(clientGone).toBe(true);
    expect(clock.pendingTimers).toBe(0);
    return failure;
  };

  test.each([
    ["no such device", importReply(4), "USBIP_NO_DEVICE"],
    ["in use", importReply(2), "USBIP_BUSY"],
    ["refused as the document says", importReply(1), "USBIP_REFUSED"],
    ["refused with a status nobody knows", importReply(77), "USBIP_REFUSED"],
    ["another version", importReply(0, device(), { version: 0x0106 }), "USBIP_VERSION"],
    ["an answer to something else", importReply(0, device(), { code: 5 }), "USBIP_PROTOCOL"],
    ["a web server", new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n"), "USBIP_PROTOCOL"],
    ["another device", importReply(0, device({ busid: zeroTerminated("2-1", 32) })), "USBIP_PROTOCOL"],
    ["a speed that is none", importReply(0, device({ speed: 4 })), "USBIP_PROTOCOL"],
    ["more than the reply", concat([importReply(0), Uint8Array.of(0)]), "USBIP_PROTOCOL"],
  ])("%s is an error that says so", async (_what, bytes, code) => {
    const failure = await attempt((server) => server.write([bytes]));
    expect(failure).toBeInstanceOf(UsbipError);
    expect(failure).toMatchObject({ code });
    expect(String(failure)).toContain("importing 1-1");
  });

  test("a server that hangs up", async () => {
    expect(await attempt((server) => server.close())).toMatchObject({ code: "USBIP_CLOSED" });
  });

  test("half a reply and then nothing ends in time", async () => {
    expect(await attempt((server) => server.write([importReply(0).subarray(0, 100)]))).toMatchObject({
      code: "USBIP_TIMED_OUT",
    });
  });

  test("a bus id that cannot be sent is refused here", async () => {
    expect(String(await attempt(() => undefined, "9".repeat(32)))).toContain("does not fit 32 bytes");
  });
});

describe("what is sent", () => {
  test("a bulk OUT is a header with the payload behind it, a control IN has its setup in the header", async () => {
    const { hc, headers } = await handMade();
    const setup = Uint8Array.of(0x80, 6, 0, 1, 0, 0, 18, 0);
    started(hc, { address: 0, endpointAddress: 0, type: "control", setup, data: new Uint8Array(18) });
    started(hc, { address: 0, endpointAddress: 2, type: "bulk", data: new Uint8Array(48).fill(9), sendZlp: true });
    started(hc, { address: 0, endpointAddress: 0x83, type: "interrupt", data: new Uint8Array(8) });
    const [control, bulk, payload, interrupt] = await headers();
    const common = { command: 1, devid: 0x00010002, startFrame: 0, numberOfPackets: 0 };
    expect(cmdSubmit.decode(control ?? new Uint8Array(0))).toMatchObject({
      ...common,
      direction: 1,
      ep: 0,
      transferFlags: 0x200,
      transferBufferLength: 18,
      setup,
    });
    expect(cmdSubmit.decode(bulk ?? new Uint8Array(0))).toMatchObject({
      ...common,
      direction: 0,
      ep: 2,
      transferFlags: 0x40,
      transferBufferLength: 48,
    });
    expect(payload).toEqual(new Uint8Array(48).fill(9));
    expect(cmdSubmit.decode(interrupt ?? new Uint8Array(0))).toMatchObject({
      ...common,
      direction: 1,
      ep: 3,
      interval: 8,
    });
  });

  test("SET_ADDRESS and the first reset stay here; a later reset is SET_FEATURE(PORT_RESET)", async () => {
    const { hc, headers, server, clock } = await handMade();
    const setup = Uint8Array.of(0, 5, 7, 0, 0, 0, 0, 0);
    const addressed = started(hc, { address: 0, endpointAddress: 0, type: "control", setup, data: new Uint8Array(0) });
    expect(await clock.runUntil(addressed.ended)).toEqual({ status: "ok", actualBytes: 0 });
    expect(await headers()).toEqual([]);
    const resetting = hc.ports.reset(1);
    const [reset] = await headers();
    expect(cmdSubmit.decode(reset ?? new Uint8Array(0)).setup).toEqual(Uint8Array.of(0x23, 3, 4, 0, 1, 0, 0, 0));
    // Linux's stub passes the request on after the reset, and the device stalls it.
    server.write([submitReply(seqnumOf(reset), -32, 0)]);
    await clock.runUntil(resetting);
    expect(hc.ports.status(1)).toMatchObject({ enabled: true, resetChanged: true });
  });

  test("a reset that nobody answers ends the connection instead of hanging", async () => {
    const { hc, clock } = await handMade();
    await clock.runUntil(hc.ports.reset(1));
    expect(hc.ports.status(1)).toMatchObject({ connected: false, enabled: false });
    expect(clock.nowMs()).toBeLessThanOrEqual(10_000);
  });
});

describe("unlink", () => {
  test("-ECONNRESET means cancelled", async () => {
    const { hc, headers, server, clock } = await handMade();
    const urb = started(hc, inTransfer(8));
    urb.cancel();
    const [submit, unlink] = await headers();
    const header = cmdUnlink.decode(unlink ?? new Uint8Array(0));
    expect(header).toMatchObject({ command: 2, unlinkSeqnum: seqnumOf(submit), ep: 0 });
    server.write([unlinkReply(header.seqnum, -104)]);
    expect(await clock.runUntil(urb.ended)).toEqual({ status: "cancelled", actualBytes: 0 });
  });

  test.each(["before", "behind"])("a RET_SUBMIT %s the RET_UNLINK counts", async (where) => {
    const { hc, headers, server, clock } = await handMade();
    const urb = started(hc, inTransfer(8));
    urb.cancel();
    const [submit, unlink] = await headers();
    const replies = [submitReply(seqnumOf(submit), 0, 2, Uint8Array.of(5, 6)), unlinkReply(seqnumOf(unlink), 0)];
    server.write(where === "before" ? replies : replies.toReversed());
    expect(await clock.runUntil(urb.ended)).toEqual({ status: "ok", actualBytes: 2 });
    await clock.run();
    expect(urb.completions).toHaveLength(1);
    expect(hc.ports.status(1).connected).toBe(true);
  });

  test("a RET_UNLINK of 0 with no RET_SUBMIT at all ends as cancelled after a while", async () => {
    const { hc, headers, server, clock } = await handMade();
    const urb = started(hc, inTransfer(8));
    urb.cancel();
    const [, unlink] = await headers();
    server.write([unlinkReply(seqnumOf(unlink), 0)]);
    expect(await clock.runUntil(urb.ended)).toEqual({ status: "cancelled", actualBytes: 0 });
  });

  test("one that is not answered ends the connection, with everything in flight", async () => {
    const { hc, clock, log, closed } = await handMade();
    const other = started(hc, inTransfer(8));
    const urb = started(hc, inTransfer(8));
    urb.cancel();
    expect(await clock.runUntil(urb.ended)).toMatchObject({ status: "disconnected" });
    expect(await clock.runUntil(other.ended)).toMatchObject({ status: "disconnected" });
    await clock.run();
    expect(closed()).toBe(true);
    expect(log.map(({ message }) => message).join()).toContain("no answer to the unlink of URB 2 within 5000 ms");
  });
});

describe("a server that breaks the protocol loses the connection, with the reason in the log", () => {
  test.each<[string, (seqnum: number) => Uint8Array, string]>([
    ["an answer nobody waits for", (n) => submitReply(n + 1, 0, 0), "URB 2, which is not in flight"],
    ["one byte more than asked for", (n) => submitReply(n, 0, 9), "with 9 bytes; 8 were asked for"],
    ["four gigabytes", (n) => submitReply(n, 0, 0xffffffff), "with 4294967295 bytes; 8 were asked for"],
    ["the answer twice", (n) => concat([submitReply(n, 0, 0), submitReply(n, 0, 0)]), "URB 1, which is not in flight"],
    ["an answer to an unlink that was not sent", () => unlinkReply(5, 0), "unlink 5, which nobody waits for"],
    ["a command of a client", () => new Uint8Array(48).fill(1), "command 16843009, which is none of a server's"],
  ])("%s", async (_what, bytes, reason) => {
    const { hc, headers, server, clock, log, closed } = await handMade();
    const urb = started(hc, inTransfer(8));
    const [submit] = await headers();
    server.write([bytes(seqnumOf(submit))]);
    await clock.runUntil(urb.ended);
    await clock.run();
    expect(closed()).toBe(true);
    expect(hc.ports.status(1)).toMatchObject({ connected: false, connectChanged: true });
    expect(log.map(({ message }) => message).join()).toContain(reason);
    expect(urb.completions).toHaveLength(1);
    expect(await clock.runUntil(started(hc, inTransfer(8)).ended)).toMatchObject({ status: "disconnected" });
  });

  test("a connection lost in the middle of a payload ends that transfer once", async () => {
    const { hc, headers, server, clock } = await handMade();
    const urb = started(hc, inTransfer(8));
    const [submit] = await headers();
    server.write([submitReply(seqnumOf(submit), 0, 8, Uint8Array.of(1, 2, 3))]);
    server.close();
    expect(await clock.runUntil(urb.ended)).toEqual({ status: "disconnected", actualBytes: 0 });
    await clock.run();
    expect(urb.completions).toHaveLength(1);
  });
});

test("an idle controller has no timer", async () => {
  const { hc, clock } = await usbipInMemory();
  await clock.runUntil(hc.ports.reset(1));
  await clock.advance(1000);
  expect(clock.pendingTimers).toBe(0);
});

test("a transfer longer than 16 MiB and an isochronous one are refused here", async () => {
  const { hc, headers, clock } = await handMade();
  const long = started(hc, inTransfer((16 << 20) + 1));
  const iso = started(hc, { ...inTransfer(8), type: "isochronous", isoPacketBytes: [8] });
  expect(await clock.runUntil(long.ended)).toMatchObject({ status: "error" });
  expect(await clock.runUntil(iso.ended)).toMatchObject({ status: "error" });
  expect(await headers()).toEqual([]);
});

test("reads that are answered in one go are told in one, and those that follow leave in one", async () => {
  const { clock, hc, server, headers } = await handMade();
  const told: number[][] = [];
  const request = { address: 0, endpointAddress: 0x81, type: "bulk", slotBytes: 8, repeatBytes: 0 } as const;
  const reads = hc.openReads?.({ ...request, memory: new Uint8Array(32) }, (ends) => {
    told.push(ends.flatMap(({ data }) => [...data]));
    reads?.start(ends.length, 8);
  });
  reads?.start(4, 8);
  const first = await headers();
  expect(first.length).toBe(4);
  server.write([concat(first.map((header, n) => submitReply(seqnumOf(header), 0, 1, Uint8Array.of(n))))]);
  await clock.advance(1);
  expect(told).toEqual([[0, 1, 2, 3]]);
  expect((await headers()).length).toBe(4);
  await clock.runUntil(hc.close());
});
