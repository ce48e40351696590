import { describe, expect, test } from "vitest";
import { UsbFunction } from "../../src/vdev/function.js";
import { Hub } from "../../src/vdev/hub-model.js";
import { type DeviceModel, isHubModel } from "../../src/vdev/model.js";
import { done, ManualClock, TestBus } from "./bus.js";

const PORT_ENABLE = 1;
const PORT_SUSPEND = 2;
const PORT_RESET = 4;
const PORT_POWER = 8;
const C_PORT_CONNECTION = 16;
const C_PORT_SUSPEND = 18;
const C_PORT_RESET = 20;

function thing(speed: DeviceModel["speed"] = "high"): UsbFunction {
  return new UsbFunction({ speed, vendor: 1, product: 2, revision: 3, interfaces: [] });
}

function rig(options: { portCount?: number; speed?: "full" | "high" } = {}) {
  const clock = new ManualClock();
  const hub = new Hub({ clock, ...options });
  const told: [string, number, DeviceModel][] = [];
  hub.attachBus({
    portReset: (port, device) => told.push(["reset", port, device]),
    portDisabled: (port, device) => told.push(["disabled", port, device]),
  });
  const bus = new TestBus(hub).configure();
  const feature = (request: "set" | "clear", selector: number, port: number): string =>
    done(bus.control(0x23, request === "set" ? 3 : 1, selector, port)).status;
  const status = (port: number): [number, number] => {
    const view = new DataView(done(bus.control(0xa3, 0, 0, port, 4)).data.buffer);
    return [view.getUint16(0, true), view.getUint16(2, true)];
  };
  const enable = (port: number): void => {
    feature("set", PORT_POWER, port);
    feature("set", PORT_RESET, port);
    clock.advance(10);
  };
  return { hub, clock, told, bus, feature, status, enable };
}

