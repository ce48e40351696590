/** The real stack and the serial drivers against the chip models, on the simulated host. */
import { describe, expect, test } from "vitest";
import { LineSettingsError, WriteError } from "../../../../src/rump/devsw.js";
import { FtdiModel } from "../../../../src/vdev/serial-ftdi.js";
import { pattern } from "../../../vdev/bus.js";
import { treeNames } from "../rig.js";
import { attachSerial, CHIPS, Collector, SETTINGS, UP, until } from "./rig.js";

describe.each(CHIPS)("$name", ({ name, driver, make }) => {
  const fixedLine = name === "hl340";

  test("attaches without a complaint, and is silent while nobody has it open", async () => {
    const rig = await attachSerial(make);
    expect(rig.tty().info.model).not.toBe("");
    expect(treeNames(rig).some((one) => one.startsWith(driver))).toBe(true);
    expect(rig.problems()).toEqual([]);
    const transfers = rig.vhc.transferCount;
    await rig.sim.clock.advance(3_600_000);
    expect(rig.vhc.transferCount).toBe(transfers);
  });

  test("settings reach the chip", async () => {
    const rig = await attachSerial(make);
    const { port } = await rig.openPort({ baud: 19_200 });
    const { uart } = rig.model.port(0);
    expect(Math.abs(uart.settings.baud - 19_200) / 19_200).toBeLessThan(0.01);
    expect(uart.outputs).toMatchObject({ dtr: true, rts: true });
    const wanted = fixedLine ? {} : ({ dataBits: 7, parity: "even", stopBits: 2 } as const);
    const made = await rig.sim.run(() => port.configure({ ...SETTINGS, baud: 57_600, ...wanted }));
    expect(uart.settings).toMatchObject(fixedLine ? { dataBits: 8 } : wanted);
    expect(Math.round(uart.settings.baud)).toBe(made.baud);
    await rig.sim.run(() => port.setOutputs({ rts: false }));
    expect(uart.outputs).toMatchObject({ dtr: true, rts: false });
    await rig.sim.run(() => port.close());
    expect(uart.outputs).toMatchObject({ dtr: false, rts: false });
    expect(rig.problems()).toEqual([]);
  });

  test("64 KiB come back as they were sent, in pieces of odd sizes", async () => {
    const rig = await attachSerial(make);
    const { port, collector } = await rig.openPort();
    const data = pattern(64 * 1024, 5);
    await rig.sim.run(async () => {
      for (let at = 0, size = 1; at < data.length; at += size, size = (size * 7 + 3) % 1531)
        await port.write(data.subarray(at, at + size));
    });
    await until(rig, () => collector.bytes >= data.length);
    expect(Buffer.compare(collector.data, data)).toBe(0);
    expect(rig.problems()).toEqual([]);
  });

  test("a byte that nobody has granted waits; then it comes", async () => {
    const rig = await attachSerial(make);
    const collector = new Collector();
    const port = await rig.sim.run(() => rig.tty().open({ settings: SETTINGS, outputs: UP }, collector));
    await rig.sim.run(() => port.write(pattern(100, 1)));
    await rig.sim.clock.advance(100);
    expect(collector.bytes).toBe(0);
    port.grant(10);
    await rig.sim.clock.advance(100);
    expect(collector.bytes).toBe(10);
    port.grant(1000);
    await rig.sim.clock.advance(100);
    expect(Buffer.compare(collector.data, pattern(100, 1))).toBe(0);
  });

  test("modem lines are told, and can be asked for", async () => {
    const rig = await attachSerial(make);
    const { port, collector } = await rig.openPort();
    await rig.sim.clock.advance(50);
    const { modemLines } = rig.tty().info;
    const status = await rig.sim.run(() => port.status());
    for (const line of modemLines) expect(status.lines[line]).toBe(line !== "ri");
    await rig.sim.run(() => port.setOutputs({ dtr: false }));
    rig.model.port(0).uart.setRing(true);
    await rig.sim.clock.advance(50);
    const last = collector.statuses.at(-1)?.lines;
    if (modemLines.length > 0) expect(last).toMatchObject({ dsr: false, dcd: false, ri: true });
  });

  test("unplugged while it is open: told once, at once; nothing is left", async () => {
    const rig = await attachSerial(make);
    const { port, collector } = await rig.openPort();
    rig.model.unplug();
    await rig.sim.clock.advance(0);
    await rig.sim.clock.advance(1);
    expect(collector.closedWith?.code).toBe("ENODEV");
    await expect(rig.sim.run(() => port.write(Uint8Array.of(1)))).rejects.toMatchObject({ code: "ENODEV" });
    await rig.settle();
    expect(rig.kernel.devices).toEqual([]);
    expect(rig.sim.clock.pendingTimers).toBe(0);
  });

  test.each(["unplugged", "its driver detached"] as const)(
    "what waits when the device goes ends as ENODEV, and at once: %s",
    async (how) => {
      const rig = await attachSerial((options) => make({ ...options, wiring: "open" }));
      const { port, collector } = await rig.openPort();
      const ends = [port.write(pattern(100_000, 1)), port.write(pattern(1, 1)), port.drain()];
      const outcomes = Promise.all(ends.map((end) => end.catch((error: unknown) => error)));
      await rig.sim.clock.advance(100);
      const { uart } = rig.model.port(0);
      const takenBytes = uart.transmit.length;
      expect(takenBytes).toBeGreaterThan(0);
      if (how === "unplugged") rig.model.unplug();
      else void rig.kernel.shutdown();
      await until(rig, () => collector.closedWith !== undefined, 10);
      expect(collector.closedWith?.code).toBe("ENODEV");
      expect(await outcomes).toEqual([
        expect.objectContaining({ code: "ENODEV", bytesTaken: takenBytes }),
        expect.objectContaining({ code: "ENODEV", bytesTaken: 0 }),
        expect.objectContaining({ code: "ENODEV" }),
      ]);
    },
  );

  test("an open port that hears nothing makes no wake-ups of ours", async () => {
    const rig = await attachSerial((options) => make({ ...options, wiring: "open" }));
    await rig.openPort();
    await rig.sim.clock.advance(1_000);
    const transfers = rig.vhc.transferCount;
    await rig.sim.clock.advance(60_000);
    // An FTDI chip ends a read each time its latency timer runs out; that is the chip's, not ours. Four are made up for at a time.
    const perMinute = driver === "uftdi" ? 60_000 / 16 + 4 : 0;
    expect(rig.vhc.transferCount - transfers).toBeLessThanOrEqual(perMinute);
  });
});

