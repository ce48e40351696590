/** Payloads in memory that both processes have mapped: the book of slots, and both halves of pud with it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DeviceError, type Disk, type ReadOptions } from "../../src/rump/devsw.js";
import { FrameReader } from "../../src/pud/frame-reader.js";
import { type FrameHeader, KINDS, STATUS_NUMBERS } from "../../src/pud/frames.js";
import { createPudServer } from "../../src/pud/server.js";
import { SHARED_MEMORY_BYTES, SharedSlots, SLOT_BYTES, SLOT_COUNT, slotOf } from "../../src/pud/shared-memory.js";
import { diskContract } from "../contract/disk.js";
import { MemoryDisk, type MemoryDiskOptions } from "../fakes/memory-disk.js";
import { PassingDisk } from "../fakes/passing-disk.js";
import { frame, hello, nodeFrame, RawRump } from "../fakes/pud-frames.js";
import { connectRump, type HostRig, hostRig, ManualClock, turn, until } from "../fakes/pud-pair.js";
import { streamPair } from "../fakes/stream-pair.js";

const MIN_BYTES = 512;

interface Shared {
  readonly memory: ArrayBuffer;
  readonly slots: SharedSlots;
}

function shared(slotCount = SLOT_COUNT): Shared {
  const memory = new ArrayBuffer(slotCount * SLOT_BYTES);
  return { memory, slots: new SharedSlots(memory, MIN_BYTES) };
}

/** Reads into the place that is asked for, as scsipi's disk does; MemoryDisk answers with memory of its own. */
class PlacingDisk extends MemoryDisk {
  override async read(firstBlock: number, blockCount: number, options: ReadOptions = {}): Promise<Uint8Array> {
    const data = await super.read(firstBlock, blockCount, options);
    if (options.into === undefined) return data;
    options.into.set(data);
    return options.into;
  }
}

for (const [name, Kind] of Object.entries({ "copied there": MemoryDisk, "read there": PlacingDisk }))
  diskContract(`memory disk through pud with shared memory, data ${name}`, async () => {
    const options: MemoryDiskOptions = { maxTransferBytes: 64 * 1024 };
    const [below, belowReadOnly] = [new Kind(options), new Kind({ ...options, readOnly: true })];
    const rig = hostRig("fail");
    const { memory, slots } = shared();
    const { server } = connectRump(rig, { memory: slots, mapped: memory });
    server.publish("sd", below);
    server.publish("sd", belowReadOnly);
    await until("two nodes", () => rig.nodes.length === 2);
    const [disk, readOnly] = rig.nodes.map((node) => new PassingDisk(node.device));
    if (disk === undefined || readOnly === undefined) throw new Error("nodes without a device");
    return {
      disk,
      readOnly,
      powerCut: () => below.powerCut(),
      hold: () => below.hold(),
      close: async () => {
        rig.host.abandon("the test is over");
        await turn();
        slots.processGone();
        expect(slots.freeCount).toBe(SLOT_COUNT);
      },
    };
  });

describe("the book of slots", () => {
  test("no slot is with two at a time, and all come back", () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("take" as const), bytes: fc.integer({ min: 0, max: SLOT_BYTES + 1 }) }),
      fc.record({ do: fc.constantFrom("give" as const, "doubt" as const), which: fc.nat() }),
      fc.record({ do: fc.constant("gone" as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { slots } = shared(3);
        const held: Uint8Array[] = [];
        /** What a process may still be busy with, held or given back. */
        const doubtful = new Set<number>();
        for (const one of steps) {
          if (one.do === "take") {
            const data = slots.take(one.bytes);
            const isSize = one.bytes >= MIN_BYTES && one.bytes <= SLOT_BYTES;
            const inUse = new Set([...held.map((other) => slots.slotOf(other)), ...doubtful]);
            expect(data !== undefined).toBe(isSize && inUse.size < 3);
            if (data === undefined) continue;
            expect(data.length).toBe(one.bytes);
            expect(inUse.has(slots.slotOf(data))).toBe(false);
            held.push(data);
          } else if (one.do === "gone") {
            slots.processGone();
            doubtful.clear();
          } else {
            const data = held[one.which % held.length];
            if (data === undefined) continue;
            if (one.do === "doubt") {
              slots.doubt(data);
              doubtful.add(slots.slotOf(data));
            } else {
              held.splice(held.indexOf(data), 1);
              expect(slots.give(data)).toBe(true);
            }
          }
        }
        for (const data of held) slots.give(data);
        slots.processGone();
        expect(slots.freeCount).toBe(3);
      }),
    );
  });

  test("memory from elsewhere is none of its business", () => {
    const { slots } = shared(1);
    const other = new Uint8Array(4096);
    slots.doubt(other);
    expect([slots.slotOf(other), slots.give(other), slots.freeCount]).toEqual([0, false, 1]);
  });

  test("there is no slot 0, and none behind the last", () => {
    const { memory } = shared(2);
    expect([0, 1, 2, 3].map((slot) => slotOf(memory, slot)?.byteOffset)).toEqual([undefined, 0, SLOT_BYTES, undefined]);
  });
});

