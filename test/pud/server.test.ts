/** The rump half, against a host that is in the test's hands. */
import { describe, expect, test } from "vitest";
import { DeviceError, type Device, type Disk } from "../../src/rump/devsw.js";
import { FrameReader } from "../../src/pud/frame-reader.js";
import {
  deviceErrorCodeOf,
  FLAG_CANCELLABLE,
  FLAG_FUA,
  type FrameHeader,
  KINDS,
  type Kind,
  STATUS_OK,
} from "../../src/pud/frames.js";
import { decodeLog } from "../../src/pud/payloads.js";
import { createPudServer } from "../../src/pud/server.js";
import { decodeText } from "../../src/pud/text.js";
import type { LinkError } from "../../src/pud/errors.js";
import type { LogEntry } from "../../src/rumpuser/rumpuser.js";
import { MemoryDisk } from "../fakes/memory-disk.js";
import { frame, type ReceivedFrame } from "../fakes/pud-frames.js";
import { connectRump, hostRig, ManualClock, turn, until } from "../fakes/pud-pair.js";
import { streamPair } from "../fakes/stream-pair.js";

function serverRig() {
  const [hostEnd, rumpEnd] = streamPair();
  const received: ReceivedFrame[] = [];
  const logs: LogEntry[] = [];
  const lost: LinkError[] = [];
  const clock = new ManualClock();
  const reader = new FrameReader("rump", {
    admit: (header) => new Uint8Array(header.payloadBytes),
    take: (header, payload) => received.push({ header, payload }),
  });
  hostEnd.onData((chunk) => reader.push(chunk));
  const server = createPudServer(rumpEnd, {
    clock,
    log: { write: (entry) => logs.push(entry) },
    onLost: (error) => lost.push(error),
  });
  return {
    server,
    clock,
    received,
    logs,
    lost,
    hostEnd,
    rumpEnd,
    send: (...frames: Uint8Array[]) => hostEnd.write(frames),
    replies: () => received.filter(({ header }) => header.kind === KINDS.reply.number),
    /** Sends one request and waits for its reply: "ok" or the code. */
    async ask(kind: Kind, fields: Partial<FrameHeader>, payload?: Uint8Array) {
      const before = this.replies().length;
      hostEnd.write([frame(kind, { node: 1, requestId: 1000 + before, ...fields }, payload)]);
      await until("the reply", () => this.replies().length === before + 1);
      const reply = this.replies()[before];
      if (reply === undefined) throw new Error("no reply");
      expect(reply.header).toMatchObject({ requestId: 1000 + before });
      return {
        code: reply.header.status === STATUS_OK ? "ok" : deviceErrorCodeOf(reply.header.status),
        payload: reply.payload,
      };
    },
  };
}

test("with onBug, what a driver throws is answered by the next process", async () => {
  const rig = hostRig("hold");
  const [hostEnd, rumpEnd] = streamPair();
  rig.host.connect(hostEnd);
  const bugs: unknown[] = [];
  const server = createPudServer(rumpEnd, {
    clock: rig.clock,
    log: { write: () => {} },
    onBug: (error) => {
      bugs.push(error);
      rumpEnd.destroy();
    },
  });
  const bug = new TypeError("cannot read properties of undefined");
  const medium = new MemoryDisk().fail({ error: bug });
  server.publish("sd", medium);
  await until("the node", () => rig.nodes.length === 1);
  const read = rig.node().device.read(0, 1);
  await until("the loss", () => rig.lost.length === 1);
  expect(bugs).toEqual([bug]);
  connectRump(rig).server.publish("sd", medium);
  expect(await read).toEqual(medium.blocks(0, 1));
});

describe("memory", () => {
  test("what a disk read goes back to it when the channel has sent it", async () => {
    const rig = serverRig();
    const waiting: (() => void)[] = [];
    const { rumpEnd } = rig;
    const write = rumpEnd.write.bind(rumpEnd);
    rumpEnd.write = (parts, sent?: () => void) => {
      if (sent !== undefined) waiting.push(sent);
      return write(parts);
    };
    const disk = new MemoryDisk();
    const recycled: Uint8Array[] = [];
    rig.server.publish("sd", Object.assign(disk, { recycle: (data: Uint8Array) => recycled.push(data) }));
    const { payload } = await rig.ask(KINDS.read, { offset: 0, count: 2 });
    expect(recycled).toEqual([]);
    for (const sent of waiting) sent();
    expect(recycled).toEqual([payload]);
  });
});