describe("opening", () => {
  const make =
    CHIPS.find(({ name }) => name === "ft232r")?.make ??
    (() => {
      throw new Error("no chip");
    });

  test("a second opener is refused; after close the line can be opened again", async () => {
    const rig = await attachSerial(make);
    const { port } = await rig.openPort();
    await expect(rig.openPort()).rejects.toMatchObject({ code: "EBUSY" });
    await rig.sim.run(() => port.close());
    await rig.sim.run(() => port.close());
    await expect(rig.sim.run(() => port.drain())).rejects.toMatchObject({ code: "ENODEV" });
    const again = await rig.openPort();
    expect(again.port.settings.baud).toBe(115_385);
  });

  test("impossible settings are answered with the nearest, and nothing stays open", async () => {
    const rig = await attachSerial(make);
    const error = await rig.openPort({ baud: 5_000_000, dataBits: 5 }).catch((one: unknown) => one);
    expect(error).toBeInstanceOf(LineSettingsError);
    expect(error).toMatchObject({ code: "EINVAL", nearest: { baud: 3_000_000, dataBits: 8 } });
    const { port } = await rig.openPort();
    await expect(rig.sim.run(() => port.configure({ ...SETTINGS, baud: 2_600_000 }))).rejects.toMatchObject({
      nearest: { baud: 3_000_000 },
    });
    expect(port.settings.baud).toBe(115_385);
  });

  test("each port of a chip with several is a line of its own; a null modem joins two", async () => {
    const rig = await attachSerial((options) => new FtdiModel("ft2232h", { ...options, wiring: "null-modem" }));
    const a = await rig.openPort({}, "ttyU0");
    const b = await rig.openPort({}, "ttyU1");
    await rig.sim.run(() => Promise.all([a.port.write(pattern(5000, 1)), b.port.write(pattern(3000, 2))]));
    await until(rig, () => a.collector.bytes === 3000 && b.collector.bytes === 5000);
    expect(Buffer.compare(a.collector.data, pattern(3000, 2))).toBe(0);
    expect(Buffer.compare(b.collector.data, pattern(5000, 1))).toBe(0);
    await rig.sim.run(() => a.port.close());
    await rig.sim.clock.advance(50);
    expect(b.collector.statuses.at(-1)?.lines).toMatchObject({ cts: false, dsr: false });
  });

  test("nobody serves serial lines: the driver says so and leaves, and that is no error", async () => {
    const { DeviceError } = await import("../../../../src/rump/devsw.js");
    const { makeRig, plugIn } = await import("../rig.js");
    const { DRIVERS } = await import("./rig.js");
    const rig = makeRig(DRIVERS);
    rig.kernel.listen({
      added: () => {
        throw new DeviceError("EOPNOTSUPP", "serves no tty devices");
      },
      removed: () => undefined,
    });
    await rig.boot();
    await plugIn(rig, 1, make({ clock: rig.sim.clock }));
    expect(rig.kernel.devices).toEqual([]);
    expect(rig.log().some((line) => line.startsWith("warn uftdi0") && line.includes("serves no tty devices"))).toBe(
      true,
    );
    expect(rig.log().filter((line) => line.startsWith("error"))).toEqual([]);
  });
});

