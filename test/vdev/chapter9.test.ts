import { describe, expect, test } from "vitest";
import { walkDescriptors } from "../../src/dev/usb/descriptors.js";
import { UsbFunction } from "../../src/vdev/function.js";
import type { FunctionDescription } from "../../src/vdev/descriptor-set.js";
import { done, TestBus } from "./bus.js";

const DESCRIPTION: FunctionDescription = {
  speed: "high",
  vendor: 0x1209,
  product: 1,
  revision: 0x0123,
  manufacturer: "Maker",
  productName: "Thing",
  serial: "S1",
  interfaces: [
    {
      interfaceNumber: 0,
      interfaceClass: 0xff,
      interfaceSubClass: 0,
      interfaceProtocol: 0,
      endpoints: [
        { endpointAddress: 0x81, type: "bulk" },
        { endpointAddress: 0x02, type: "bulk" },
      ],
    },
    { interfaceNumber: 1, interfaceClass: 0xff, interfaceSubClass: 0, interfaceProtocol: 0, endpoints: [] },
    {
      interfaceNumber: 1,
      alternateSetting: 1,
      interfaceClass: 0xff,
      interfaceSubClass: 0,
      interfaceProtocol: 0,
      endpoints: [{ endpointAddress: 0x83, type: "interrupt", maxPacketBytes: 8, bInterval: 4 }],
    },
  ],
};

function rig(speed: FunctionDescription["speed"] = "high") {
  const model = new UsbFunction({ ...DESCRIPTION, speed });
  return { model, bus: new TestBus(model) };
}