function outcome(result: Promise<unknown>): Promise<string> {
  return result.then(
    () => "ok",
    (error: unknown) => (error instanceof DeviceError ? error.code : String(error)),
  );
}

/** A process in the test's hands that has announced one disk. */
async function rawRump(rig: HostRig, slots: SharedSlots, memoryBytes = slots.bytes): Promise<RawRump> {
  const rump = new RawRump(rig, undefined, { memory: slots });
  rump.send(hello(memoryBytes), nodeFrame(1, 0));
  await until("the node", () => rig.nodes.length > 0);
  await turn();
  return rump;
}

async function lose(rig: HostRig, rump: RawRump): Promise<void> {
  const losses = rig.lost.length;
  rump.stream.destroy();
  await until("the loss", () => rig.lost.length > losses);
}

function filled(disk: Disk, byte: number, bytes = 4096): Uint8Array {
  const data = disk.lend?.(bytes) ?? new Uint8Array(0);
  return data.fill(byte);
}

describe("the host's half", () => {
  test("data that are shared come in no frame, either way", async () => {
    const { memory, slots } = shared();
    const rig = hostRig("hold");
    const rump = await rawRump(rig, slots);
    const disk = rig.node().device;
    const data = filled(disk, 7);
    const write = disk.write(3, data);
    const read = disk.read(0, 8, { passesOn: true });
    await until("both", () => rump.received.length === 2);
    const [first, second] = rump.received.map(({ header }) => header);
    expect([first?.payloadBytes, second?.payloadBytes]).toEqual([0, 0]);
    expect(slotOf(memory, first?.status ?? 0)?.subarray(0, 4096)).toEqual(new Uint8Array(4096).fill(7));
    slotOf(memory, second?.status ?? 0)?.fill(9);
    for (const header of [first, second]) rump.send(frame(KINDS.reply, { node: 1, requestId: header?.requestId ?? 0 }));
    await write;
    const got = await read;
    expect(got).toEqual(new Uint8Array(4096).fill(9));
    expect(slots.freeCount).toBe(SLOT_COUNT - 2);
    for (const one of [data, got]) disk.recycle?.(one);
    expect(slots.freeCount).toBe(SLOT_COUNT);
  });

  test("whoever looks at what it reads gets memory that nobody else can change", async () => {
    const { memory, slots } = shared();
    const rig = hostRig("hold");
    const { server } = connectRump(rig, { memory: slots, mapped: memory });
    server.publish("sd", new MemoryDisk().fillPattern());
    await until("the node", () => rig.nodes.length === 1);
    expect((await rig.node().device.read(0, 8)).buffer).not.toBe(memory);
  });

  test("a process that has not mapped it gets and sends payloads", async () => {
    const { slots } = shared();
    const rig = hostRig("hold");
    const rump = await rawRump(rig, slots, 0);
    const disk = rig.node().device;
    const write = disk.write(3, filled(disk, 7));
    await until("the write", () => rump.received.length === 1);
    expect(rump.received[0]?.header.status).toBe(0);
    expect(rump.received[0]?.payload).toEqual(new Uint8Array(4096).fill(7));
    rump.send(frame(KINDS.reply, { node: 1, requestId: rump.received[0]?.header.requestId ?? 0 }));
    await write;
  });

  test("a payload in the reply to a read that has a slot is an offence", async () => {
    const { slots } = shared();
    const rig = hostRig("hold");
    const rump = await rawRump(rig, slots);
    const read = outcome(rig.node().device.read(0, 8, { passesOn: true }));
    await until("the read", () => rump.received.length === 1);
    const { requestId } = rump.received[0]?.header ?? { requestId: 0 };
    rump.send(frame(KINDS.reply, { node: 1, requestId }, new Uint8Array(4096)));
    await until("the loss", () => rig.lost.length === 1);
    expect(rig.lost[0]?.code).toBe("PUD_LENGTH");
    rig.host.abandon("quarantine");
    expect(await read).toBe("ENODEV");
  });

  test("what was in flight is asked again with its data, whether the next process has the memory or not", async () => {
    for (const memoryBytes of [SHARED_MEMORY_BYTES, 0]) {
      const { memory, slots } = shared();
      const rig = hostRig("hold");
      const rump = await rawRump(rig, slots);
      const disk = rig.node().device;
      const write = disk.write(3, filled(disk, 7));
      const read = disk.read(0, 8, { passesOn: true });
      await until("both", () => rump.received.length === 2);
      await lose(rig, rump);
      const next = await rawRump(rig, slots, memoryBytes);
      await until("both again", () => next.received.length === 2);
      const [first, second] = next.received;
      const isShared = memoryBytes > 0;
      const sent = isShared ? slotOf(memory, first?.header.status ?? 0)?.subarray(0, 4096) : first?.payload;
      expect(sent).toEqual(new Uint8Array(4096).fill(7));
      if (isShared) slotOf(memory, second?.header.status ?? 0)?.fill(8);
      next.send(
        frame(KINDS.reply, { node: 1, requestId: first?.header.requestId ?? 0 }),
        frame(
          KINDS.reply,
          { node: 1, requestId: second?.header.requestId ?? 0 },
          new Uint8Array(isShared ? 0 : 4096).fill(8),
        ),
      );
      await write;
      const got = await read;
      expect(got).toEqual(new Uint8Array(4096).fill(8));
      disk.recycle?.(got);
      expect(slots.freeCount).toBe(SLOT_COUNT - 1); // the write's, which its caller still has
    }
  });

  test("a slot with which something was asked and not answered is not used again before the process is gone", async () => {
    const { slots } = shared(1);
    const rig = hostRig("hold", { maxLosses: 1 });
    const rump = await rawRump(rig, slots);
    const disk = rig.node().device;
    const read = outcome(disk.read(0, 8, { passesOn: true }));
    await until("the read", () => rump.received.length === 1);
    await lose(rig, rump);
    expect(await read).toBe("EIO");
    expect(slots.freeCount).toBe(0);
    await rawRump(rig, slots);
    expect(slots.freeCount).toBe(1);
  });

  test("a driver that says why it failed has let go; one that says ENODEV may not have", async () => {
    for (const [status, freeCount] of [
      [STATUS_NUMBERS.EIO, 1],
      [STATUS_NUMBERS.ENODEV, 0],
    ] as const) {
      const { slots } = shared(1);
      const rig = hostRig("fail");
      const rump = await rawRump(rig, slots);
      const read = outcome(rig.node().device.read(0, 8, { passesOn: true }));
      await until("the read", () => rump.received.length === 1);
      rump.send(frame(KINDS.reply, { node: 1, status, requestId: rump.received[0]?.header.requestId ?? 0 }));
      expect(await read).not.toBe("ok");
      expect(slots.freeCount).toBe(freeCount);
    }
  });
});