describe("writes", () => {
  const paced = (options: ConstructorParameters<typeof FtdiModel>[1]) =>
    new FtdiModel("ft232r", { ...options, paced: true });

  test("flow control holds a write; flush ends it and says how much the device took", async () => {
    const rig = await attachSerial((options) => new FtdiModel("ft2232h", { ...options, wiring: "null-modem" }));
    const { port } = await rig.openPort({ flowControl: "rtsCts" });
    // The other port is closed: its RTS is low.
    const write = port.write(pattern(100_000, 1)).catch((error: unknown) => error);
    await rig.sim.clock.advance(10_000);
    await rig.sim.run(() => port.flush("out"));
    const error = await write;
    expect(error).toBeInstanceOf(WriteError);
    expect(error).toMatchObject({ code: "ECANCELED", bytesTaken: 4096 });
  });

  test("RTS/CTS: a reader that grants little loses nothing", async () => {
    const rig = await attachSerial(
      (options) => new FtdiModel("ft2232h", { ...options, wiring: "null-modem", paced: true }),
    );
    const settings = { flowControl: "rtsCts", baud: 1_000_000 } as const;
    const a = await rig.openPort(settings, "ttyU0");
    const collector = new Collector();
    const how = { settings: { ...SETTINGS, ...settings }, outputs: UP };
    const b = await rig.sim.run(() => rig.tty("ttyU1").open(how, collector));
    const data = pattern(50_000, 3);
    let written = false;
    void a.port.write(data).then(() => {
      written = true;
    });
    for (let round = 0; collector.bytes < data.length; round++) {
      if (round > 1000) throw new Error(`stuck at ${collector.bytes}`);
      b.grant(997);
      await rig.sim.clock.advance(20);
    }
    expect(Buffer.compare(collector.data, data)).toBe(0);
    expect(written).toBe(true);
    expect(collector.statuses.at(-1)?.errors.overrun ?? 0).toBe(0);
  });

  test("XON and XOFF in software hold and release, and are not data", async () => {
    const acm = CHIPS.find(({ name }) => name === "acm")?.make;
    if (acm === undefined) throw new Error("no chip");
    const rig = await attachSerial((options) => acm({ ...options, wiring: "open" }));
    const { port, collector } = await rig.openPort({ flowControl: "xonXoff" });
    const { uart } = rig.model.port(0);
    uart.feed(Uint8Array.of(0x41, 0x13, 0x42));
    await rig.sim.clock.advance(10);
    expect([...collector.data]).toEqual([0x41, 0x42]);
    let written = false;
    void port.write(Uint8Array.of(1, 2, 3)).then(() => {
      written = true;
    });
    await rig.sim.clock.advance(10_000);
    expect([written, uart.transmit.length]).toEqual([false, 0]);
    uart.feed(Uint8Array.of(0x11));
    await rig.sim.clock.advance(10);
    expect(written).toBe(true);
    expect([...uart.transmit.shift(10)]).toEqual([1, 2, 3]);
  });

  test("a signal ends a write, and the next one goes on", async () => {
    const rig = await attachSerial((options) => new FtdiModel("ft2232h", { ...options, wiring: "null-modem" }));
    const { port } = await rig.openPort({ flowControl: "rtsCts" });
    const abort = new AbortController();
    const first = port.write(pattern(10_000, 1), { signal: abort.signal }).catch((error: unknown) => error);
    const second = port.write(Uint8Array.of(9)).catch((error: unknown) => error);
    await rig.sim.clock.advance(10);
    abort.abort();
    await rig.sim.clock.advance(10);
    expect(await first).toMatchObject({ code: "ECANCELED", bytesTaken: 4096 });
    await rig.openPort({}, "ttyU1");
    await rig.sim.clock.advance(100);
    expect(await second).toBeUndefined();
  });

  test("drain waits for the last bit; asked of the chip, or reckoned", async () => {
    for (const make of [paced, CHIPS.find(({ name }) => name === "pl2303-hx")?.make]) {
      if (make === undefined) throw new Error("no chip");
      const rig = await attachSerial((options) => make({ ...options, paced: true }));
      const { port } = await rig.openPort({ baud: 9600 });
      const startMs = rig.sim.clock.nowMs();
      await rig.sim.run(() => port.write(pattern(240, 1)));
      await rig.sim.run(() => port.drain());
      // 240 characters of 10 bits.
      expect(rig.sim.clock.nowMs() - startMs).toBeGreaterThanOrEqual(245);
      expect(rig.sim.clock.nowMs() - startMs).toBeLessThan(400);
      expect(rig.model.port(0).uart.transmit.length).toBe(0);
    }
  });
});

