import { describe, expect, test } from "vitest";
import { createVhc, type FaultAction, type TraceEntry } from "../../../src/dev/vhc/vhc.js";
import type { HcTransfer } from "../../../src/dev/usb/usbdivar.js";
import { createVirtualClock } from "../../../src/rumpuser/simulated.js";
import type { DeviceModel, HubBus, HubModel } from "../../../src/vdev/model.js";
import { ECHO, EchoModel } from "../../fakes/echo-model.js";

function makeBus(ports = 1) {
  const clock = createVirtualClock();
  const hc = createVhc({ name: "vhc0", clock, ports });
  const run = (transfer: HcTransfer) =>
    clock.runUntil(
      new Promise<string>((resolve) => {
        hc.submit(transfer, ({ status }) => resolve(status));
      }),
    );
  return {
    clock,
    hc,
    read: (address: number) => run({ address, endpointAddress: ECHO.COUNT_IN, type: "bulk", data: new Uint8Array(4) }),
    setAddress: (from: number, to: number) =>
      run({
        address: from,
        endpointAddress: 0,
        type: "control",
        setup: Uint8Array.of(0, 5, to & 0xff, to >> 8, 0, 0, 0, 0),
        data: new Uint8Array(0),
      }),
    reset: (port: number) => clock.runUntil(hc.ports.reset(port)),
  };
}

/** An echo device with ports: what the bus needs of a hub and nothing else. */
class FakeHub extends EchoModel implements HubModel {
  readonly portCount = 2;
  readonly #devices = new Map<number, DeviceModel>();
  readonly #enabled = new Set<number>();
  #bus: HubBus | undefined;

