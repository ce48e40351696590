import { describe, expect, test } from "vitest";
import { createUgenhc } from "../../../src/dev/ugenhc/ugenhc.js";
import { setupPacket } from "../../../src/dev/usb/usb.js";
import type { HcCompletion, HcTransfer, HostController } from "../../../src/dev/usb/usbdivar.js";
import { PORT_RESULTS, type PortResult } from "../../../src/rumpuser/rumpuser.js";
import { createVirtualClock, type VirtualClock } from "../../../src/rumpuser/simulated.js";
import { ScriptedPort } from "./scripted-port.js";

const ADDRESS = 7;
const EMPTY = new Uint8Array(0);

interface Rig {
  readonly hc: HostController;
  readonly port: ScriptedPort;
  readonly clock: VirtualClock;
  /** Submits, and gives the completions that came so far. */
  submit(transfer: HcTransfer): HcCompletion[];
  start(transfer: HcTransfer): { ended: HcCompletion[]; cancel: () => void };
  /** Lets everything happen that needs nobody. */
  settle(): Promise<void>;
}

async function makeRig(): Promise<Rig> {
  const clock = createVirtualClock();
  const port = new ScriptedPort();
  const hc = createUgenhc(port, { name: "ugenhc0", clock });
  const rig: Rig = {
    hc,
    port,
    clock,
    submit: (transfer) => rig.start(transfer).ended,
    start(transfer) {
      const ended: HcCompletion[] = [];
      const cancel = hc.submit(transfer, (completion) => ended.push(completion));
      expect(ended, "done was called inside submit").toEqual([]);
      return { ended, cancel };
    },
    settle: () => clock.advance(1),
  };
  await hc.ports.reset(1);
  const addressed = rig.submit(request(0x00, 5, ADDRESS, 0, EMPTY, 0));
  await rig.settle();
  expect(addressed).toEqual([{ status: "ok", actualBytes: 0 }]);
  return rig;
}

function request(
  bmRequestType: number,
  bRequest: number,
  wValue: number,
  wIndex: number,
  data = EMPTY,
  address = ADDRESS,
): HcTransfer {
  const setup = setupPacket.encode({ bmRequestType, bRequest, wValue, wIndex, wLength: data.length });
  return { address, endpointAddress: 0, type: "control", setup, data };
}

const bulkIn = (bytes = 8): HcTransfer => ({
  address: ADDRESS,
  endpointAddress: 0x81,
  type: "bulk",
  data: new Uint8Array(bytes),
});

