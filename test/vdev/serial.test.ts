/** Serial adapters as models: what they answer, what they refuse, and the line behind them. */
import { describe, expect, test } from "vitest";
import { createModel, modelKinds, type ModelOptions, OptionError } from "../../src/vdev/kinds.js";
import { AcmModel } from "../../src/vdev/serial-acm.js";
import { Ch34xModel } from "../../src/vdev/serial-ch34x.js";
import { Cp210xModel } from "../../src/vdev/serial-cp210x.js";
import { connectFarEnd } from "../../src/vdev/serial-far-end.js";
import { FtdiModel } from "../../src/vdev/serial-ftdi.js";
import { SerialModel } from "../../src/vdev/serial-model.js";
import { Pl2303Model } from "../../src/vdev/serial-pl2303.js";
import { ByteQueue } from "../../src/vdev/serial-queue.js";
import { Uart } from "../../src/vdev/serial-uart.js";
import { done, ManualClock, pattern, TestBus } from "./bus.js";

function make(options: ModelOptions): SerialModel {
  const model = createModel("serial", options, { clock: new ManualClock() });
  if (!(model instanceof SerialModel)) throw new Error("not a serial adapter");
  return model;
}

describe("from text", () => {
  test.each([
    [{}, FtdiModel, 0x6001],
    [{ chip: "ft4232h" }, FtdiModel, 0x6011],
    [{ chip: "cp2108" }, Cp210xModel, 0xea71],
    [{ chip: "ch343" }, Ch34xModel, 0x55d3],
    [{ chip: "pl2303-hxn" }, Pl2303Model, 0x23a3],
    [{ chip: "acm", shape: "one-interface", ports: "2" }, AcmModel, 0x0002],
    [{ chip: "ftdi", ids: "1234:5678" }, FtdiModel, 0x5678],
  ] as const)("%o", (options, kind, product) => {
    const model = make(options);
    expect(model).toBeInstanceOf(kind);
    expect(new DataView(model.deviceDescriptor.buffer, model.deviceDescriptor.byteOffset).getUint16(10, true)).toBe(
      product,
    );
  });

  test.each([
    [{ chip: "ft999" }, /it is one of acm, ft232r/],
    [{ chip: "ftdi", wiring: "null-modem" }, /no port 1/],
    [{ chip: "ftdi", wiring: "talker" }, /wiring=talker needs paced/],
    [{ chip: "ftdi", shape: "union" }, /belong to chip=acm/],
    [{ chip: "acm", ports: "5" }, /whole number from 1 to 4/],
    [{ fault: "smoke" }, /is none of framing, parity/],
    [{ fault: "zlp:sometimes" }, /is none of every, count=N/],
    [{ paced: "maybe" }, /a flag stands alone/],
    [{ baud: "9600" }, /option "baud" is none of chip/],
  ] as const)("%o is refused", (options, message) => {
    expect(() => make(options)).toThrow(OptionError);
    expect(() => make(options)).toThrow(message);
  });

  test("the kind is listed with its options", () => {
    const kind = modelKinds().find((one) => one.kind === "serial");
    expect(Object.keys(kind?.options ?? {})).toEqual(["chip", "wiring", "paced", "shape", "ports", "ids", "fault"]);
  });
});

