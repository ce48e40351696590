/** Policy "hold": a rump process dies, the nodes stay, and what was not answered is asked again. */
import { describe, expect, test } from "vitest";
import { DeviceError, type Disk } from "../../src/rump/devsw.js";
import { KINDS } from "../../src/pud/frames.js";
import type { PudLimits } from "../../src/pud/host.js";
import { MemoryDisk, type MemoryDiskOptions } from "../fakes/memory-disk.js";
import { frame, hello, nodeFrame, RawRump } from "../fakes/pud-frames.js";
import { connectRump, type HostRig, hostRig, turn, until } from "../fakes/pud-pair.js";

function outcome(result: Promise<unknown>): Promise<string> {
  return result.then(
    () => "ok",
    (error: unknown) => (error instanceof DeviceError ? error.code : String(error)),
  );
}

function filled(byte: number, blocks = 1): Uint8Array {
  return new Uint8Array(512 * blocks).fill(byte);
}

/** A rump process in the test's hands that has announced the node; the test says when it dies. */
async function rawRump(rig: HostRig, options: MemoryDiskOptions = {}, number = 1): Promise<RawRump> {
  const rump = new RawRump(rig);
  rump.send(hello(), nodeFrame(number, 0, options));
  await until("the node", () => rig.nodes.length > 0);
  await turn();
  return rump;
}

async function kill(rig: HostRig, rump: RawRump): Promise<void> {
  const losses = rig.lost.length;
  rump.stream.destroy();
  await until("the loss", () => rig.lost.length > losses);
}

async function rawRig(limits: Partial<PudLimits> = {}): Promise<{ rig: HostRig; rump: RawRump; disk: Disk }> {
  const rig = hostRig("hold", limits);
  const rump = await rawRump(rig);
  return { rig, rump, disk: rig.node().device };
}

/** Requests as the rump process saw them: "write 3", "flush 0". */
function seen(rump: RawRump): string[] {
  const names = new Map(Object.entries(KINDS).map(([name, kind]) => [kind.number, name]));
  return rump.received.map(({ header }) => `${names.get(header.kind) ?? "?"} ${header.offset}`);
}

test("what was in flight is asked again in its order, flushes after it, then what waited", async () => {
  const { rig, rump, disk } = await rawRig({ maxNodeRequests: 6 });
  const results = [
    disk.write(0, filled(1)),
    disk.flush(),
    disk.write(0, filled(2)),
    disk.read(0, 1),
    disk.trim(5, 1),
    disk.writeZeroes(6, 1, { forceUnitAccess: true }),
    disk.write(7, filled(3)), // waits
  ].map(outcome);
  await until("six requests", () => rump.received.length === 6);
  await kill(rig, rump);
  expect(rig.gone).toEqual([]);
  const next = await rawRump(rig, {}, 2);
  expect(rig.back).toEqual([rig.node()]);
  await until("six requests", () => next.received.length === 6);
  expect(seen(next)).toEqual(["write 0", "write 0", "read 0", "trim 5", "writeZeroes 6", "flush 0"]);
  expect(next.received.map(({ header }) => header.node)).toEqual([2, 2, 2, 2, 2, 2]);
  expect(next.received[1]?.payload).toEqual(filled(2));
  expect(next.received[4]?.header.flags).toBe(1);
  for (const { header } of next.received.slice()) {
    const data = header.kind === KINDS.read.number ? filled(2) : new Uint8Array(0);
    next.send(frame(KINDS.reply, { node: 2, requestId: header.requestId }, data));
  }
  await until("the last one", () => next.received.length === 7);
  expect(seen(next)[6]).toBe("write 7");
  next.send(frame(KINDS.reply, { node: 2, requestId: next.received[6]?.header.requestId ?? 0 }));
  expect(await Promise.all(results)).toEqual(Array.from({ length: 7 }, () => "ok"));
});

test("requests made while nobody is there are kept", async () => {
  const { rig, rump, disk } = await rawRig();
  await kill(rig, rump);
  const write = disk.write(0, filled(9));
  const medium = new MemoryDisk();
  connectRump(rig).server.publish("sd", medium);
  await write;
  expect(medium.blocks(0, 1)).toEqual(filled(9));
});