describe("requests that the host OS must see", () => {
  const REQUESTS: readonly [what: string, transfer: HcTransfer, calls: readonly string[], passes: boolean][] = [
    ["SET_CONFIGURATION of another", request(0, 9, 2, 0), ["configuration", "setConfiguration 2"], false],
    ["SET_CONFIGURATION of the active one is ok as it is", request(0, 9, 1, 0), ["configuration"], false],
    ["SET_INTERFACE", request(1, 11, 3, 2), ["setInterface 2 3"], false],
    ["CLEAR_FEATURE(ENDPOINT_HALT)", request(2, 1, 0, 0x81), ["clearHalt 129"], false],
    ["CLEAR_FEATURE(ENDPOINT_HALT) of the default pipe", request(2, 1, 0, 0x80), [], true],
    ["CLEAR_FEATURE of another endpoint feature", request(2, 1, 9, 0x81), [], true],
    ["CLEAR_FEATURE(DEVICE_REMOTE_WAKEUP)", request(0, 1, 1, 0), [], true],
    ["SET_FEATURE(ENDPOINT_HALT)", request(2, 3, 0, 0x81), [], true],
    ["a class request with the number of SET_ADDRESS", request(0x21, 5, 9, 0), [], true],
    ["a vendor request with the number of SET_CONFIGURATION", request(0x40, 9, 2, 0), [], true],
    ["GET_DESCRIPTOR", request(0x80, 6, 0x100, 0, new Uint8Array(18)), [], true],
  ];
  test.each(REQUESTS)("%s", async (_what, transfer, calls, passes) => {
    const rig = await makeRig();
    rig.port.immediate = true;
    const completions = rig.submit(transfer);
    const sent = rig.port.held.map((held) => held.transfer.setup);
    await rig.settle();
    expect(completions).toEqual([{ status: "ok", actualBytes: transfer.data.length }]);
    expect(rig.port.calls).toEqual(calls);
    expect(sent).toEqual(passes ? [transfer.setup] : []);
  });

  const REFUSED: readonly [string, HcTransfer][] = [
    ["SET_ADDRESS beyond 127 (§9.4.6)", request(0, 5, 128, 0)],
    ["SET_ADDRESS to an interface (Table 9-3)", request(1, 5, 9, 0)],
    ["SET_ADDRESS with data", request(0, 5, 9, 0, new Uint8Array(4))],
    ["SET_ADDRESS with the direction bit and data", request(0x80, 5, 9, 0, new Uint8Array(4))],
    ["SET_CONFIGURATION to an endpoint", request(2, 9, 1, 0)],
    ["SET_CONFIGURATION beyond a byte", request(0, 9, 256, 0)],
    ["SET_INTERFACE of an interface beyond a byte", request(1, 11, 0, 256)],
    ["SET_INTERFACE of a setting beyond a byte", request(1, 11, 256, 0)],
    ["CLEAR_FEATURE(ENDPOINT_HALT) with data", request(2, 1, 0, 0x81, new Uint8Array(1))],
  ];
  test.each(REFUSED)("%s stalls and reaches nobody", async (_what, transfer) => {
    const rig = await makeRig();
    const completions = rig.submit(transfer);
    await rig.settle();
    expect(completions).toEqual([{ status: "stalled", actualBytes: 0 }]);
    expect(rig.port.calls).toEqual([]);
    expect(rig.port.held).toEqual([]);
  });

  test("SET_ADDRESS with the direction bit and no data is SET_ADDRESS (§9.3.1)", async () => {
    const rig = await makeRig();
    rig.port.immediate = true;
    rig.submit(request(0x80, 5, 9, 0));
    await rig.settle();
    expect(rig.port.held).toEqual([]);
    const old = rig.submit(bulkIn());
    const there = rig.submit({ ...bulkIn(), address: 9 });
    await rig.settle();
    expect([old, there]).toEqual([[{ status: "disconnected", actualBytes: 0 }], [{ status: "ok", actualBytes: 8 }]]);
  });

  test.each(PORT_RESULTS)("a call that ends as %s ends the request, and the pipe goes on", async (result) => {
    const rig = await makeRig();
    rig.port.answers["setInterface"] = result;
    const first = rig.submit(request(1, 11, 0, 0));
    const second = rig.submit(request(2, 1, 0, 0x81));
    await rig.settle();
    const expected: Partial<Record<PortResult, string>> = {
      ok: "ok",
      disconnected: "disconnected",
      timedOut: "timedOut",
      overflow: "overflow",
      stalled: "stalled",
      notFound: "stalled",
      invalid: "stalled",
    };
    expect(first).toEqual([{ status: expected[result] ?? "error", actualBytes: 0 }]);
    expect(second).toEqual([{ status: "ok", actualBytes: 0 }]);
  });

  test("a call that rejects ends as an error", async () => {
    const rig = await makeRig();
    rig.port.answers["configuration"] = new Error("the device does not say");
    const completions = rig.submit(request(0, 9, 1, 0));
    await rig.settle();
    expect(completions).toEqual([{ status: "error", actualBytes: 0 }]);
  });
});

/** bmRequestType of standard requests: both directions, 32 recipients (Table 9-2). */
const STANDARD_TYPES = 64;
/** SET_ADDRESS, SET_CONFIGURATION, SET_INTERFACE; CLEAR_FEATURE passes, because wIndex 0 is the default pipe. */
const TRANSLATED_REQUESTS = 3;

