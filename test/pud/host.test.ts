import { describe, expect, test } from "vitest";
import { DeviceError } from "../../src/rump/devsw.js";
import { FLAG_CANCELLABLE, KINDS, MAX_NODES, STATUS_NUMBERS } from "../../src/pud/frames.js";
import { DEFAULT_LIMITS, type PudLimits } from "../../src/pud/host.js";
import { encodeLog } from "../../src/pud/served-payloads.js";
import { encodeText } from "../../src/pud/text.js";
import { MemoryDisk } from "../fakes/memory-disk.js";
import { frame, hello, nodeFrame, RawRump } from "../fakes/pud-frames.js";
import { connectRump, type HostRig, hostRig, turn, until } from "../fakes/pud-pair.js";

/** How a promise ended: "ok" or the code of its DeviceError. */
function outcome(result: Promise<unknown>): Promise<string> {
  return result.then(
    () => "ok",
    (error: unknown) => (error instanceof DeviceError ? error.code : String(error)),
  );
}

/** A host with one node whose rump process is in the test's hands. */
async function rawRig(
  limits: Partial<PudLimits> = {},
): Promise<{ rig: HostRig; rump: RawRump; disk: HostRig["nodes"][0]["device"] }> {
  const rig = hostRig("fail", limits);
  const rump = new RawRump(rig);
  rump.send(hello(), nodeFrame(1, 0));
  await until("the node", () => rig.nodes.length === 1);
  return { rig, rump, disk: rig.node().device };
}

test("what the rump process announces arrives, safe to print", async () => {
  const rig = hostRig("fail");
  const { server } = connectRump(rig);
  server.announceDevice({
    driver: "umass0",
    vendor: 0x0951,
    product: 0x1666,
    revision: 0x100,
    interfaceNumber: 0,
    manufacturer: "Kingston\u001b[31m",
    productName: "",
    serial: "1",
  });
  server.publish("sd", new MemoryDisk());
  server.publish("sd", new MemoryDisk({ readOnly: true, model: "Card\nReader" }));
  server.log({ level: "info", source: "umass0", message: "one\ntwo" });
  server.error("USB_PROTOCOL", "attach failed");
  server.ready();
  await until("ready", () => rig.readyCount === 1);
  expect(rig.devices).toEqual([expect.objectContaining({ driver: "umass0", manufacturer: "Kingston\ufffd[31m" })]);
  expect(rig.nodes.map((n) => [n.className, n.unit, n.device.info.readOnly, n.device.info.model])).toEqual([
    ["sd", 0, false, "Memory Disk 1.0"],
    ["sd", 1, true, "Card\ufffdReader"],
  ]);
  expect(rig.logs).toEqual([{ level: "info", source: "umass0", message: "one\ufffdtwo" }]);
  expect(rig.errors).toEqual([{ code: "USB_PROTOCOL", message: "attach failed" }]);
});