test("a request that three rump processes died of is answered EIO, others go on", async () => {
  const { rig, rump, disk } = await rawRig({ maxNodeRequests: 1 });
  const poison = outcome(disk.read(13, 1));
  const other = outcome(disk.read(1, 1));
  let current = rump;
  for (let death = 1; death <= 3; death++) {
    await until("the request", () => current.received.length === 1);
    expect(seen(current)).toEqual(["read 13"]);
    await kill(rig, current);
    current = await rawRump(rig);
  }
  expect(await poison).toBe("EIO");
  await until("the other", () => current.received.length === 1);
  current.send(frame(KINDS.reply, { node: 1, requestId: current.received[0]?.header.requestId ?? 0 }, filled(0)));
  expect(await other).toBe("ok");
});

test("a cancelled request is not asked again", async () => {
  const { rig, rump, disk } = await rawRig();
  const controllers = [new AbortController(), new AbortController()];
  const [before, after] = controllers.map((c, block) => outcome(disk.read(block, 1, { signal: c.signal })));
  await until("both", () => rump.received.length === 2);
  controllers[0]?.abort();
  await kill(rig, rump);
  expect(await before).toBe("ECANCELED");
  controllers[1]?.abort();
  expect(await after).toBe("ECANCELED");
  const next = await rawRump(rig);
  await turn();
  expect(next.received).toEqual([]);
});

describe("what comes back is not the same", () => {
  test.each<[string, MemoryDiskOptions]>([
    ["size", { blockCount: 4096 }],
    ["block size", { blockBytes: 1024, blockCount: 1024 }],
    ["model", { model: "Another Disk" }],
    ["write protection", { readOnly: true }],
  ])("another %s: ESTALE for the old node, and a new node", async (_, options) => {
    const { rig, rump, disk } = await rawRig();
    const write = outcome(disk.write(0, filled(1)));
    await until("the request", () => rump.received.length === 1);
    await kill(rig, rump);
    const waiting = outcome(disk.flush());
    const next = await rawRump(rig, options);
    await until("the new node", () => rig.nodes.length === 2);
    expect([await write, await waiting, await outcome(disk.read(0, 1))]).toEqual(["ESTALE", "ESTALE", "ESTALE"]);
    expect(rig.gone.map(({ node }) => node)).toEqual([rig.nodes[0]]);
    await turn();
    expect(next.received).toEqual([]);
  });

  test("a node that is not announced by READY has gone", async () => {
    const { rig, rump } = await rawRig();
    rump.send(nodeFrame(2, 1));
    await until("both nodes", () => rig.nodes.length === 2);
    const reads = rig.nodes.map(({ device }) => outcome(device.read(0, 1)));
    await kill(rig, rump);
    const next = new RawRump(rig);
    next.send(hello(), nodeFrame(1, 0), frame(KINDS.ready));
    expect(await reads[1]).toBe("ENODEV");
    expect(rig.gone.map(({ node }) => node.unit)).toEqual([1]);
    rig.host.abandon("the test is over");
    expect(await reads[0]).toBe("ENODEV");
  });

  test("when READY comes with none of the nodes, the attach has failed: they wait for the next process", async () => {
    const { rig, rump, disk } = await rawRig();
    await kill(rig, rump);
    new RawRump(rig).send(hello(), frame(KINDS.ready));
    await until("the loss", () => rig.lost.length === 2);
    expect(rig.lost[1]?.code).toBe("PUD_ABSENT");
    const write = disk.write(0, filled(9));
    connectRump(rig).server.publish("sd", new MemoryDisk());
    await write;
    expect(rig.gone).toEqual([]);
  });

  test("a reply with an id of the process before is an offence", async () => {
    const { rig, rump, disk } = await rawRig();
    const read = outcome(disk.read(0, 1));
    await until("the request", () => rump.received.length === 1);
    await kill(rig, rump);
    new RawRump(rig).send(hello(), frame(KINDS.reply, { node: 1, requestId: 1 }, filled(0)));
    await until("the loss", () => rig.lost.length === 2);
    expect(rig.lost[1]?.code).toBe("PUD_REPLY");
    rig.host.abandon("quarantine");
    expect(await read).toBe("ENODEV");
  });
});