describe("standard requests (USB 2.0 §9.4)", () => {
  const STALL = "stalled";
  // Requests to a configured high-speed device: type, request, value, index, data or length → bytes, "ok" or a stall.
  const ROWS: readonly [string, number, number, number, number, Uint8Array | number, number[] | "ok" | "stalled"][] = [
    ["GET_STATUS of the device", 0x80, 0, 0, 0, 2, [0, 0]],
    ["GET_STATUS of an interface", 0x81, 0, 0, 1, 2, [0, 0]],
    ["GET_STATUS of an interface that is not there", 0x81, 0, 0, 9, 2, STALL],
    ["GET_STATUS of the default pipe", 0x82, 0, 0, 0x80, 2, [0, 0]],
    ["GET_STATUS of an endpoint", 0x82, 0, 0, 0x81, 2, [0, 0]],
    ["GET_STATUS of an endpoint of another setting", 0x82, 0, 0, 0x83, 2, STALL],
    ["GET_CONFIGURATION", 0x80, 8, 0, 0, 1, [1]],
    ["SET_CONFIGURATION 2", 0x00, 9, 2, 0, 0, STALL],
    ["SET_CONFIGURATION with data", 0x00, 9, 1, 0, Uint8Array.of(1), STALL],
    ["GET_INTERFACE", 0x81, 10, 0, 1, 1, [0]],
    ["SET_INTERFACE to a setting that is not there", 0x01, 11, 2, 1, 0, STALL],
    ["SET_INTERFACE 1", 0x01, 11, 1, 1, 0, "ok"],
    ["SET_ADDRESS", 0x00, 5, 127, 0, 0, "ok"],
    ["SET_ADDRESS beyond 127", 0x00, 5, 128, 0, 0, STALL],
    ["SET_DESCRIPTOR", 0x00, 7, 0x100, 0, Uint8Array.of(1), STALL],
    ["SYNCH_FRAME", 0x82, 12, 0, 0x81, 2, STALL],
    ["remote wake-up", 0x00, 3, 1, 0, 0, STALL],
    ["U1 enable at high speed", 0x00, 3, 48, 0, 0, STALL],
    ["a halt with a selector that is not ENDPOINT_HALT", 0x02, 3, 1, 0x81, 0, STALL],
    ["a halt of an endpoint that is not there", 0x02, 3, 0, 0x84, 0, STALL],
    ["a halt of the default pipe", 0x02, 3, 0, 0, 0, "ok"],
    ["string 0", 0x80, 6, 0x0300, 0, 255, [4, 3, 9, 4]],
    ["string 3", 0x80, 6, 0x0303, 0x0409, 255, [6, 3, 0x53, 0, 0x31, 0]],
    ["a string in another language", 0x80, 6, 0x0303, 0x0407, 255, STALL],
    ["a string that is not there", 0x80, 6, 0x0304, 0x0409, 255, STALL],
    ["the qualifier", 0x80, 6, 0x0600, 0, 10, [10, 6, 0, 2, 0, 0, 0, 64, 1, 0]],
    ["BOS at high speed", 0x80, 6, 0x0f00, 0, 5, STALL],
    ["a second configuration", 0x80, 6, 0x0201, 0, 9, STALL],
    ["an interface descriptor by itself", 0x80, 6, 0x0400, 0, 9, STALL],
    ["a vendor request", 0xc0, 1, 0, 0, 4, STALL],
    ["a request of the reserved type", 0xe0, 0, 0, 0, 4, STALL],
  ];
  test.each(ROWS)("%s", (_name, type, request, value, index, data, expected) => {
    const { bus } = rig();
    bus.configure();
    const completion = done(bus.control(type, request, value, index, data));
    if (expected === "stalled") expect(completion.status).toBe("stalled");
    else if (expected === "ok") expect(completion.status).toBe("ok");
    else expect([completion.status, [...completion.data]]).toEqual(["ok", expected]);
  });

  test("a request without its setup packet ends as an error", () => {
    const { bus } = rig();
    expect(done(bus.start("control", 0, {})).status).toBe("error");
    expect(done(bus.start("control", 0, { setup: Uint8Array.of(0x80, 6) })).status).toBe("error");
  });

  test("a data stage that is not as long as wLength says is stalled", () => {
    const { bus } = rig();
    const setup = Uint8Array.of(0x00, 48, 0, 0, 0, 0, 6, 0);
    expect(done(bus.start("control", 0, { setup, out: new Uint8Array(3) })).status).toBe("stalled");
  });

  test("what needs a configuration is stalled without one (§9.4.10)", () => {
    const { bus } = rig();
    expect([...done(bus.control(0x80, 8, 0, 0, 1)).data]).toEqual([0]);
    expect(done(bus.control(0x81, 10, 0, 1, 1)).status).toBe("stalled");
    expect(done(bus.control(0x01, 11, 1, 1)).status).toBe("stalled");
    expect(done(bus.control(0x02, 1, 0, 0x81)).status).toBe("stalled");
    expect(done(bus.in(512)).status).toBe("error");
  });

  test("a reply is cut to what the host asks", () => {
    const { bus, model } = rig();
    expect([...done(bus.control(0x80, 6, 0x0100, 0, 8)).data]).toEqual([...model.deviceDescriptor.subarray(0, 8)]);
    expect(done(bus.control(0x80, 6, 0x0200, 0, 4096)).data).toEqual(model.configurationDescriptor);
  });
});