describe("a frame that cannot be right ends the channel", () => {
  const ok = (fields: object, bytes: number): Uint8Array =>
    frame(KINDS.reply, { node: 1, ...fields }, new Uint8Array(bytes));
  // A READ of one block from node 1 is in flight as request 1.
  test.each([
    ["a reply never asked for", [ok({ requestId: 7 }, 512)], "PUD_REPLY"],
    ["a reply twice", [ok({ requestId: 1 }, 512), ok({ requestId: 1 }, 512)], "PUD_REPLY"],
    ["a reply from another node", [ok({ requestId: 1, node: 2 }, 512)], "PUD_REPLY"],
    ["a reply a byte short", [ok({ requestId: 1 }, 511)], "PUD_LENGTH"],
    ["a reply a block long", [ok({ requestId: 1 }, 1024)], "PUD_LENGTH"],
    ["a reply without data", [ok({ requestId: 1 }, 0)], "PUD_LENGTH"],
    ["a status that is in no table", [ok({ requestId: 1, status: 99 }, 0)], "PUD_REPLY"],
    ["a reason above its bound", [ok({ requestId: 1, status: STATUS_NUMBERS.EIO }, 513)], "PUD_LENGTH"],
    ["a second HELLO", [hello()], "PUD_ORDER"],
    ["a request", [frame(KINDS.read)], "PUD_KIND"],
    ["a node number in use", [nodeFrame(1, 1)], "PUD_NODE"],
    ["node number 0", [nodeFrame(0, 1)], "PUD_NODE"],
    ["the same unit twice", [nodeFrame(2, 0)], "PUD_NODE"],
    ["NODE_GONE for a node that is not there", [frame(KINDS.nodeGone, { node: 9 })], "PUD_NODE"],
    ["SHUTDOWN_DONE unasked", [frame(KINDS.shutdownDone)], "PUD_ORDER"],
    ["PONG unasked", [frame(KINDS.pong, { requestId: 1 })], "PUD_REPLY"],
    ["too many nodes", Array.from({ length: MAX_NODES }, (_, n) => nodeFrame(n + 2, n + 1)), "PUD_LIMIT"],
    [
      "a flood of log lines",
      Array.from({ length: 1001 }, () => frame(KINDS.log, {}, encodeLog({ level: "info", source: "x", message: "y" }))),
      "PUD_FLOOD",
    ],
    ["nonsense", [new Uint8Array(64)], "PUD_MAGIC"],
  ])("%s: %#", async (_, frames, code) => {
    const { rig, rump, disk } = await rawRig();
    const read = outcome(disk.read(0, 1));
    await until("the request", () => rump.requests(KINDS.read).length === 1);
    rump.send(...frames);
    await until("the loss", () => rig.lost.length === 1);
    expect(rig.lost).toEqual([expect.objectContaining({ name: "LinkError", code })]);
    expect(await read).toBe(code === "PUD_REPLY" && frames.length === 2 ? "ok" : "ENODEV");
    expect(rig.host.nodes).toEqual([]);
    expect(rig.host.connected).toBe(false);
    await until("the end of the stream", () => rump.closed);
    expect(await outcome(disk.read(0, 1))).toBe("ENODEV");
  });

  test("anything before HELLO", async () => {
    const rig = hostRig("fail");
    new RawRump(rig).send(nodeFrame(1, 0));
    await until("the loss", () => rig.lost.length === 1);
    expect(rig.lost[0]?.code).toBe("PUD_ORDER");
    expect(rig.nodes).toEqual([]);
  });

  test("log lines at a bearable rate do not", async () => {
    const { rig, rump } = await rawRig();
    const line = frame(KINDS.log, {}, encodeLog({ level: "info", source: "x", message: "y" }));
    for (let second = 0; second < 20; second++) {
      rump.send(...Array.from({ length: 200 }, () => line));
      await until("the lines", () => rig.logs.length === (second + 1) * 200);
      rig.clock.advance(1000);
    }
    expect(rig.lost).toEqual([]);
  });
});

test("a conversation cut at each byte leaves nothing waiting", async () => {
  const bytes = Buffer.concat([
    hello(),
    nodeFrame(1, 0),
    frame(KINDS.ready),
    frame(KINDS.reply, { node: 1, requestId: 1 }, new Uint8Array(512)),
  ]);
  for (let cut = 0; cut < bytes.length; cut++) {
    const rig = hostRig("fail");
    const rump = new RawRump(rig);
    rump.send(bytes.subarray(0, Math.min(cut, bytes.length - 544)));
    for (let turns = 0; turns < 3; turns++) await turn();
    const read = rig.nodes[0] === undefined ? undefined : outcome(rig.nodes[0].device.read(0, 1));
    if (cut > bytes.length - 544) {
      await until("the request", () => rump.requests(KINDS.read).length === 1);
      rump.send(bytes.subarray(bytes.length - 544, cut));
    }
    rump.stream.close();
    await until("the loss", () => rig.lost.length === 1);
    expect(rig.lost[0]?.code).toBe("PUD_CLOSED");
    if (read !== undefined) expect(await read).toBe("ENODEV");
    expect(rig.host.nodes).toEqual([]);
    expect(rig.clock.pending).toBe(0);
  }
});

test("a reply that comes a byte at a time is taken", async () => {
  const rig = hostRig("fail");
  const rump = new RawRump(rig, 1);
  rump.send(hello(), nodeFrame(1, 0));
  await until("the node", () => rig.nodes.length === 1);
  const read = rig.node().device.read(3, 2);
  await until("the request", () => rump.requests(KINDS.read).length === 1);
  expect(rump.requests(KINDS.read)[0]).toMatchObject({ node: 1, offset: 3, count: 2 });
  const data = Uint8Array.from({ length: 1024 }, (_, at) => at & 0xff);
  rump.send(frame(KINDS.reply, { node: 1, requestId: 1 }, data));
  expect(await read).toEqual(data);
});