describe("the server's half", () => {
  test("a request for which there is no slot, or that has a payload besides, ends the channel", async () => {
    const lies = [
      frame(KINDS.read, { node: 1, requestId: 1, count: 1, status: SLOT_COUNT + 1 }),
      frame(KINDS.write, { node: 1, requestId: 1, count: 1, status: 1 }, new Uint8Array(512)),
      frame(KINDS.flush, { node: 1, requestId: 1, status: 1 }),
    ];
    for (const lie of lies) {
      const { memory, slots } = shared();
      const rig = hostRig("fail");
      const { server, hostEnd, lost } = connectRump(rig, { memory: slots, mapped: memory });
      server.publish("sd", new MemoryDisk());
      await until("the node", () => rig.nodes.length === 1);
      hostEnd.write([lie]);
      await until("the loss", () => lost.length === 1);
      expect(lost[0]?.code).toBe("PUD_LENGTH");
    }
  });

  test("a request for more than a slot holds is refused", async () => {
    const { memory } = shared();
    const [hostEnd, rumpEnd] = streamPair();
    const replies: FrameHeader[] = [];
    const reader = new FrameReader("rump", {
      admit: (header) => new Uint8Array(header.payloadBytes),
      take: (header) => void (header.kind === KINDS.reply.number && replies.push(header)),
    });
    hostEnd.onData((chunk) => reader.push(chunk));
    const server = createPudServer(rumpEnd, { clock: new ManualClock(), log: { write: () => {} }, memory });
    server.publish("sd", new MemoryDisk({ blockCount: 8192, maxTransferBytes: 2 * SLOT_BYTES }));
    const count = SLOT_BYTES / 512 + 1;
    hostEnd.write([
      frame(KINDS.read, { node: 1, requestId: 1, count, status: 1 }),
      frame(KINDS.write, { node: 1, requestId: 2, count, status: 2 }),
    ]);
    await until("both replies", () => replies.length === 2);
    expect(replies.map(({ status }) => status)).toEqual([STATUS_NUMBERS.EINVAL, STATUS_NUMBERS.EINVAL]);
  });

  test("what is larger than a slot travels in frames", async () => {
    const { memory, slots } = shared();
    const rig = hostRig("fail");
    const { server } = connectRump(rig, { memory: slots, mapped: memory });
    const disk = new MemoryDisk({ blockCount: 8192, maxTransferBytes: 2 * SLOT_BYTES });
    server.publish("sd", disk);
    await until("the node", () => rig.nodes.length === 1);
    const read = await rig.node().device.read(0, (2 * SLOT_BYTES) / 512, { passesOn: true });
    expect(read.buffer).not.toBe(memory);
    rig.host.abandon("the test is over");
  });
});