describe("break, errors and latency", () => {
  test.each(CHIPS.filter(({ name }) => name !== "hl340"))(
    "$name: a break goes out, after what was written",
    async ({ make }) => {
      const rig = await attachSerial(make);
      const { port } = await rig.openPort();
      await rig.sim.run(() => port.setBreak(true));
      expect(rig.model.port(0).uart.outputs.breaking).toBe(true);
      await rig.sim.run(() => port.setBreak(false));
      expect(rig.model.port(0).uart.outputs.breaking).toBe(false);
    },
  );

  test("a chip without a break says so", async () => {
    const rig = await attachSerial(
      CHIPS.find(({ name }) => name === "hl340")?.make ??
        (() => {
          throw new Error();
        }),
    );
    const { port } = await rig.openPort();
    await expect(rig.sim.run(() => port.setBreak(true))).rejects.toMatchObject({ code: "EOPNOTSUPP" });
    expect(rig.tty().info.canBreak).toBe(false);
  });

  test.each(CHIPS.filter(({ driver }) => driver !== "uchcom"))(
    "$name: errors of the line are counted",
    async ({ make }) => {
      const rig = await attachSerial((options) => make({ ...options, wiring: "open" }));
      const { port, collector } = await rig.openPort();
      const { uart } = rig.model.port(0);
      for (const error of ["framing", "parity", "overrun", "break", "framing"] as const) {
        uart.raise(error);
        await rig.sim.clock.advance(20);
      }
      const expected = { framing: 2, parity: 1, overrun: 1, break: 1 };
      expect((await rig.sim.run(() => port.status())).errors).toEqual(expected);
      expect(collector.statuses.at(-1)?.errors).toEqual(expected);
    },
  );

  test("FTDI: an error is counted once, with its character, however many packets tell it", async () => {
    const rig = await attachSerial((options) => new FtdiModel("ft232r", { ...options, wiring: "open" }));
    const { port, collector } = await rig.openPort();
    const { uart } = rig.model.port(0);
    // Lost characters bring none; every packet that is due has the flag.
    uart.raise("overrun");
    await rig.sim.clock.advance(500);
    expect((await rig.sim.run(() => port.status())).errors.overrun).toBe(0);
    uart.feed(Uint8Array.of(7));
    await rig.sim.clock.advance(500);
    expect((await rig.sim.run(() => port.status())).errors.overrun).toBe(1);
    expect([...collector.data]).toEqual([7]);
  });

  test("the latency timer of an FTDI chip is the time that a single byte waits", async () => {
    const rig = await attachSerial((options) => new FtdiModel("ft232r", { ...options, wiring: "open" }));
    const { port, collector } = await rig.openPort();
    expect(await rig.sim.run(() => port.setLatency(2))).toBe(2);
    await rig.sim.clock.advance(100);
    rig.model.port(0).uart.feed(Uint8Array.of(7));
    await rig.sim.clock.advance(3);
    expect([...collector.data]).toEqual([7]);
    expect(await rig.sim.run(() => port.setLatency(1000))).toBe(255);
  });
});