test("a failed request says why, in the driver's words", async () => {
  const rig = hostRig("fail");
  const { server, logs } = connectRump(rig);
  const disk = new MemoryDisk()
    .fail({ operation: "read", error: "ENOMEDIUM" })
    .fail({ operation: "flush", error: new TypeError("bug") });
  server.publish("sd", disk);
  await until("the node", () => rig.nodes.length === 1);
  const { device } = rig.node();
  await expect(device.read(0, 1)).rejects.toThrow(
    expect.objectContaining({ code: "ENOMEDIUM", message: "scripted ENOMEDIUM for read" }),
  );
  expect(await outcome(device.flush())).toBe("EIO");
  expect(logs).toEqual([
    expect.objectContaining({ level: "error", source: "sd0", message: expect.stringContaining("bug") as string }),
  ]);
  expect(await outcome(device.read(0, 1))).toBe("ok");
});

describe("bounds", () => {
  test("no more requests in flight than allowed; the rest waits its turn", async () => {
    const { rump, disk } = await rawRig({ maxNodeRequests: 3 });
    const reads = Array.from({ length: 8 }, (_, block) => disk.read(block, 1));
    await until("three requests", () => rump.requests(KINDS.read).length === 3);
    await turn();
    for (let answered = 0; answered < 8; answered++) {
      const header = rump.requests(KINDS.read)[answered];
      await until("the next request", () => rump.requests(KINDS.read).length >= Math.min(8, answered + 3));
      await turn();
      expect(rump.requests(KINDS.read).length).toBe(Math.min(8, answered + 3));
      expect(header?.offset).toBe(answered);
      rump.send(frame(KINDS.reply, { node: 1, requestId: header?.requestId ?? 0 }, new Uint8Array(512)));
      await reads[answered];
      await turn();
    }
  });

  test("no more bytes in flight than allowed, but always one request", async () => {
    const { rump, disk } = await rawRig({ maxNodeBytes: 1024 });
    const results = [disk.write(0, new Uint8Array(4096)), disk.read(0, 2), disk.flush()];
    await until("the first", () => rump.received.length === 1);
    await turn();
    expect(rump.received.map((f) => f.header.kind)).toEqual([KINDS.write.number]);
    rump.send(frame(KINDS.reply, { node: 1, requestId: 1 }));
    await until("the rest", () => rump.received.length === 3);
    rump.send(
      frame(KINDS.reply, { node: 1, requestId: 2 }, new Uint8Array(1024)),
      frame(KINDS.reply, { node: 1, requestId: 3 }),
    );
    await Promise.all(results);
  });

  test("a queue that is full answers EBUSY", async () => {
    const { disk } = await rawRig({ maxNodeRequests: 1, maxQueuedRequests: 2 });
    const results = [disk.read(0, 1), disk.read(1, 1), disk.read(2, 1)].map(outcome);
    expect(await outcome(disk.read(3, 1))).toBe("EBUSY");
    expect(results.length).toBe(3);
  });

  test("what nobody waits for any more is not sent, and what comes after it is", async () => {
    const { rump, disk } = await rawRig({ maxNodeRequests: 1 });
    let isThere = true;
    const isWanted = (): boolean => isThere;
    const first = disk.read(0, 1, { isWanted });
    const unwanted = [disk.read(1, 1, { isWanted }), disk.read(2, 1, { isWanted })].map(outcome);
    const other = disk.read(3, 1);
    await until("the first", () => rump.requests(KINDS.read).length === 1);
    isThere = false;
    rump.send(frame(KINDS.reply, { node: 1, requestId: 1 }, new Uint8Array(512)));
    expect(await first).toHaveLength(512); // it was under way
    expect(await Promise.all(unwanted)).toEqual(["ECANCELED", "ECANCELED"]);
    await until("the other", () => rump.requests(KINDS.read).length === 2);
    expect(rump.requests(KINDS.read)[1]?.offset).toBe(3);
    rump.send(frame(KINDS.reply, { node: 1, requestId: 2 }, new Uint8Array(512)));
    expect(await other).toHaveLength(512);
  });

  test("a rump process that reads nothing gets no more than the stream takes", async () => {
    const { rump, disk } = await rawRig();
    rump.stream.pause();
    const writes = Array.from({ length: 100 }, () => outcome(disk.write(0, new Uint8Array(256 * 1024))));
    for (let turns = 0; turns < 10; turns++) await turn();
    // 1 MiB is what the stream takes, and the turn's last frames go with it.
    rump.stream.resume();
    await until("what was sent", () => rump.requests(KINDS.write).length >= 4);
    expect(rump.requests(KINDS.write).length).toBeLessThan(10);
    rump.stream.destroy();
    expect(new Set(await Promise.all(writes))).toEqual(new Set(["ENODEV"]));
  });

  test("nodes that come and go with unanswered requests cannot be piled up", async () => {
    const { rig, rump } = await rawRig({ maxUnanswered: 4 });
    for (let node = 1; rig.lost.length === 0 && node < 10; node++) {
      const read = outcome(rig.nodes.at(-1)?.device.read(0, 1) ?? Promise.resolve());
      await until("the request", () => rump.requests(KINDS.read).length === node);
      rump.send(frame(KINDS.nodeGone, { node }), nodeFrame(node + 1, 0));
      expect(await read).toBe("ENODEV");
      await turn();
    }
    expect(rig.lost.map((error) => error.code)).toEqual(["PUD_LIMIT"]);
  });
});