describe("requests", () => {
  test("reach the disk with what they ask, and are answered", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    rig.server.publish("sd", disk);
    const data = new Uint8Array(1024).fill(5);
    expect((await rig.ask(KINDS.write, { offset: 3, count: 2, flags: FLAG_FUA }, data)).code).toBe("ok");
    expect(await rig.ask(KINDS.read, { offset: 4, count: 1 })).toEqual({ code: "ok", payload: data.subarray(512) });
    expect((await rig.ask(KINDS.trim, { offset: 3, count: 1 })).code).toBe("ok");
    expect((await rig.ask(KINDS.writeZeroes, { offset: 4, count: 1 })).code).toBe("ok");
    expect((await rig.ask(KINDS.flush, {})).code).toBe("ok");
    expect(disk.calls).toEqual([
      { operation: "write", firstBlock: 3, blockCount: 2, forceUnitAccess: true },
      { operation: "read", firstBlock: 4, blockCount: 1, forceUnitAccess: false },
      { operation: "trim", firstBlock: 3, blockCount: 1, forceUnitAccess: false },
      { operation: "writeZeroes", firstBlock: 4, blockCount: 1, forceUnitAccess: false },
      { operation: "flush", firstBlock: 0, blockCount: 0, forceUnitAccess: false },
    ]);
  });

  test("FUA and the signal survive a driver that copies its options", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    const copying: Disk = {
      kind: "disk",
      info: disk.info,
      read: (first, count, options) => disk.read(first, count, { ...options }),
      write: (first, data, options) => disk.write(first, data, { ...options }),
      flush: (options) => disk.flush({ ...options }),
      trim: (first, count, options) => disk.trim(first, count, { ...options }),
      writeZeroes: (first, count, options) => disk.writeZeroes(first, count, { ...options }),
    };
    rig.server.publish("sd", copying);
    await rig.ask(KINDS.write, { count: 1, flags: FLAG_FUA }, new Uint8Array(512).fill(1));
    expect(disk.durable[0]).toBe(1);
    disk.hold();
    rig.send(frame(KINDS.read, { node: 1, requestId: 5, count: 1, flags: FLAG_CANCELLABLE }));
    await until("the read", () => disk.inProgress === 1);
    rig.send(frame(KINDS.cancel, { requestId: 5 }));
    await until("the reply", () => rig.replies().length === 2);
    expect(deviceErrorCodeOf(rig.replies()[1]?.header.status ?? 0)).toBe("ECANCELED");
  });

  test("a request that the host will not cancel has no signal, and CANCEL does nothing to it", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    const signals: (AbortSignal | undefined)[] = [];
    const read = disk.read.bind(disk);
    disk.read = (first, count, options) => {
      signals.push(options?.signal);
      return read(first, count, options);
    };
    const release = disk.hold();
    rig.server.publish("sd", disk);
    rig.send(frame(KINDS.read, { node: 1, requestId: 5, count: 1 }));
    await until("the read", () => disk.inProgress === 1);
    rig.send(frame(KINDS.cancel, { requestId: 5 }));
    await turn();
    release();
    await until("the reply", () => rig.replies().length === 1);
    expect(rig.replies()[0]?.header.status).toBe(STATUS_OK);
    expect(signals).toEqual([undefined]);
  });

  test.each([
    ["a node that is not there", KINDS.read, { node: 2, count: 1 }, 0, "ENODEV"],
    ["no blocks", KINDS.read, { count: 0 }, 0, "EINVAL"],
    ["blocks beyond the end", KINDS.read, { offset: 2048, count: 1 }, 0, "EINVAL"],
    ["a write beyond the end", KINDS.write, { offset: 2048, count: 1 }, 512, "ENOSPC"],
    ["a block number above 2^53", KINDS.read, { offset: 2 ** 60, count: 1 }, 0, "EINVAL"],
    ["2^60 blocks", KINDS.read, { count: 2 ** 60 }, 0, "EINVAL"],
    ["more than the disk takes at once", KINDS.read, { count: 2047 }, 0, "EINVAL"],
    ["half a block", KINDS.write, { count: 1 }, 256, "EINVAL"],
    ["two blocks with the data of one", KINDS.write, { count: 2 }, 512, "EINVAL"],
  ] as const)("%s is refused", async (_, kind, fields, bytes, code) => {
    const rig = serverRig();
    const disk = new MemoryDisk({ maxTransferBytes: 64 * 1024 });
    rig.server.publish("sd", disk);
    expect((await rig.ask(kind, fields, new Uint8Array(bytes))).code).toBe(code);
    expect(disk.calls).toEqual([]);
    expect((await rig.ask(KINDS.read, { count: 1 })).code).toBe("ok");
  });

  test("a driver that breaks its contract is EIO and a log line", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    rig.server.publish("sd", Object.assign(disk, { read: async () => new Uint8Array(3) }));
    expect((await rig.ask(KINDS.read, { count: 1 })).code).toBe("EIO");
    expect(rig.logs).toEqual([expect.objectContaining({ level: "error", source: "sd0" })]);
    expect(rig.logs[0]?.message).toMatch(/answered 3 bytes to read, not 512/);
  });

  test("an id that is in use ends the channel", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    disk.hold();
    rig.server.publish("sd", disk);
    const ask = frame(KINDS.read, { node: 1, requestId: 1, count: 1 });
    rig.send(ask, ask);
    await until("the loss", () => rig.lost.length === 1);
    expect(rig.lost[0]?.code).toBe("PUD_ORDER");
    expect(rig.rumpEnd.ended).toBe(true);
  });

  test("too many at once stop the reading until half of them are answered", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    const release = disk.hold();
    rig.server.publish("sd", disk);
    for (let id = 1; id <= 1000; id++) rig.send(frame(KINDS.read, { node: 1, requestId: id, count: 1 }));
    await until("a full house", () => rig.rumpEnd.paused);
    expect(disk.inProgress).toBe(512);
    release();
    await until("every reply", () => rig.replies().length === 1000);
    expect(disk.maxInProgress).toBe(512);
    expect(rig.rumpEnd.paused).toBe(false);
  });

  test("a host that takes no replies is asked for no more", async () => {
    const rig = serverRig();
    rig.server.publish("sd", new MemoryDisk());
    await turn();
    rig.hostEnd.pause();
    for (let id = 1; id <= 100; id++) {
      rig.send(frame(KINDS.read, { node: 1, requestId: id, count: 128 }));
      for (let turns = 0; turns < 3; turns++) await turn();
    }
    expect(rig.rumpEnd.paused).toBe(true);
    expect(rig.rumpEnd.bufferedBytes).toBeLessThan(2 * 1024 * 1024);
    rig.hostEnd.resume();
    await until("every reply", () => rig.replies().length === 100);
  });

  test("PING is answered while a driver is busy", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    disk.hold();
    rig.server.publish("sd", disk);
    rig.send(frame(KINDS.read, { node: 1, requestId: 1, count: 1 }), frame(KINDS.ping, { requestId: 2 }));
    await until("PONG", () =>
      rig.received.some(({ header }) => header.kind === KINDS.pong.number && header.requestId === 2),
    );
  });
});