test("abandon answers what was held", async () => {
  const { rig, rump, disk } = await rawRig();
  const results = [disk.write(0, filled(1)), disk.flush()].map(outcome);
  await kill(rig, rump);
  rig.host.abandon("gave up");
  expect(await Promise.all(results)).toEqual(["ENODEV", "ENODEV"]);
  expect(rig.gone.map(({ reason }) => reason)).toEqual(["gave up"]);
});

/**
 * A workload on one disk, whose medium outlives the rump processes. Checks as it goes what a link relies on: a read sees
 * every write that was answered before it was asked, and after a flush everything answered before it is on the medium.
 */
async function workload(disk: Disk, medium: MemoryDisk): Promise<void> {
  const model = new Uint8Array(16);
  const issued = new Uint8Array(16);
  async function write(block: number, byte: number): Promise<void> {
    issued[block] = byte;
    await disk.write(block, filled(byte));
    model[block] = byte;
  }
  async function flush(): Promise<void> {
    const answered = [...model];
    await disk.flush();
    // What was issued meanwhile may be there too.
    for (const [block, byte] of answered.entries())
      if (block < 8 && issued[block] === byte)
        expect(medium.durable[block * 512], `block ${block} after a flush`).toBe(byte);
  }
  await write(0, 1);
  await Promise.all([write(1, 2), write(2, 3), flush(), disk.read(0, 4)]);
  // Overlapping and all unanswered: the last one wins.
  await Promise.all([disk.write(8, filled(4, 2)), disk.write(9, filled(5, 2)), disk.write(8, filled(6))]);
  expect((await disk.read(8, 3)).filter((_, at) => at % 512 === 0)).toEqual(Uint8Array.of(6, 5, 5));
  await Promise.all([write(3, 7), disk.writeZeroes(9, 1), disk.trim(12, 2), write(4, 8)]);
  await flush();
  await Promise.all([write(0, 9), disk.read(1, 2)]);
  for (const [block, byte] of model.entries()) if (block < 8) expect((await disk.read(block, 1))[0]).toBe(byte);
  expect(await disk.read(9, 1)).toEqual(filled(0));
}

/** Runs the workload and kills the rump process at the n-th chunk that reaches `end`. @returns chunks that reached it. */
async function runWithCut(end: "hostEnd" | "rumpEnd", cutAt: number, everyTime: boolean): Promise<number> {
  const rig = hostRig("hold", { maxLosses: 1000 });
  const medium = new MemoryDisk({ blockCount: 16 });
  let chunks = 0;
  const start = (): void => {
    const rump = connectRump(rig);
    let sinceStart = 0;
    rump[end].tamper = (chunk) => {
      chunks++;
      sinceStart++;
      if (everyTime ? sinceStart !== cutAt : chunks !== cutAt) return chunk;
      rump.rumpEnd.destroy();
      return new Uint8Array(0);
    };
    rump.server.publish("sd", medium);
    rump.server.ready();
  };
  start();
  await until("the node", () => {
    if (!rig.host.connected) start();
    return rig.host.nodes.length === 1;
  });
  const device = rig.node().device;
  let result: "running" | "ok" | Error = "running";
  const work = workload(device, medium).then(
    () => (result = "ok"),
    (error: Error) => (result = error),
  );
  // Whatever kills it, another one is started: in a later turn, as a supervisor does.
  await until(`the workload with a cut of ${end} at ${cutAt}`, () => {
    if (!rig.host.connected) start();
    return result !== "running";
  });
  expect(await work).toBe("ok");
  rig.host.abandon("the test is over");
  expect(medium.inProgress).toBe(0);
  expect(new Set(rig.lost.map((error) => error.code))).toEqual(
    rig.lost.length === 0 ? new Set() : new Set(["PUD_CLOSED"]),
  );
  return chunks;
}

describe.each(["hostEnd", "rumpEnd"] as const)("a rump process killed at the n-th chunk to %s", (end) => {
  // A chunk is a header or a payload, so that every frame is cut before, in the middle and after.
  test("once, for every n", async () => {
    const chunks = await runWithCut(end, 0, false);
    expect(chunks).toBeGreaterThan(20);
    for (let cutAt = 1; cutAt <= chunks; cutAt++) await runWithCut(end, cutAt, false);
  });

  test.each([8, 9, 11, 14])("at the %i-th of every life", async (cutAt) => {
    await runWithCut(end, cutAt, true);
  });
});