describe("a hub (USB 2.0 ch. 11)", () => {
  test("descriptors", () => {
    const { hub, bus } = rig({ portCount: 8 });
    expect([...hub.deviceDescriptor.subarray(4, 7)]).toEqual([9, 0, 1]);
    expect([...done(bus.control(0xa0, 6, 0x2900, 0, 64)).data]).toEqual([11, 0x29, 8, 9, 0, 1, 0, 0, 0, 255, 255]);
    expect([...hub.configurationDescriptor.subarray(18)]).toEqual([7, 5, 0x81, 3, 2, 0, 9]);
    expect([...rig({ speed: "full" }).hub.deviceDescriptor.subarray(4, 7)]).toEqual([9, 0, 0]);
    expect([isHubModel(hub), isHubModel(thing())]).toEqual([true, false]);
    for (const portCount of [0, 16, 1.5])
      expect(() => new Hub({ clock: new ManualClock(), portCount })).toThrow("1 to 15");
  });

  test("plug in, power, reset: the bus hears of the device at the default address", () => {
    const { hub, clock, told, feature, status } = rig();
    const device = thing();
    hub.plugPort(2, device);
    expect(status(2)).toEqual([0, 0]);
    feature("set", PORT_POWER, 2);
    expect(status(2)).toEqual([0x501, 1]);
    feature("clear", C_PORT_CONNECTION, 2);
    feature("set", PORT_RESET, 2);
    expect([status(2), hub.portEnabled(2)]).toEqual([[0x511, 0], false]);
    clock.advance(9);
    expect(told).toEqual([]);
    clock.advance(1);
    expect([status(2), hub.portEnabled(2), device.counters.busResets]).toEqual([[0x503, 0x10], true, 1]);
    expect(told).toEqual([["reset", 2, device]]);
    feature("clear", C_PORT_RESET, 2);
    expect([status(2), hub.portDevice(2)]).toEqual([[0x503, 0], device]);
  });

  test.each([
    ["low", 0x301],
    ["full", 0x101],
    ["high", 0x501],
  ] as const)("a %s-speed device shows its speed (Table 11-21)", (speed, expected) => {
    const { hub, feature, status } = rig();
    hub.plugPort(1, thing(speed));
    feature("set", PORT_POWER, 1);
    expect(status(1)[0]).toBe(expected);
  });

  test("whatever ends the traffic of a port is told once", () => {
    const ends: Record<string, (of: ReturnType<typeof rig>, device: UsbFunction) => void> = {
      unplugged: ({ hub }) => void hub.unplugPort(1),
      "unplugs itself": (_of, device) => device.unplug(),
      disabled: ({ feature }) => void feature("clear", PORT_ENABLE, 1),
      "power off": ({ feature }) => void feature("clear", PORT_POWER, 1),
      "reset again": ({ feature }) => void feature("set", PORT_RESET, 1),
      "hub reset": ({ hub }) => hub.reset(),
      "hub configured anew": ({ bus }) => void bus.configure(),
    };
    for (const [name, end] of Object.entries(ends)) {
      const one = rig();
      const device = thing();
      one.hub.plugPort(1, device);
      one.enable(1);
      one.told.length = 0;
      end(one, device);
      end(one, device);
      expect([name, one.told.filter(([kind]) => kind === "disabled"), one.hub.portEnabled(1)]).toEqual([
        name,
        [["disabled", 1, device]],
        false,
      ]);
    }
  });

  test("suspend and resume (§11.24.2.7.1)", () => {
    const { hub, enable, feature, status } = rig();
    hub.plugPort(1, thing());
    enable(1);
    feature("set", PORT_SUSPEND, 1);
    expect([status(1)[0] & 4, hub.portEnabled(1)]).toEqual([4, false]);
    feature("clear", PORT_SUSPEND, 1);
    expect([status(1)[1] & 4, hub.portEnabled(1)]).toEqual([4, true]);
    feature("clear", C_PORT_SUSPEND, 1);
    expect(status(1)[1] & 4).toBe(0);
  });

  test("an empty port cannot be reset; ports and features that are not there are stalled", () => {
    const { clock, feature, status, bus } = rig();
    feature("set", PORT_POWER, 1);
    feature("set", PORT_RESET, 1);
    expect([status(1), clock.pendingTimers]).toEqual([[0x100, 0], 0]);
    expect(feature("set", PORT_POWER, 5)).toBe("stalled");
    expect(feature("set", 22, 1)).toBe("stalled");
    expect(done(bus.control(0xa3, 0, 0, 0, 4)).status).toBe("stalled");
    expect(done(bus.control(0xa0, 0, 0, 0, 4)).status).toBe("ok");
  });

  test("what does not fit is refused", () => {
    const { hub } = rig({ speed: "full" });
    expect(() => hub.plugPort(1, thing("high"))).toThrow(/does not fit a full-speed hub/);
    hub.plugPort(1, thing("low"));
    expect(() => hub.plugPort(1, thing("low"))).toThrow(/taken/);
    expect(() => hub.plugPort(9, thing("low"))).toThrow(/1 to 4/);
    expect(hub.unplugPort(2)).toBeUndefined();
  });
});

describe("the status-change endpoint (USB 2.0 §11.12)", () => {
  test("answers when something changes, with a bit for the port", () => {
    const { hub, bus, feature, clock } = rig({ portCount: 9 });
    feature("set", PORT_POWER, 9);
    const poll = bus.start("interrupt", 0x81, { maxBytes: 2 });
    expect([poll.completion, clock.pendingTimers]).toEqual([undefined, 0]);
    hub.plugPort(9, thing());
    expect([...done(poll).data]).toEqual([0, 2]);
  });

  test("repeats a change that is not acknowledged, once an interval; then is silent", () => {
    const { hub, bus, feature, clock } = rig();
    feature("set", PORT_POWER, 1);
    hub.plugPort(1, thing());
    const poll = () => bus.start("interrupt", 0x81, { maxBytes: 1 });
    expect([...done(poll()).data]).toEqual([2]);
    const again = poll();
    clock.advance(31);
    expect(again.completion).toBeUndefined();
    clock.advance(1);
    expect([...done(again).data]).toEqual([2]);
    feature("clear", C_PORT_CONNECTION, 1);
    const silent = poll();
    clock.advance(1000);
    expect([silent.completion, clock.pendingTimers]).toEqual([undefined, 0]);
  });

  test("closing the hub closes what is plugged into it, also behind another hub", async () => {
    const { hub, clock } = rig();
    const inner = new Hub({ clock });
    let closed = 0;
    const device = thing();
    device.close = () => Promise.resolve(void closed++);
    hub.plugPort(1, inner);
    inner.plugPort(3, device);
    await hub.close();
    expect(closed).toBe(1);
  });
});