describe("cancelling", () => {
  test("what was not sent ends at once, what was sent when it is answered", async () => {
    const { rump, disk } = await rawRig({ maxNodeRequests: 1 });
    const [sent, waiting] = [new AbortController(), new AbortController()];
    let settled = "";
    const first = outcome(disk.read(0, 1, { signal: sent.signal })).then((how) => (settled = how));
    const second = outcome(disk.read(1, 1, { signal: waiting.signal }));
    waiting.abort();
    expect(await second).toBe("ECANCELED");
    await until("the request", () => rump.requests(KINDS.read).length === 1);
    expect(rump.requests(KINDS.read)[0]?.flags).toBe(FLAG_CANCELLABLE);
    sent.abort();
    await until("CANCEL", () => rump.requests(KINDS.cancel).length === 1);
    expect(rump.requests(KINDS.cancel)[0]).toMatchObject({ requestId: 1, node: 1 });
    expect(settled).toBe("");
    rump.send(frame(KINDS.reply, { node: 1, requestId: 1, status: STATUS_NUMBERS.ECANCELED }));
    expect(await first).toBe("ECANCELED");
    expect(rump.requests(KINDS.read).length).toBe(1);
  });

  test("a request that was done all the same is answered as done", async () => {
    const { rump, disk } = await rawRig();
    const controller = new AbortController();
    const write = outcome(disk.write(0, new Uint8Array(512), { signal: controller.signal }));
    await until("the request", () => rump.requests(KINDS.write).length === 1);
    controller.abort();
    rump.send(frame(KINDS.reply, { node: 1, requestId: 1 }));
    expect(await write).toBe("ok");
  });

  test("a loss ends a cancelled request as cancelled", async () => {
    const { rump, disk } = await rawRig();
    const controller = new AbortController();
    const read = outcome(disk.read(0, 1, { signal: controller.signal }));
    await until("the request", () => rump.requests(KINDS.read).length === 1);
    controller.abort();
    rump.stream.destroy();
    expect(await read).toBe("ECANCELED");
  });
});

describe("a node that goes", () => {
  test("answers everything at once, and replies that cross it are no offence", async () => {
    const { rig, rump, disk } = await rawRig({ maxNodeRequests: 1 });
    const results = [outcome(disk.read(0, 1)), outcome(disk.read(1, 1))];
    await until("the request", () => rump.requests(KINDS.read).length === 1);
    rump.send(frame(KINDS.nodeGone, { node: 1 }, encodeText("unplugged", 100)));
    expect(await Promise.all(results)).toEqual(["ENODEV", "ENODEV"]);
    expect(rig.gone).toEqual([{ node: rig.nodes[0], reason: "unplugged" }]);
    rump.send(frame(KINDS.reply, { node: 1, requestId: 1, status: STATUS_NUMBERS.ENODEV }), nodeFrame(1, 0));
    await until("its successor", () => rig.nodes.length === 2);
    expect(rig.lost).toEqual([]);
    expect(await outcome(disk.read(0, 1))).toBe("ENODEV");
  });
});