describe("nodes", () => {
  test("units are the lowest free ones of their class, numbers are not used again soon", async () => {
    const rig = serverRig();
    const first = rig.server.publish("sd", new MemoryDisk());
    const second = rig.server.publish("sd", new MemoryDisk());
    expect([first.name, second.name, rig.server.publish("cd", new MemoryDisk()).name]).toEqual(["sd0", "sd1", "cd0"]);
    first.remove("unplugged");
    first.remove("twice");
    expect(rig.server.publish("sd", new MemoryDisk()).name).toBe("sd0");
    await until("the announcements", () => rig.received.length === 6);
    expect(rig.received.map(({ header }) => [header.kind, header.node])).toEqual([
      [KINDS.hello.number, 0],
      [KINDS.node.number, 1],
      [KINDS.node.number, 2],
      [KINDS.node.number, 3],
      [KINDS.nodeGone.number, 1],
      [KINDS.node.number, 4],
    ]);
  });

  test("removing one answers what is in progress first, and the driver's late answer is not sent", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    const release = disk.hold("write");
    const node = rig.server.publish("sd", disk);
    rig.send(frame(KINDS.write, { node: 1, requestId: 8, count: 1 }, new Uint8Array(512)));
    await until("the write", () => disk.inProgress === 1);
    node.remove("unplugged");
    release();
    rig.send(frame(KINDS.flush, { node: 1, requestId: 9 }));
    await until("both replies", () => rig.replies().length === 2);
    const [gone, refused] = rig.replies();
    expect([deviceErrorCodeOf(gone?.header.status ?? 0), decodeText(gone?.payload ?? new Uint8Array(0))]).toEqual([
      "ENODEV",
      "unplugged",
    ]);
    expect(deviceErrorCodeOf(refused?.header.status ?? 0)).toBe("ENODEV");
    const kinds = rig.received.map(({ header }) => header.kind);
    expect(kinds.indexOf(KINDS.nodeGone.number)).toBeGreaterThan(kinds.indexOf(KINDS.reply.number));
    expect(disk.inProgress).toBe(0);
  });

  const impossible: [string, string, Device, string][] = [
    ["blocks of 520 bytes", "sd", new MemoryDisk({ blockBytes: 520 }), "EINVAL"],
    ["a class name that is none", "../sd", new MemoryDisk(), "EINVAL"],
    ["a kind that pud does not serve", "audio", { kind: "audio", formats: [] }, "EOPNOTSUPP"],
  ];
  test.each(impossible)("%s cannot be published", (_, className, device, code) => {
    const { server } = serverRig();
    expect(() => server.publish(className, device)).toThrow(expect.objectContaining({ name: "DeviceError", code }));
  });

  test("nor can a 65th", () => {
    const { server } = serverRig();
    for (let n = 0; n < 64; n++) server.publish("sd", new MemoryDisk({ blockCount: 1 }));
    expect(() => server.publish("sd", new MemoryDisk())).toThrow(expect.objectContaining({ code: "ENOSPC" }));
  });
});