describe("what a chip does not know is stalled, and changes nothing", () => {
  /** bmRequestType, bRequest, wValue, wIndex, data. */
  const WRONG = {
    ft232r: [
      [0x40, 0, 3, 0, 0],
      [0x40, 1, 0x0404, 0, 0],
      [0x40, 2, 0x1111, 0x0400, 0],
      [0x40, 2, 0, 0x0300, 0],
      [0x40, 3, 0x4000, 0, 0],
      [0x40, 4, 0x0009, 0, 0],
      [0x40, 4, 0x0508, 0, 0],
      [0x40, 9, 0, 0, 0],
      [0x40, 3, 0x1a, 2, 0],
      [0x40, 77, 0, 0, 0],
      [0xc0, 5, 0, 0, 1],
    ],
    cp2102: [
      [0x41, 0, 2, 0, 0],
      [0x41, 3, 0x0900, 0, 0],
      [0x41, 0x1e, 0, 0, new Uint8Array(3)],
      [0x41, 0x1e, 0, 0, Uint8Array.of(0, 0, 0, 1)],
      [0x41, 7, 0x0404, 0, 0],
      [0x41, 0x13, 0, 0, new Uint8Array(15)],
      [0x41, 0, 1, 1, 0],
      [0xc1, 0x10, 0, 0, 18],
    ],
    ch340: [
      [0x40, 0x9a, 0x1312, 0xff83, 0],
      [0x40, 0x9a, 0x1312, 0xfe87, 0],
      [0x40, 0xa8, 0x80, 0, 0],
      [0x40, 0x42, 0, 0, 0],
    ],
    "pl2303-hx": [
      [0x21, 0x20, 0, 0, new Uint8Array(6)],
      [0x21, 0x20, 0, 0, Uint8Array.of(0, 0, 0, 0x80, 0, 0, 8)],
      [0x21, 0x20, 0, 0, Uint8Array.of(0x80, 0x25, 0, 0, 3, 0, 8)],
      [0x21, 0x23, 5, 0, 0],
      [0x40, 0x80, 0, 0, 0],
      [0x40, 0x01, 0, 0x10, 0],
      [0xc0, 0x01, 0x0001, 0, 1],
    ],
    acm: [
      [0x21, 0x20, 0, 0, Uint8Array.of(0, 0, 0, 0, 0, 0, 8)],
      [0x21, 0x20, 0, 0, Uint8Array.of(0x80, 0x25, 0, 0, 0, 0, 9)],
      [0x21, 0x20, 1, 0, new Uint8Array(7)],
      [0x21, 0x22, 4, 0, 0],
      [0x21, 0x22, 3, 1, 0],
      [0x21, 0x02, 0, 0, 0],
    ],
  } as const;

  test.each(Object.entries(WRONG))("%s", (chip, requests) => {
    const model = make({ chip });
    const bus = new TestBus(model).configure();
    const before = model.port(0).uart.settings;
    for (const [type, request, value, index, data] of requests)
      expect(done(bus.control(type, request, value, index, data)).status, `${type} ${request} ${value}`).toBe(
        "stalled",
      );
    expect(model.port(0).uart.settings).toEqual(before);
  });
});

