/** What `rumpusb vdev serial` prints of its line and its requests, and what can be done to it by hand. */
import { describe, expect, test } from "vitest";
import { obeyLine } from "../../src/cli/vdev-control.js";
import { tellBusEvents } from "../../src/cli/vdev-events.js";
import { MemoryStore } from "../../src/vdev/image.js";
import { FlashDrive } from "../../src/vdev/flash-drive.js";
import { AcmModel } from "../../src/vdev/serial-acm.js";
import { FtdiModel } from "../../src/vdev/serial-ftdi.js";
import { ManualClock, TestBus } from "../vdev/bus.js";
import { CollectedOutput } from "./collected-output.js";

const clock = new ManualClock();

describe("the line", () => {
  test("for people: settings and lines as one line, when something changes", () => {
    const model = new FtdiModel("ft232r", { clock });
    const output = new CollectedOutput();
    const stop = tellBusEvents(model, { json: false, requests: false }, output);
    const bus = new TestBus(model).configure();
    bus.control(0x40, 4, 0x1207, 0, 0); // 7E2
    bus.control(0x40, 4, 0x1207, 0, 0);
    bus.control(0x40, 2, 0, 0x0100, 0);
    bus.control(0x40, 1, 0x0303, 0, 0);
    stop();
    bus.control(0x40, 1, 0x0300, 0, 0);
    expect(output.lines).toEqual([
      "port 0: 9600 7E2; all low",
      "port 0: 9600 7E2, RTS/CTS; all low",
      "port 0: 9600 7E2, RTS/CTS; DTR RTS",
    ]);
  });

  test("for programs: JSON with every field; a break that ends by itself is told", () => {
    const model = new AcmModel({ clock });
    const output = new CollectedOutput();
    tellBusEvents(model, { json: true, requests: false }, output);
    const bus = new TestBus(model).configure();
    bus.control(0x21, 0x23, 100, 0, 0);
    clock.advance(100);
    const line = { event: "line", port: 0, baud: 9600, dataBits: 8, parity: "none", stopBits: 1 };
    const rest = { flowControl: "none", dtr: false, rts: false };
    expect(output.lines.map((one) => JSON.parse(one) as unknown)).toEqual([
      { ...line, ...rest, breaking: true },
      { ...line, ...rest, breaking: false },
    ]);
  });

  test("requests: type, request, value, index, the data stage, and whether it was stalled", () => {
    const model = new AcmModel({ clock });
    const output = new CollectedOutput();
    const bus = new TestBus(model).configure();
    tellBusEvents(model, { json: false, requests: true }, output);
    bus.control(0x21, 0x20, 0, 0, Uint8Array.of(0x80, 0x25, 0, 0, 0, 0, 9));
    bus.control(0xa1, 0x21, 0, 0, 7);
    expect(output.lines).toEqual(["21 20 0000 0000 80250000000009 stalled", "a1 21 0000 0000 80250000000008"]);
  });
});

describe("by hand", () => {
  const device = (model: AcmModel | FlashDrive) => ({ model, server: undefined as never, busId: "1-1" });

  test("ring, errors, unplug", () => {
    const model = new AcmModel({ clock, ports: 2 });
    expect(obeyLine("ring on 1", device(model))).toBe("ring on");
    expect([model.port(0).uart.inputs.ri, model.port(1).uart.inputs.ri]).toEqual([false, true]);
    expect(obeyLine("ring loud", device(model))).toBe("ring: on or off");
    new TestBus(model).configure();
    expect(obeyLine("error framing", device(model))).toBe("error framing");
    expect(model.port(0).errors).toEqual(["framing"]);
    expect(obeyLine("error smoke", device(model))).toBe("error: one of framing, parity, overrun, break");
    expect(obeyLine("ring on 7", device(model))).toBe("ring: no port 7: the adapter has 2");
    let unplugged = 0;
    model.onUnplug(() => unplugged++);
    expect(obeyLine("unplug", device(model))).toBe("unplugged");
    expect(unplugged).toBe(1);
  });

  test("a device without a line says so", () => {
    const store = new MemoryStore(1 << 20);
    const drive = new FlashDrive({ clock, units: [{ store, blockBytes: 512 }] });
    expect(obeyLine("ring on", device(drive))).toContain("has no such thing");
  });
});