test("all 256 x 256 bmRequestType and bRequest: one completion each, nothing throws, SET_ADDRESS never passes", async () => {
  const rig = await makeRig();
  rig.port.immediate = true;
  const counts = new Uint32Array(65536);
  for (let type = 0; type < 256; type++) {
    for (let code = 0; code < 256; code++) {
      // wValue is the address it has, so that the table goes on when one of these moves it there.
      const transfer = request(type, code, code === 1 ? 0 : ADDRESS, 0);
      const at = type * 256 + code;
      rig.hc.submit(transfer, () => counts.set([(counts[at] ?? 0) + 1], at));
    }
    await rig.settle();
  }
  expect(rig.port.sent).toHaveLength(65536 - STANDARD_TYPES * TRANSLATED_REQUESTS);
  for (const setup of rig.port.sent) if (((setup[0] ?? 0) & 0x60) === 0) expect([5, 9, 11]).not.toContain(setup[1]);
  expect(counts.every((count) => count === 1)).toBe(true);
});

describe("the default pipe", () => {
  test("a request does not overtake another", async () => {
    const rig = await makeRig();
    rig.port.hold = true;
    const order: string[] = [];
    rig.hc.submit(request(1, 11, 1, 0), () => order.push("SET_INTERFACE"));
    rig.hc.submit(request(0x80, 6, 0x100, 0, new Uint8Array(18)), () => order.push("GET_DESCRIPTOR"));
    rig.hc.submit(request(2, 1, 0, 0x81), () => order.push("CLEAR_FEATURE"));
    await rig.settle();
    expect(rig.port.held).toEqual([]);
    rig.port.immediate = true;
    rig.port.release();
    await rig.settle();
    expect(order).toEqual(["SET_INTERFACE", "GET_DESCRIPTOR", "CLEAR_FEATURE"]);
  });

  test("one that waits is cancelled at once, one at the port by the port", async () => {
    const rig = await makeRig();
    const running = rig.start(request(0x80, 6, 0x100, 0, new Uint8Array(18)));
    const waiting = rig.start(request(0x80, 6, 0x200, 0, new Uint8Array(9)));
    waiting.cancel();
    running.cancel();
    await rig.settle();
    expect(waiting.ended).toEqual([{ status: "cancelled", actualBytes: 0 }]);
    expect(running.ended).toEqual([]);
    const [held] = rig.port.held;
    expect(held?.cancelled).toBe(true);
    held?.end({ status: "cancelled", actualBytes: 0 });
    running.cancel();
    expect(running.ended).toEqual([{ status: "cancelled", actualBytes: 0 }]);
  });

  const ODD: readonly [string, HcTransfer][] = [
    ["no setup packet", { address: ADDRESS, endpointAddress: 0, type: "control", data: EMPTY }],
    ["a setup packet of 7 bytes", { ...request(0x80, 6, 0, 0), setup: new Uint8Array(7) }],
    ["less memory than wLength", { ...request(0x80, 6, 0, 0, new Uint8Array(18)), data: new Uint8Array(17) }],
    ["a control transfer on endpoint 1", { ...request(0x80, 6, 0, 0), endpointAddress: 1 }],
    ["a bulk transfer on endpoint 0", { ...bulkIn(), endpointAddress: 0x80 }],
    ["reserved endpoint bits", { ...bulkIn(), endpointAddress: 0xf1 }],
  ];
  test.each(ODD)("%s is an error", async (_what, transfer) => {
    const rig = await makeRig();
    const completions = rig.submit(transfer);
    await rig.settle();
    expect(completions).toEqual([{ status: "error", actualBytes: 0 }]);
    expect(rig.port.held).toEqual([]);
  });
});