describe("talking", () => {
  test("a flood of log lines is cut and counted", async () => {
    const rig = serverRig();
    for (let line = 0; line < 2000; line++) rig.server.log({ level: "debug", source: "x", message: `${line}` });
    rig.clock.advance(1000);
    rig.server.log({ level: "info", source: "x", message: "after" });
    await until("the last line", () => rig.received.length === 503);
    const lines = rig.received.slice(1).map(({ payload }) => decodeLog(payload).message);
    expect(lines.slice(-3)).toEqual(["499", "1500 lines were dropped: more than 100 a second", "after"]);
  });
});

describe("the end", () => {
  test("a lost host cancels what drivers work on and is told once", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    disk.hold();
    rig.server.publish("sd", disk);
    rig.send(frame(KINDS.read, { node: 1, requestId: 1, count: 1, flags: FLAG_CANCELLABLE }));
    await until("the read", () => disk.inProgress === 1);
    rig.hostEnd.destroy();
    await until("the loss", () => rig.lost.length === 1);
    await until("the driver", () => disk.inProgress === 0);
    expect(() => rig.server.publish("sd", disk)).toThrow(DeviceError);
  });

  test("nonsense from the host ends the channel with a log line", async () => {
    const rig = serverRig();
    rig.send(frame(KINDS.reply));
    await until("the loss", () => rig.lost.length === 1);
    expect(rig.lost[0]?.code).toBe("PUD_KIND");
    expect(rig.logs).toEqual([expect.objectContaining({ level: "error", source: "pud" })]);
  });

  test("SHUTDOWN waits for what is in progress and refuses what is new", async () => {
    const rig = serverRig();
    const disk = new MemoryDisk();
    const release = disk.hold("write");
    const steps: string[] = [];
    rig.server.publish("sd", disk);
    rig.server.onShutdown(async () => {
      steps.push("detach");
    });
    rig.send(
      frame(KINDS.write, { node: 1, requestId: 1, count: 1 }, new Uint8Array(512).fill(1)),
      frame(KINDS.shutdown),
      frame(KINDS.shutdown),
      frame(KINDS.read, { node: 1, requestId: 2, count: 1 }),
    );
    await until("the refusal", () => rig.replies().length === 1);
    expect(deviceErrorCodeOf(rig.replies()[0]?.header.status ?? 0)).toBe("ENODEV");
    expect(steps).toEqual([]);
    release();
    await until("the end", () => rig.rumpEnd.ended);
    await until("SHUTDOWN_DONE", () => rig.received.at(-1)?.header.kind === KINDS.shutdownDone.number);
    expect(steps).toEqual(["detach"]);
    expect(disk.durable[0]).toBe(1);
    expect(rig.lost).toEqual([]);
  });
});
