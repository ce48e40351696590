/** A serial line on the host: across driver processes, against processes that lie, and at rest. */
import { describe, expect, test } from "vitest";
import { concat } from "../../src/bytes.js";
import { FLAG_STATUS, KINDS, STATUS_NUMBERS } from "../../src/pud/frames.js";
import { HostLine } from "../../src/pud/host-tty-line.js";
import { encodeDevice, encodeNode } from "../../src/pud/served-payloads.js";
import { encodeSettings, encodeStatus, encodeTtyFailure } from "../../src/pud/tty-payloads.js";
import { DeviceError, type LineSettings, type TtyPort, type TtyStatus, WriteError } from "../../src/rump/devsw.js";
import { MemoryTty } from "../fakes/memory-tty.js";
import { frame, hello, RawRump } from "../fakes/pud-frames.js";
import { connectRump, type HostRig, hostRig, type RumpRig, turn, until } from "../fakes/pud-pair.js";
import { Collector } from "../fakes/tty-collector.js";

const SETTINGS: LineSettings = { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" };
const HOW = { settings: SETTINGS, outputs: { dtr: true, rts: true } };
const DEVICE = {
  driver: "uftdi0",
  vendor: 0x0403,
  product: 0x6001,
  revision: 0x600,
  interfaceNumber: 0,
  manufacturer: "FTDI",
  productName: "FT232R",
  serial: "A1",
};

interface Served extends RumpRig {
  readonly unpublish: (reason: string) => void;
}

/** A driver process in which this line is published. */
async function serve(rig: HostRig, tty: MemoryTty, device: object = {}, deviceKept = true): Promise<Served> {
  const rump = connectRump(rig, { deviceKept });
  rump.server.announceDevice({ ...DEVICE, ...device });
  const node = rump.server.publish("ttyU", tty);
  rump.server.ready();
  const ready = rig.readyCount + 1;
  await until("READY", () => rig.readyCount === ready);
  return { ...rump, unpublish: (reason) => node.remove(reason) };
}

function holdRig(): HostRig {
  return hostRig("hold", { heartbeatMs: 0 }, { journalBytes: 0 });
}

interface Opened {
  readonly rig: HostRig;
  readonly rump: Served;
  readonly tty: MemoryTty;
  readonly port: TtyPort;
  readonly collector: Collector;
}

async function open(rig: HostRig = holdRig()): Promise<Opened> {
  const tty = new MemoryTty();
  const rump = await serve(rig, tty);
  const collector = new Collector();
  const port = await rig.tty().open(HOW, collector);
  return { rig, rump, tty, port, collector };
}

/** What is on its way arrives. */
async function settle(): Promise<void> {
  for (let turns = 0; turns < 6; turns++) await turn();
}

/** As `until`, while time passes: a stream of bytes is gathered for some milliseconds. */
async function inTime({ clock }: HostRig, what: string, so: () => boolean): Promise<void> {
  for (let ms = 0; ms < 2_000 && !so(); ms++) {
    clock.advance(1);
    await turn();
  }
  await until(what, so);
}

/** The process dies; its port in the fake is closed by hand, as the OS takes a device away from a dead process. */
async function kill({ rig, rump }: Pick<Opened, "rig" | "rump">): Promise<void> {
  const lost = rig.lost.length + 1;
  rump.rumpEnd.destroy();
  await until("the loss", () => rig.lost.length === lost);
}

describe("while the code of lines is being loaded", () => {
  /** A rig whose loading ends when it is told to; `loads` counts how often it was asked for. */
  function slowRig(): { rig: HostRig; finish: () => void; fail: (error: Error) => void; loads: () => number } {
    let count = 0;
    let finish = (): void => {};
    let fail = (_error: Error): void => {};
    const rig = hostRig("hold", { heartbeatMs: 0 }, undefined, () => {
      count++;
      return new Promise((resolve, reject) => {
        finish = () => resolve(HostLine);
        fail = reject;
      });
    });
    return { rig, finish: () => finish(), fail: (error) => fail(error), loads: () => count };
  }

  test("a node is there, and nothing is loaded for it until it is opened", async () => {
    const { rig, loads, finish } = slowRig();
    await serve(rig, new MemoryTty());
    expect(loads()).toBe(0);
    const opening = rig.tty().open(HOW, new Collector());
    finish();
    expect((await opening).settings).toMatchObject({ baud: 115_200 });
    expect(loads()).toBe(1);
  });

  test("a second opener is told that it is open", async () => {
    const { rig, finish } = slowRig();
    await serve(rig, new MemoryTty());
    const opening = rig.tty().open(HOW, new Collector());
    await expect(rig.tty().open(HOW, new Collector())).rejects.toMatchObject({ code: "EBUSY" });
    finish();
    await opening;
  });

  test("an opener that gives up, and one whose device goes, are told so and nothing is opened", async () => {
    const { rig, finish } = slowRig();
    const tty = new MemoryTty();
    const { unpublish } = await serve(rig, tty);
    const line = rig.tty();
    const giveUp = new AbortController();
    const first = line.open(HOW, new Collector(), { signal: giveUp.signal });
    giveUp.abort();
    finish();
    await expect(first).rejects.toMatchObject({ code: "ECANCELED" });
    const second = line.open(HOW, new Collector());
    unpublish("unplugged");
    await until("the node has gone", () => rig.gone.length === 1);
    finish();
    await expect(second).rejects.toMatchObject({ code: "ENODEV" });
    expect(tty.port).toBeUndefined();
  });

  test("code that cannot be loaded fails this opening, and the next one tries again", async () => {
    const { rig, finish, fail } = slowRig();
    await serve(rig, new MemoryTty());
    const first = rig.tty().open(HOW, new Collector());
    fail(new Error("EMFILE"));
    await expect(first).rejects.toMatchObject({ code: "EIO", message: expect.stringContaining("EMFILE") as string });
    const second = rig.tty().open(HOW, new Collector());
    finish();
    await second;
  });
});

describe("a line in use", () => {
  test("is opened, written to, read from and closed", async () => {
    const { rig, tty, port, collector } = await open();
    expect(rig.tty().info).toEqual(tty.info);
    await port.write(Buffer.from("hello"));
    expect(tty.sentBytes.toString()).toBe("hello");
    tty.arrive("world and more");
    port.grant(5);
    await until("what was granted", () => collector.bytes === 5);
    port.grant(100);
    await inTime(rig, "the rest", () => collector.data.toString() === "world and more");
    await port.close();
    expect(tty.port).toBeUndefined();
    expect(collector.closedWith).toBeUndefined();
  });

  test("a change is told before the bytes that came after it, and after those before", async () => {
    const { rig, tty, port, collector } = await open();
    const story: string[] = [];
    collector.onData = (data) => story.push(Buffer.from(data).toString());
    collector.changed = ({ lines }) => story.push(`cts=${lines.cts}`);
    port.grant(1000);
    await settle();
    tty.arrive("a");
    tty.setLines({ cts: true });
    tty.arrive("b");
    tty.setLines({ cts: false });
    tty.arrive("c");
    await inTime(rig, "all of it", () => story.includes("c"));
    expect(story).toEqual(["a", "cts=true", "b", "cts=false", "c"]);
  });

  test("a storm of changes is no flood: the last one is told, and those that bytes came after", async () => {
    const { rig, tty, port, collector } = await open();
    port.grant(1 << 20);
    await settle();
    for (let n = 1; n <= 5000; n++) {
      tty.countError("framing");
      if (n % 10 === 0) tty.arrive("x");
      if (n % 100 === 0) await turn();
    }
    for (let ms = 0; ms < 100; ms++) {
      rig.clock.advance(10);
      await turn();
    }
    expect(rig.lost).toEqual([]);
    expect(collector.bytes).toBe(500);
    expect(collector.statuses.at(-1)?.errors.framing).toBe(5000);
    expect(rig.clock.pending).toBe(0);
  });

  test("many small grants are few frames, and what was granted comes", async () => {
    const { rig, rump, tty, port, collector } = await open();
    let grants = 0;
    rump.rumpEnd.tamper = (chunk) => {
      if (chunk[3] === KINDS.ttyGrant.number) grants++;
      return chunk;
    };
    collector.onData = (data) => port.grant(data.length);
    port.grant(4096);
    for (let n = 0; n < 1000; n++) {
      tty.arrive(new Uint8Array(64));
      if (n % 4 === 0) await turn();
    }
    await inTime(rig, "all of it", () => collector.bytes === 64_000);
    expect(grants).toBeLessThan(60);
  });
});

describe("a driver process that dies", () => {
  test("is replaced by one in which the line is as it was", async () => {
    const opened = await open();
    const { rig, tty, port, collector } = opened;
    await port.configure({ ...SETTINGS, baud: 9600, parity: "even" });
    await port.setOutputs({ rts: false });
    await port.setLatency(7);
    await port.setBreak(true);
    port.grant(10);
    await port.status();
    await kill(opened);
    expect(tty.port).toBeUndefined();
    const status = port.status();
    tty.calls.length = 0;
    tty.arrive("0123456789more");
    await serve(rig, tty);
    await status;
    expect(tty.calls).toEqual(["resume 9600", "latency 7", "break on"]);
    expect(tty.port?.settings).toMatchObject({ baud: 9600, parity: "even" });
    expect(tty.port?.outputs).toEqual({ dtr: true, rts: false });
    await until("what was granted before", () => collector.bytes === 10);
    expect(collector.closedWith).toBeUndefined();
  });

  test("what the device has not taken is sent again, in its order", async () => {
    const opened = await open();
    const { rig, tty, port } = opened;
    await port.write(Buffer.from("before "));
    tty.hold(true);
    const writes = [port.write(Buffer.from("one ")), port.write(Buffer.from("two ")), port.write(new Uint8Array(0))];
    const drain = port.drain();
    await turn();
    await turn();
    await kill(opened);
    writes.push(port.write(Buffer.from("three")));
    tty.hold(false);
    tty.sent.length = 1; // what the fake has taken of a dead process, the device has not
    await serve(rig, tty);
    await Promise.all([...writes, drain]);
    expect(tty.sentBytes.toString()).toBe("before one two three");
  });

  test("error counts go on, and lines that differ are told", async () => {
    const opened = await open();
    const { rig, tty, port, collector } = opened;
    tty.setLines({ cts: true });
    for (let n = 0; n < 3; n++) tty.countError("parity");
    expect((await port.status()).errors.parity).toBe(3);
    await kill(opened);
    const next = new MemoryTty();
    next.setLines({ dsr: true });
    collector.statuses.length = 0;
    await serve(rig, next);
    await until("the difference", () => collector.statuses.length === 1);
    expect(collector.statuses[0]).toMatchObject({ lines: { cts: false, dsr: true }, errors: { parity: 3 } });
    next.countError("parity");
    await until("one more", () => collector.statuses.at(-1)?.errors.parity === 4);
  });

  test("while it opened the line: the next one opens it", async () => {
    const rig = holdRig();
    const tty = new MemoryTty();
    const rump = await serve(rig, tty);
    const opening = rig.tty().open(HOW, new Collector());
    await kill({ rig, rump });
    await serve(rig, tty);
    await opening;
    expect(tty.port?.settings.baud).toBe(115_200);
  });

  test("three times with a write in it: the write fails, and the next one is sent", async () => {
    const opened = await open();
    const { rig, tty, port } = opened;
    const bad = port.write(Buffer.from("bad")).catch((error: unknown) => error);
    tty.hold(true);
    let { rump } = opened;
    for (let life = 0; life < 3; life++) {
      await kill({ rig, rump });
      rump = await serve(rig, tty);
      for (let turns = 0; turns < 10; turns++) await turn();
    }
    expect(await bad).toBeInstanceOf(WriteError);
    expect(await bad).toMatchObject({ code: "EIO", bytesTaken: 0 });
    tty.hold(false);
    tty.sent.length = 0;
    await port.write(Buffer.from("good"));
    expect(tty.sentBytes.toString()).toBe("good");
  });

  test("when the opener has closed the line meanwhile, the next one closes it: its lines are still up", async () => {
    const opened = await open();
    const { rig, tty, port } = opened;
    await kill(opened);
    const closed = port.close();
    await expect(rig.tty().open(HOW, new Collector())).rejects.toMatchObject({ code: "EBUSY" });
    tty.calls.length = 0;
    let outputs: unknown;
    const next = await serve(rig, tty);
    next.rumpEnd.tamper = (chunk) => {
      outputs ??= tty.port?.outputs;
      return chunk;
    };
    await closed;
    expect(tty.calls).toEqual(["resume 115200", "close"]);
    expect(outputs).toEqual({ dtr: false, rts: false });
    await rig.tty().open(HOW, new Collector());
  });

  test("for good: the opener is told, with what the host says of it", async () => {
    const { rig, port, collector, rump } = await open();
    const write = port.drain().catch((error: unknown) => error);
    await kill({ rig, rump });
    rig.host.abandon("its driver died too often", "EIO");
    expect(collector.closedWith?.code).toBe("EIO");
    await write;
    await expect(port.write(Uint8Array.of(1))).rejects.toMatchObject({ code: "ENODEV" });
  });
});

describe("a device that goes", () => {
  test("comes back in time: the line goes on", async () => {
    const { rig, rump, tty, port, collector } = await open();
    tty.calls.length = 0;
    tty.fail();
    rump.unpublish("unplugged");
    const write = port.write(Buffer.from("patient"));
    await settle();
    await kill({ rig, rump });
    await serve(rig, tty, {}, false);
    await write;
    expect(tty.sentBytes.toString()).toBe("patient");
    expect(tty.calls[0]).toBe("open 115200"); // it had no power: nothing of its state is left
    expect(collector.closedWith).toBeUndefined();
    expect(rig.gone).toEqual([]);
  });

  test("and is not back in time: ENODEV", async () => {
    const { rig, rump, tty, port, collector } = await open();
    tty.fail();
    rump.unpublish("unplugged");
    await settle();
    await kill({ rig, rump });
    const write = port.write(Uint8Array.of(1)).catch((error: unknown) => error);
    rig.host.abandon("not back in time", "EIO");
    expect(collector.closedWith?.code).toBe("ENODEV");
    expect(await write).toMatchObject({ code: "ENODEV", bytesTaken: 0 });
  });

  test("and another comes: ENODEV for the one that was open, and a new node", async () => {
    const { rig, rump, tty, collector } = await open();
    tty.fail();
    rump.unpublish("unplugged");
    await settle();
    await kill({ rig, rump });
    await serve(rig, tty, { serial: "A2" }, false);
    expect(collector.closedWith?.code).toBe("ENODEV");
    expect(rig.ttys.length).toBe(2);
  });

  test("but its process does not: ENODEV after a while", async () => {
    const { rig, tty, port, collector } = await open();
    tty.fail();
    await turn();
    await turn();
    const status = port.status().catch((error: unknown) => error);
    expect(collector.closedWith).toBeUndefined();
    rig.clock.advance(1_000);
    expect(collector.closedWith?.code).toBe("ENODEV");
    expect(await status).toMatchObject({ code: "ENODEV" });
  });

  test("a device that fails: EIO at once, and the line can be opened anew", async () => {
    const { rig, tty, collector } = await open();
    tty.fail(new DeviceError("EIO", "it stalls for ever"));
    await until("the end", () => collector.closedWith !== undefined);
    expect(collector.closedWith?.code).toBe("EIO");
    await rig.tty().open(HOW, new Collector());
  });
});

describe("the end", () => {
  test("in order: what was written is sent, the line is closed, the opener is told", async () => {
    const { rig, tty, port, collector } = await open();
    const write = port.write(new Uint8Array(5000));
    expect(await rig.host.shutdown(10_000)).toEqual({ clean: true, reason: "" });
    await write;
    expect(tty.sentBytes.length).toBe(5000);
    expect(tty.calls.at(-1)).toBe("close");
    expect(collector.closedWith?.code).toBe("ENODEV");
  });

  test("a line that is held is not waited for long", async () => {
    const { rig, tty, port, collector } = await open();
    tty.hold(true);
    const write = port.write(new Uint8Array(5000)).catch((error: unknown) => error);
    const end = rig.host.shutdown(10_000);
    await turn();
    rig.clock.advance(2_000);
    expect(await end).toEqual({ clean: true, reason: "" });
    expect(await write).toMatchObject({ code: "ENODEV", bytesTaken: 0 });
    expect(collector.closedWith?.code).toBe("ENODEV");
  });
});

/** A quarter of the second for which a process with a line may be silent. */
const LINE_BEAT_MS = 250;

describe("at rest", () => {
  test("an open line has no timer running", async () => {
    const rig = hostRig("hold", { heartbeatMs: 60 }, { journalBytes: 0 });
    const { port } = await open(rig);
    port.grant(1000);
    for (let beats = 0; beats < 10; beats++) {
      rig.clock.advance(60);
      await turn();
    }
    expect(rig.clock.pending).toBe(0);
  });

  test("after bytes have come, one PING asks whether the process is there; one that is not is found", async () => {
    const rig = hostRig("hold", { heartbeatMs: 60 }, { journalBytes: 0 });
    const { rump, tty, port, collector } = await open(rig);
    port.grant(1000);
    for (let beats = 0; beats < 10; beats++) {
      rig.clock.advance(LINE_BEAT_MS);
      await turn();
    }
    tty.arrive("x");
    await inTime(rig, "it", () => collector.bytes === 1);
    for (let beats = 0; beats < 5; beats++) {
      rig.clock.advance(LINE_BEAT_MS);
      for (let turns = 0; turns < 5; turns++) await turn();
    }
    expect(rig.clock.pending).toBe(0);
    tty.arrive("y");
    await inTime(rig, "it", () => collector.bytes === 2);
    rump.rumpEnd.tamper = () => new Uint8Array(0); // it hangs
    for (let beats = 0; beats < 5; beats++) {
      rig.clock.advance(LINE_BEAT_MS);
      await turn();
    }
    expect(rig.lost.map(({ code }) => code)).toEqual(["PUD_SILENT"]);
  });
});

describe("a process that lies", () => {
  const STATUS: TtyStatus = {
    lines: { cts: false, dsr: false, dcd: false, ri: false },
    errors: { framing: 0, parity: 0, overrun: 0, break: 0 },
  };

  async function raw(): Promise<{ rig: HostRig; rump: RawRump; port: TtyPort; collector: Collector }> {
    const rig = hostRig("fail", { heartbeatMs: 0 });
    const rump = new RawRump(rig);
    rump.send(hello(), frame(KINDS.device, {}, encodeDevice(DEVICE)));
    rump.send(frame(KINDS.node, { node: 1 }, encodeNode("ttyU", 0, new MemoryTty())));
    await until("a node", () => rig.ttys.length === 1);
    const collector = new Collector();
    const opening = rig.tty().open(HOW, collector);
    await until("TTY_OPEN", () => rump.requests(KINDS.ttyOpen).length === 1);
    const requestId = rump.requests(KINDS.ttyOpen)[0]?.requestId ?? 0;
    rump.send(frame(KINDS.reply, { node: 1, requestId }, encodeSettings(SETTINGS)));
    const port = await opening;
    port.grant(100);
    return { rig, rump, port, collector };
  }

  const status = encodeStatus(STATUS);
  test.each([
    ["more than was granted", frame(KINDS.ttyData, { node: 1 }, new Uint8Array(101)), "PUD_FLOOD"],
    ["a status and no bytes", frame(KINDS.ttyData, { node: 1, flags: FLAG_STATUS }, status), "PUD_LENGTH"],
    ["bytes of another node", frame(KINDS.ttyData, { node: 2 }, new Uint8Array(1)), "PUD_NODE"],
    [
      "a line that is no line",
      frame(KINDS.ttyChanged, { node: 1 }, Uint8Array.from(status).fill(0x10, 0, 1)),
      "PUD_LINE",
    ],
    [
      "a count beyond 2^53",
      frame(KINDS.ttyChanged, { node: 1 }, Uint8Array.from(status).fill(0xff, 8, 16)),
      "PUD_LINE",
    ],
    ["an end without a reason", frame(KINDS.ttyClosed, { node: 1, status: 0 }), "PUD_LINE"],
    [
      "bytes after the end",
      concat([
        frame(KINDS.ttyClosed, { node: 1, status: STATUS_NUMBERS.EIO }),
        frame(KINDS.ttyData, { node: 1 }, new Uint8Array(1)),
      ]),
      "PUD_ORDER",
    ],
  ])("%s ends the channel", async (_what, lie, code) => {
    const { rig, rump, collector } = await raw();
    rump.send(lie);
    await until("the end", () => rig.lost.length === 1);
    expect(rig.lost[0]?.code).toBe(code);
    expect(collector.bytes).toBe(0);
    expect(collector.closedWith).toBeDefined();
  });

  test("a flood of changes ends the channel", async () => {
    const { rig, rump } = await raw();
    for (let n = 0; n < 2000; n++) rump.send(frame(KINDS.ttyChanged, { node: 1 }, status));
    await until("the end", () => rig.lost.length === 1);
    expect(rig.lost[0]?.code).toBe("PUD_FLOOD");
  });

  test("replies to writes out of their order, and more bytes taken than were sent, end the channel", async () => {
    for (const [at, payload] of [
      [1, new Uint8Array(0)],
      [0, encodeTtyFailure(new WriteError("EIO", "no", 3), "no")],
    ] as const) {
      const { rig, rump, port } = await raw();
      const writes = [port.write(Uint8Array.of(1)), port.write(Uint8Array.of(2))].map((write) => write.catch(() => {}));
      await until("TTY_WRITE", () => rump.requests(KINDS.ttyWrite).length === 2);
      const requestId = rump.requests(KINDS.ttyWrite)[at]?.requestId ?? 0;
      const failed = payload.length === 0 ? 0 : STATUS_NUMBERS.EIO;
      rump.send(frame(KINDS.reply, { node: 1, requestId, status: failed }, payload));
      await until("the end", () => rig.lost.length === 1);
      expect(rig.lost[0]?.code).toBe(at === 1 ? "PUD_ORDER" : "PUD_LINE");
      await Promise.all(writes);
    }
  });
});