describe("the line", () => {
  test("FTDI: two status bytes in front of each packet; a short one when the latency timer runs out", () => {
    const clock = new ManualClock();
    const model = new FtdiModel("ft232r", { clock });
    const bus = new TestBus(model).configure();
    const read = bus.in(512);
    expect(done(bus.out(pattern(100))).bytes).toBe(100);
    expect(read.completion).toBeUndefined();
    clock.advance(16);
    const { data } = done(read);
    expect([data.length, data[0], data[1], data[64], data[65]]).toEqual([104, 0x01, 0x60, 0x01, 0x60]);
    expect([...data.subarray(2, 64), ...data.subarray(66)]).toEqual([...pattern(100)]);
  });

  test("FTDI: the latency timer keeps the order while RTS/CTS holds and frees the line", () => {
    const clock = new ManualClock();
    const bus = new TestBus(new FtdiModel("ft232r", { clock })).configure();
    for (const [request, value, index] of [
      [1, 0x0303, 0],
      [2, 0, 0x0100],
    ] as const)
      done(bus.control(0x40, request, value, index, 0));
    const sent = Uint8Array.from({ length: 4000 }, (_, index) => index % 251);
    const received: number[] = [];
    let out = bus.out(sent.subarray(0, 200));
    let taken = 200;
    for (let round = 0; round < 1000 && received.length < sent.length; round++) {
      const read = bus.in(64 * (1 + (round % 5)));
      while (read.completion === undefined) clock.advance(16);
      const { data } = done(read);
      for (let at = 0; at < data.length; at += 64) received.push(...data.subarray(at + 2, at + 64));
      if (out.completion === undefined || taken === sent.length) continue;
      const bytes = Math.min(61 + (round % 7) * 37, sent.length - taken);
      out = bus.out(sent.subarray(taken, taken + bytes));
      taken += bytes;
    }
    expect(received).toEqual([...sent]);
  });

  test("paced: characters take the time of the rate, and what finds no room is lost and told", () => {
    const clock = new ManualClock();
    const uart = new Uart({ clock, transmitBytes: 1000, receiveBytes: 10, paced: true });
    uart.loopBack();
    uart.configure({ baud: 10_000 });
    uart.transmit.push(pattern(20));
    uart.run();
    clock.advance(5);
    expect(uart.receive.length).toBe(5);
    clock.advance(100);
    expect([uart.receive.length, uart.takeErrors().includes("overrun")]).toEqual([10, true]);
    expect(clock.pendingTimers).toBe(0);
  });

  test("two ends at different rates hear damaged characters; seven bits lose the eighth", () => {
    const clock = new ManualClock();
    const options = { clock, transmitBytes: 64, receiveBytes: 64, paced: false };
    const [a, b] = [new Uart(options), new Uart(options)];
    Uart.connect(a, b);
    a.configure({ baud: 9600 });
    b.configure({ baud: 19_200, dataBits: 7 });
    a.transmit.push(Uint8Array.of(0xff));
    a.run();
    expect([b.takeErrors(), [...b.takeReceived(10)]]).toEqual([["framing"], [0x7f]]);
  });

  test("a talker takes what it hears, and sends at the port's rate while DTR is on", () => {
    const clock = new ManualClock();
    const port = new Uart({ clock, transmitBytes: 64, receiveBytes: 8192, paced: true });
    connectFarEnd(port, clock, true);
    port.configure({ baud: 115_200 });
    clock.advance(1000);
    expect(port.receive.length).toBe(0);
    port.setOutputs({ dtr: true, rts: true });
    port.transmit.push(pattern(64));
    port.run();
    clock.advance(500);
    expect([port.transmit.length, port.takeErrors()]).toEqual([0, []]);
    expect(Math.abs(port.receive.length - 5760)).toBeLessThan(30);
    const heard = port.takeReceived(5000);
    expect(heard.every((byte, at) => byte === at % 256)).toBe(true);
    port.configure({ baud: 9600, dataBits: 7 });
    clock.advance(100);
    port.takeReceived(8192);
    port.takeErrors();
    clock.advance(1000);
    expect(Math.abs(port.receive.length - 9600 / 9)).toBeLessThan(30);
    expect(port.takeErrors()).toEqual([]);
    port.setOutputs({ dtr: false });
    port.takeReceived(8192);
    clock.advance(1000);
    expect(port.receive.length).toBe(0);
  });

  test("a listener says nothing", () => {
    const clock = new ManualClock();
    const port = new Uart({ clock, transmitBytes: 64, receiveBytes: 8192, paced: true });
    connectFarEnd(port, clock, false);
    port.setOutputs({ dtr: true, rts: true });
    port.transmit.push(pattern(64));
    port.run();
    clock.advance(500);
    expect([port.transmit.length, port.receive.length, port.takeErrors()]).toEqual([0, 0, []]);
  });

  test("a queue keeps the order when it wraps", () => {
    const queue = new ByteQueue(5);
    expect([queue.push(Uint8Array.of(1, 2, 3, 4)), ...queue.shift(3)]).toEqual([4, 1, 2, 3]);
    expect([queue.push(Uint8Array.of(5, 6, 7, 8, 9)), ...queue.shift(9)]).toEqual([4, 4, 5, 6, 7, 8]);
    expect([queue.length, queue.room]).toEqual([0, 5]);
  });

  test("line faults from text hit once, at their place", () => {
    const model = make({ chip: "pl2303-hx", fault: ["framing:after=3", "break"] });
    const bus = new TestBus(model).configure();
    const notification = bus.in(10, 0x81);
    done(bus.out(pattern(8)));
    bus.in(64, 0x83);
    expect((done(notification).data[8] ?? 0) & 0x74).toBe(0x14);
  });
});