describe("the root port", () => {
  test("the first reset is not sent, later ones are, and move the device to address 0", async () => {
    const rig = await makeRig();
    expect(rig.port.calls).toEqual([]);
    await rig.hc.ports.reset(1);
    expect(rig.port.calls).toEqual(["reset"]);
    rig.port.immediate = true;
    const old = rig.submit(bulkIn());
    const fresh = rig.submit({ ...bulkIn(), address: 0 });
    await rig.settle();
    expect([old, fresh]).toEqual([[{ status: "disconnected", actualBytes: 0 }], [{ status: "ok", actualBytes: 8 }]]);
  });

  test.each(["io", "timedOut", "other"] as const)(
    "a reset that ends as %s leaves the port disabled",
    async (result) => {
      const rig = await makeRig();
      rig.port.answers["reset"] = result;
      await rig.hc.ports.reset(1);
      expect(rig.hc.ports.status(1)).toMatchObject({ connected: true, enabled: false, resetChanged: true });
      rig.port.answers["reset"] = "ok";
      await rig.hc.ports.reset(1);
      expect(rig.hc.ports.status(1)).toMatchObject({ enabled: true });
    },
  );

  test.each(["notFound", "disconnected"] as const)("a reset that ends as %s: the device has gone", async (result) => {
    const rig = await makeRig();
    rig.hc.ports.acknowledge(1, "connect");
    rig.port.answers["reset"] = result;
    await rig.hc.ports.reset(1);
    expect(rig.hc.ports.status(1)).toMatchObject({ connected: false, enabled: false, connectChanged: true });
  });

  test("a reset that rejects does not", async () => {
    const rig = await makeRig();
    rig.port.answers["reset"] = new Error("no");
    await rig.hc.ports.reset(1);
    expect(rig.hc.ports.status(1).enabled).toBe(false);
  });

  test("a listener hears of the device that was there before it", async () => {
    const rig = await makeRig();
    let changes = 0;
    rig.hc.ports.onChange(() => changes++);
    expect(changes).toBe(0);
    await rig.settle();
    expect(changes).toBe(1);
  });

  test("the speed is the port's", async () => {
    expect((await makeRig()).hc.ports.status(1).speed).toBe("super");
  });
});

describe("the device goes", () => {
  test("everything in flight ends once as disconnected, also what waits and what the OS is doing", async () => {
    const rig = await makeRig();
    rig.port.hold = true;
    const transfers = [request(1, 11, 1, 0), request(0x80, 6, 0x100, 0, new Uint8Array(18)), bulkIn(), bulkIn(16)];
    const completions = transfers.map((transfer) => rig.submit(transfer));
    let changes = 0;
    rig.hc.ports.onChange(() => changes++);
    await rig.settle();
    changes = 0;
    rig.port.disconnect();
    rig.port.disconnect();
    for (const held of Array.from(rig.port.held)) held.end({ status: "disconnected", actualBytes: 0 });
    rig.port.release();
    await rig.settle();
    for (const ended of completions) expect(ended).toEqual([{ status: "disconnected", actualBytes: 0 }]);
    expect(changes).toBe(1);
    expect(rig.port.held).toEqual([]);
  });

  test("a driver that submits from its completion is not served for ever", async () => {
    const rig = await makeRig();
    let ended = 0;
    const again = (): void => {
      rig.hc.submit(bulkIn(), () => {
        if (++ended < 5) again();
      });
    };
    again();
    rig.port.disconnect();
    expect(ended).toBe(1);
    await rig.settle();
    expect(ended).toBe(5);
  });

  test("interfaces: a claim says why it failed, a release of nothing is done", async () => {
    const rig = await makeRig();
    await rig.hc.claimInterface(ADDRESS, 0);
    rig.port.answers["claimInterface"] = "busy";
    await expect(rig.hc.claimInterface(ADDRESS, 0)).rejects.toMatchObject({
      code: "USB_IO",
      message: "ugenhc0: claiming interface 0: busy (a kernel driver or another process has it)",
    });
    rig.port.answers["releaseInterface"] = "notFound";
    await rig.hc.releaseInterface(ADDRESS, 0);
    rig.port.answers["releaseInterface"] = "io";
    await expect(rig.hc.releaseInterface(ADDRESS, 0)).rejects.toMatchObject({ code: "USB_IO" });
    rig.port.disconnect();
    await expect(rig.hc.claimInterface(ADDRESS, 0)).rejects.toMatchObject({ code: "USB_DISCONNECTED" });
  });
});

test("isochronous packets and the zero-length packet reach the port", async () => {
  const rig = await makeRig();
  const data = new Uint8Array(24);
  rig.submit({ address: ADDRESS, endpointAddress: 0x02, type: "isochronous", data, isoPacketBytes: [8, 16] });
  rig.submit({ address: ADDRESS, endpointAddress: 0x02, type: "bulk", data, sendZlp: true });
  expect(rig.port.held.map(({ transfer }) => transfer)).toEqual([
    { type: "isochronous", endpointAddress: 2, data, isoPacketBytes: [8, 16] },
    { type: "bulk", endpointAddress: 2, data, sendZlp: true },
  ]);
});