describe("heartbeat", () => {
  test("an idle channel has no timer", async () => {
    const { rig, rump } = await rawRig();
    expect(rig.clock.pending).toBe(1); // it attaches
    rump.send(frame(KINDS.ready));
    await until("READY", () => rig.readyCount === 1);
    rig.clock.advance(DEFAULT_LIMITS.heartbeatMs);
    expect(rig.clock.pending).toBe(0);
  });

  test("one that hangs while it attaches is lost", async () => {
    const { rig } = await rawRig({ heartbeatMs: 1000 });
    for (let beat = 1; beat <= 4; beat++) rig.clock.advance(1000);
    expect(rig.lost.map((error) => error.message)).toEqual(["no frame in 3000 ms, not even PONG, while it attached"]);
  });

  test("one that attaches for the first time may be silent for longer, and no longer than that", async () => {
    const { rig } = await rawRig({ heartbeatMs: 1000, attachSilenceMs: 6000 });
    for (let beat = 1; beat <= 6; beat++) rig.clock.advance(1000);
    expect(rig.lost).toEqual([]);
    rig.clock.advance(1000);
    expect(rig.lost.map((error) => error.message)).toEqual(["no frame in 6000 ms, not even PONG, while it attached"]);
  });

  test("a beat that comes late proves nothing: this process did not run either", async () => {
    const { rig, rump, disk } = await rawRig({ heartbeatMs: 1000 });
    rump.send(frame(KINDS.ready));
    await until("READY", () => rig.readyCount === 1);
    void outcome(disk.read(0, 1));
    for (let beat = 1; beat <= 10; beat++) rig.clock.oversleep(1000, 600);
    expect(rig.lost).toEqual([]);
  });

  test("a rump process that answers PING may take its time", async () => {
    const { rig, rump, disk } = await rawRig({ heartbeatMs: 1000 });
    const read = disk.read(0, 1);
    for (let beat = 1; beat <= 20; beat++) {
      rig.clock.advance(1000);
      const pings = rump.requests(KINDS.ping).length;
      for (let turns = 0; turns < 4; turns++) await turn();
      const ping = rump.requests(KINDS.ping)[pings];
      if (ping !== undefined) rump.send(frame(KINDS.pong, { requestId: ping.requestId }));
      for (let turns = 0; turns < 4; turns++) await turn();
    }
    expect(rig.lost).toEqual([]);
    expect(rump.requests(KINDS.ping).length).toBeGreaterThan(5);
    rump.send(frame(KINDS.reply, { node: 1, requestId: 1 }, new Uint8Array(512)));
    await read;
    rump.send(frame(KINDS.ready));
    await until("READY", () => rig.readyCount === 1);
    rig.clock.advance(1000);
    expect(rig.clock.pending).toBe(0);
  });

  /** Attached, with one read that is not answered. */
  async function silentRig(waitedMs: () => number): Promise<HostRig> {
    const { rig, rump, disk } = await rawRig({ heartbeatMs: 60, askProcessorWait: (told) => told(waitedMs()) });
    rump.send(frame(KINDS.ready));
    await until("READY", () => rig.readyCount === 1);
    void outcome(disk.read(0, 1));
    rig.clock.advance(60); // READY came in this one
    return rig;
  }

  /** @returns clock time from the last frame to the loss. */
  function silenceUntilLost(rig: HostRig): number {
    const fromMs = rig.clock.nowMs();
    while (rig.lost.length === 0 && rig.clock.nowMs() - fromMs < 60_000) rig.clock.advance(60);
    return rig.clock.nowMs() - fromMs;
  }

  test("one that waits for a processor is not lost for that", async () => {
    let waitedMs = 60;
    const rig = await silentRig(() => waitedMs);
    rig.clock.advance(3000);
    expect(rig.lost).toEqual([]);
    waitedMs = 0; // now it could run
    expect(silenceUntilLost(rig)).toBe(120);
    expect(rig.lost.map((error) => error.message)).toEqual([
      "no frame in 180 ms (2940 ms without a processor left out), not even PONG, with 1 requests unanswered",
    ]);
  });

  test("nothing is decided before that is told, and what comes meanwhile counts", async () => {
    const asked: ((waitedMs: number) => void)[] = [];
    const { rig, rump, disk } = await rawRig({ heartbeatMs: 60, askProcessorWait: (told) => asked.push(told) });
    rump.send(frame(KINDS.ready));
    await until("READY", () => rig.readyCount === 1);
    void outcome(disk.read(0, 1));
    rig.clock.advance(60); // READY came in this one
    for (const waitedMs of [1_000_000, 60, 60]) {
      rig.clock.advance(60);
      rig.clock.advance(600); // whoever tells it does not get a processor either
      expect(asked.length).toBe(1);
      asked.pop()?.(waitedMs);
    }
    rig.clock.advance(60);
    asked.pop()?.(0);
    await until("a PING", () => rump.requests(KINDS.ping).length === 1);
    rig.clock.advance(60);
    rump.send(frame(KINDS.pong, { requestId: rump.requests(KINDS.ping)[0]?.requestId ?? 0 }));
    for (let turns = 0; turns < 4; turns++) await turn();
    asked.pop()?.(0);
    expect(rig.lost).toEqual([]);
    rig.clock.advance(60);
    asked.pop()?.(0);
    rig.clock.advance(60);
    asked.pop()?.(0);
    rig.clock.advance(60);
    expect(rig.lost).toEqual([]);
    asked.pop()?.(0);
    expect(rig.lost.map((error) => error.code)).toEqual(["PUD_SILENT"]);
    asked.pop()?.(0);
    expect(rig.clock.pending).toBe(0);
  });

  test("told after the channel has ended, nothing comes of it", async () => {
    const asked: ((waitedMs: number) => void)[] = [];
    const { rig, rump, disk } = await rawRig({ heartbeatMs: 60, askProcessorWait: (told) => asked.push(told) });
    void outcome(disk.read(0, 1));
    rig.clock.advance(60);
    rig.clock.advance(60);
    rump.stream.destroy();
    await until("the loss", () => rig.lost.length === 1);
    expect(asked.length).toBe(1);
    asked.pop()?.(0);
    expect(rig.clock.pending).toBe(0);
    expect(rig.lost.length).toBe(1);
  });

  test("one that loops on a busy machine is lost when it has had its time", async () => {
    const rig = await silentRig(() => 40);
    expect(silenceUntilLost(rig)).toBe(60 + 120 * 3);
  });

  test("what it waited before the silence is not counted", async () => {
    let calls = 0;
    const rig = await silentRig(() => (calls++ === 0 ? 1_000_000 : 0));
    expect(silenceUntilLost(rig)).toBe(180);
  });

  test("no processor for ten seconds is a hang all the same", async () => {
    const rig = await silentRig(() => 60);
    expect(silenceUntilLost(rig)).toBe(60 + 10_000 + 20 + 120);
  });

  test("a silence that is over is forgotten", async () => {
    const rig = hostRig("hold", { heartbeatMs: 60, askProcessorWait: (told) => told(60) });
    const rump = new RawRump(rig);
    rump.send(hello(), nodeFrame(1, 0), frame(KINDS.ready));
    await until("READY", () => rig.readyCount === 1);
    void outcome(rig.node().device.read(0, 1));
    for (let silence = 1; silence <= 3; silence++) {
      rig.clock.advance(60); // something came in this one
      rig.clock.advance(60);
      await until("a PING", () => rump.requests(KINDS.ping).length === silence);
      for (let beats = 0; beats < 149; beats++) rig.clock.advance(60);
      expect(rig.lost).toEqual([]);
      rump.send(frame(KINDS.pong, { requestId: rump.requests(KINDS.ping).at(-1)?.requestId ?? 0 }));
      for (let turns = 0; turns < 4; turns++) await turn();
    }
  });

  test("one that loops is lost", async () => {
    const { rig, disk } = await rawRig({ heartbeatMs: 1000 });
    const read = outcome(disk.read(0, 1));
    rig.clock.advance(1000); // NODE came in this one
    rig.clock.advance(2000);
    await turn();
    expect(rig.lost).toEqual([]);
    rig.clock.advance(1000);
    expect(await read).toBe("ENODEV");
    expect(rig.lost.map((error) => error.code)).toEqual(["PUD_SILENT"]);
    expect(rig.clock.pending).toBe(0);
  });
});