  attachBus(bus: HubBus): void {
    this.#bus = bus;
  }
  portDevice(port: number): DeviceModel | undefined {
    return this.#devices.get(port);
  }
  portEnabled(port: number): boolean {
    return this.#enabled.has(port);
  }
  plugInto(port: number, device: DeviceModel): void {
    this.#devices.set(port, device);
  }
  resetPort(port: number): void {
    const device = this.#devices.get(port);
    if (device === undefined) return;
    this.#enabled.add(port);
    device.reset();
    this.#bus?.portReset(port, device);
  }
  disablePort(port: number): void {
    const device = this.#devices.get(port);
    if (device === undefined || !this.#enabled.delete(port)) return;
    this.#bus?.portDisabled(port, device);
  }
}

describe("several root ports", () => {
  test("each device has its own address; resetting one leaves the others alone", async () => {
    const { hc, read, setAddress, reset } = makeBus(3);
    hc.plug(1, new EchoModel());
    hc.plug(3, new EchoModel());
    await reset(1);
    expect(await setAddress(0, 1)).toBe("ok");
    await reset(3);
    expect(await setAddress(0, 2)).toBe("ok");
    expect([await read(1), await read(2), await read(0)]).toEqual(["ok", "ok", "disconnected"]);
    await reset(3);
    expect([await read(1), await read(2), await read(0)]).toEqual(["ok", "disconnected", "ok"]);
  });

  test("an address that is taken is refused (§9.4.6)", async () => {
    const { hc, setAddress, reset } = makeBus(2);
    hc.plug(1, new EchoModel());
    hc.plug(2, new EchoModel());
    await reset(1);
    await setAddress(0, 1);
    await reset(2);
    expect(await setAddress(0, 1)).toBe("stalled");
    expect(await setAddress(0, 300)).toBe("stalled");
    expect(await setAddress(0, 2)).toBe("ok");
  });

  test("a port takes one device, and must be there", () => {
    const { hc } = makeBus(2);
    hc.plug(1, new EchoModel());
    expect(() => hc.plug(1, new EchoModel())).toThrow("port 1 of 2 is not free");
    expect(() => hc.plug(3, new EchoModel())).toThrow(RangeError);
    hc.unplug(1);
    hc.unplug(1);
    hc.plug(1, new EchoModel());
  });

  test("plugging and unplugging tell the listener, in a turn of the clock", async () => {
    const { hc, clock } = makeBus();
    const seen: boolean[] = [];
    hc.ports.onChange(() => seen.push(hc.ports.status(1).connected));
    hc.plug(1, new EchoModel());
    expect(seen).toEqual([]);
    await clock.run();
    hc.unplug(1);
    await clock.run();
    expect(seen).toEqual([true, false]);
  });
});

describe("behind a hub", () => {
  const withHub = async () => {
    const bus = makeBus();
    const hub = new FakeHub();
    const devices = [new EchoModel(), new EchoModel()] as const;
    hub.plugInto(1, devices[0]);
    hub.plugInto(2, devices[1]);
    bus.hc.plug(1, hub);
    await bus.reset(1);
    await bus.setAddress(0, 1);
    return { ...bus, hub, devices };
  };

  test("a device answers at 0 from the reset of its port on", async () => {
    const { hub, read, setAddress } = await withHub();
    expect(await read(0)).toBe("disconnected");
    hub.resetPort(1);
    expect(await setAddress(0, 2)).toBe("ok");
    hub.resetPort(2);
    expect(await setAddress(0, 3)).toBe("ok");
    expect([await read(1), await read(2), await read(3)]).toEqual(["ok", "ok", "ok"]);
  });

  test("a port that is disabled ends what is in flight behind it", async () => {
    const { hub, hc, clock, read, setAddress } = await withHub();
    hub.resetPort(1);
    await setAddress(0, 2);
    const waiting = new Promise<string>((resolve) => {
      const data = new Uint8Array(8);
      hc.submit({ address: 2, endpointAddress: ECHO.NAK_IN, type: "bulk", data }, ({ status }) => resolve(status));
    });
    hub.disablePort(1);
    expect(await clock.runUntil(waiting)).toBe("disconnected");
    expect([await read(1), await read(2)]).toEqual(["ok", "disconnected"]);
  });

  test("unplugging the hub takes everything behind it, several levels deep", async () => {
    const { hub, hc, read, setAddress } = await withHub();
    const second = new FakeHub();
    const deep = new EchoModel();
    second.plugInto(1, deep);
    hub.plugInto(2, second);
    hub.resetPort(2);
    await setAddress(0, 2);
    second.resetPort(1);
    await setAddress(0, 3);
    expect(await read(3)).toBe("ok");
    hc.unplug(1);
    expect([await read(1), await read(2), await read(3)]).toEqual(["disconnected", "disconnected", "disconnected"]);
    second.resetPort(1);
    expect(await read(0)).toBe("disconnected");
  });
});

describe("faults and the trace", () => {
  test.each<[FaultAction, string]>([
    ["unplug", "disconnected"],
    ["stalled", "stalled"],
    ["error", "error"],
    ["overflow", "overflow"],
    ["timedOut", "timedOut"],
  ])("%s hits the transfer it was meant for", async (action, expected) => {
    const { hc, read, reset } = makeBus();
    hc.plug(1, new EchoModel());
    await reset(1);
    hc.fault(2, action);
    expect([await read(0), await read(0), await read(0)]).toEqual([
      "ok",
      expected,
      action === "unplug" ? expected : "ok",
    ]);
    expect(hc.transferCount).toBe(3);
  });

  test("a transfer that is never answered ends when it is cancelled", async () => {
    const { hc, clock, reset } = makeBus();
    const model = new EchoModel();
    hc.plug(1, model);
    await reset(1);
    hc.fault(1, "nak");
    let cancel = (): void => undefined;
    const ended = new Promise<string>((resolve) => {
      const data = new Uint8Array(4);
      cancel = hc.submit({ address: 0, endpointAddress: ECHO.COUNT_IN, type: "bulk", data }, (c) => resolve(c.status));
    });
    await clock.advance(60_000);
    cancel();
    expect(await clock.runUntil(ended)).toBe("cancelled");
    expect(model.seen).toEqual([]);
  });

  test("the trace has every transfer with how it ended", async () => {
    const { hc, read, reset } = makeBus();
    const trace: TraceEntry[] = [];
    hc.trace((entry) => trace.push(entry));
    hc.plug(1, new EchoModel());
    await read(9);
    await reset(1);
    await read(0);
    expect(trace.map(({ nth, completion }) => `${nth} ${completion.status} ${completion.actualBytes}`)).toEqual([
      "1 disconnected 0",
      "2 ok 4",
    ]);
  });
});

test("an idle bus has no timer", async () => {
  const { hc, clock, read, reset } = makeBus();
  hc.plug(1, new EchoModel());
  await reset(1);
  await read(0);
  expect(clock.pendingTimers).toBe(0);
});