describe("descriptors by speed (USB 2.0 §9.6, USB 3.2 §9.6)", () => {
  test.each([
    ["full", 64, 64, 0x0200],
    ["high", 64, 512, 0x0200],
    ["super", 9, 1024, 0x0320],
  ] as const)("%s speed", (speed, bMaxPacketSize0, bulkBytes, bcdUSB) => {
    const { model, bus } = rig(speed);
    const device = new DataView(model.deviceDescriptor.slice().buffer);
    expect([device.getUint8(7), device.getUint16(2, true)]).toEqual([bMaxPacketSize0, bcdUSB]);
    const parts = [...walkDescriptors(model.configurationDescriptor)];
    expect(parts.filter((part) => part[1] === 48).length).toBe(speed === "super" ? 3 : 0);
    const bulk = parts.find((part) => part[1] === 5 && part[2] === 0x81)?.slice() ?? new Uint8Array(7);
    expect(new DataView(bulk.buffer).getUint16(4, true)).toBe(bulkBytes);
    expect(new DataView(model.configurationDescriptor.slice().buffer).getUint16(2, true)).toBe(
      model.configurationDescriptor.length,
    );
    expect(done(bus.control(0x80, 6, 0x0600, 0, 10)).status).toBe(speed === "high" ? "ok" : "stalled");
    const bos = done(bus.control(0x80, 6, 0x0f00, 0, 64));
    expect([bos.status, bos.data.length]).toEqual(speed === "super" ? ["ok", 22] : ["stalled", 0]);
  });

  test("SuperSpeed hosts may set exit latencies and link states (USB 3.2 §9.4)", () => {
    const { bus } = rig("super");
    bus.configure();
    expect(done(bus.control(0x00, 48, 0, 0, new Uint8Array(6))).status).toBe("ok");
    expect(done(bus.control(0x00, 3, 48, 0)).status).toBe("ok");
    expect(done(bus.control(0x01, 3, 0, 0)).status).toBe("ok");
    expect(done(bus.control(0x00, 48, 0, 0, new Uint8Array(5))).status).toBe("stalled");
  });

  test("a string that does not fit a descriptor is refused", () => {
    expect(() => new UsbFunction({ ...DESCRIPTION, serial: "x".repeat(127) })).toThrow(/127 characters.*126/);
  });
});

describe("halts and queues", () => {
  test("a halted endpoint stalls everything, queued and new, until it is cleared (§9.4.5)", () => {
    const { bus, model } = rig();
    bus.configure();
    const queued = [bus.in(512), bus.in(512)];
    expect(queued.map((transfer) => transfer.completion)).toEqual([undefined, undefined]);
    done(bus.control(0x02, 3, 0, 0x81));
    expect(queued.map((transfer) => done(transfer).status)).toEqual(["stalled", "stalled"]);
    expect(done(bus.in(512)).status).toBe("stalled");
    expect([...done(bus.control(0x82, 0, 0, 0x81, 2)).data]).toEqual([1, 0]);
    bus.clearHalt(0x81);
    expect(bus.in(512).completion).toBeUndefined();
    expect(model.counters.haltsCleared).toBe(1);
  });

  test("unlink ends one transfer as cancelled, once; reset ends them all", () => {
    const { bus, model } = rig();
    bus.configure();
    const [first, second] = [bus.in(512), bus.in(512)];
    model.unlink(first.urb);
    model.unlink(first.urb);
    expect([done(first).status, first.completions, second.completion]).toEqual(["cancelled", 1, undefined]);
    model.reset();
    expect([done(second).status, second.completions, first.completions]).toEqual(["cancelled", 1, 1]);
    expect(done(bus.in(512)).status).toBe("error");
  });

  test("selecting a configuration or a setting clears halts (§9.1.1.5)", () => {
    const { bus } = rig();
    bus.configure();
    done(bus.control(0x02, 3, 0, 0x81));
    bus.configure();
    expect([...done(bus.control(0x82, 0, 0, 0x81, 2)).data]).toEqual([0, 0]);
    done(bus.control(0x02, 3, 0, 0x81));
    done(bus.control(0x01, 11, 0, 0));
    expect([...done(bus.control(0x82, 0, 0, 0x81, 2)).data]).toEqual([0, 0]);
  });

  test("an unplug ends transfers as disconnected and tells the bus", () => {
    const { bus, model } = rig();
    bus.configure();
    let told = 0;
    model.onUnplug(() => told++);
    const pending = bus.in(512);
    model.unplug();
    expect([done(pending).status, told]).toEqual(["disconnected", 1]);
  });

  test("events and counters", () => {
    const { bus, model } = rig();
    const kinds: string[] = [];
    const stop = model.observe((event) => kinds.push(event.kind));
    bus.configure();
    bus.in(1);
    model.reset();
    stop();
    model.reset();
    expect(kinds).toEqual(["configured", "control", "busReset", "transfer"]);
    expect([model.counters.busResets, model.counters.transfers, model.counters.controlRequests]).toEqual([2, 1, 1]);
  });
});