describe("ending", () => {
  test("shutdown answers what is there, flushes, detaches and takes the nodes away", async () => {
    const rig = hostRig("fail");
    const { server } = connectRump(rig);
    const disk = new MemoryDisk();
    const order: string[] = [];
    server.onShutdown(async () => {
      order.push(`detached after ${disk.calls.map((call) => call.operation).join(", ")}`);
    });
    server.publish("sd", disk);
    await until("the node", () => rig.nodes.length === 1);
    const { device } = rig.node();
    const write = device.write(0, new Uint8Array(512).fill(7)).then(() => order.push("written"));
    const done = rig.host.shutdown(1000);
    expect(await outcome(device.read(0, 1))).toBe("ENODEV");
    expect(rig.host.shutdown(1)).toBe(done);
    expect(await done).toEqual({ clean: true, reason: "" });
    await write;
    expect(order).toEqual(["written", "detached after write, flush"]);
    expect(disk.durable[0]).toBe(7);
    expect(rig.gone.map(({ reason }) => reason)).toEqual(["shut down"]);
    expect(rig.lost).toEqual([]);
    expect(rig.clock.pending).toBe(0);
    expect(() => connectRump(rig)).toThrow(/has ended/);
  });

  test("a flush that fails is told, and detaching is done all the same", async () => {
    const rig = hostRig("fail");
    const { server } = connectRump(rig);
    let detached = false;
    server.onShutdown(async () => {
      detached = true;
    });
    server.publish("sd", new MemoryDisk().fail({ operation: "flush", error: "EIO" }));
    await until("the node", () => rig.nodes.length === 1);
    expect(await rig.host.shutdown(1000)).toEqual({ clean: false, reason: "EIO: scripted EIO for flush" });
    expect(detached).toBe(true);
  });

  test("a shutdown that takes too long is given up", async () => {
    const { rig, rump, disk } = await rawRig();
    const read = outcome(disk.read(0, 1));
    const done = rig.host.shutdown(1000);
    await turn();
    expect(rump.requests(KINDS.shutdown)).toEqual([]);
    rig.clock.advance(1000);
    expect(await done).toEqual({ clean: false, reason: "the rump process did not finish within 1000 ms" });
    expect(await read).toBe("ENODEV");
    await until("the end of the stream", () => rump.closed);
  });

  test("a rump process that dies meanwhile ends the shutdown", async () => {
    const { rig, rump } = await rawRig();
    const done = rig.host.shutdown(1000);
    await until("SHUTDOWN", () => rump.requests(KINDS.shutdown).length === 1);
    rump.stream.destroy();
    expect((await done).clean).toBe(false);
    expect(rig.lost).toEqual([]);
    expect(rig.clock.pending).toBe(0);
  });

  test("with nobody there it is over at once", async () => {
    expect((await hostRig("hold").host.shutdown(1000)).clean).toBe(false);
  });

  test("abandon answers everything, and is no loss", async () => {
    const { rig, rump, disk } = await rawRig();
    const read = outcome(disk.read(0, 1));
    rig.host.abandon("not wanted");
    expect(await read).toBe("ENODEV");
    await until("the end of the stream", () => rump.closed);
    expect([rig.lost, rig.gone.length]).toEqual([[], 1]);
  });

  test('a loss under "fail" takes the nodes, and the host can be connected again', async () => {
    const { rig, rump, disk } = await rawRig();
    const read = outcome(disk.read(0, 1));
    rump.stream.destroy();
    expect(await read).toBe("ENODEV");
    expect(rig.lost.map((error) => error.code)).toEqual(["PUD_CLOSED"]);
    connectRump(rig).server.publish("sd", new MemoryDisk());
    await until("a new node", () => rig.nodes.length === 2);
    expect(await outcome(rig.nodes[1]?.device.read(0, 1) ?? Promise.resolve())).toBe("ok");
    expect(() => connectRump(rig)).toThrow(/has a channel/);
  });
});
