/** The UAS side of the flash drive model, by its wire: IUs as bytes, no driver. */
import { describe, expect, test } from "vitest";
import type { Fault } from "../../src/vdev/faults.js";
import { FlashDrive, type FlashDriveOptions } from "../../src/vdev/flash-drive.js";
import { MemoryStore } from "../../src/vdev/image.js";
import { done, ManualClock, pattern, TestBus, type TestTransfer } from "./bus.js";

const COMMAND = 0x04;
const STATUS = 0x83;
const DATA_IN = 0x81;
const DATA_OUT = 0x02;
const SIZE = 64 * 512;

const zeroes = (count: number): number[] => Array.from({ length: count }, () => 0);
const TEST_UNIT_READY = [0x00];
const INQUIRY = [0x12, 0, 0, 0, 36];
const read10 = (block: number, count: number): number[] => [0x28, 0, 0, 0, 0, block, 0, 0, count];
const write10 = (block: number, count: number): number[] => [0x2a, 0, 0, 0, 0, block, 0, 0, count];

interface Iu {
  readonly id: number;
  readonly tag: number;
  readonly bytes: Uint8Array;
}

function rig(options: Partial<FlashDriveOptions> = {}) {
  const image = pattern(SIZE);
  const clock = new ManualClock();
  const unit = { store: new MemoryStore(image), blockBytes: 512 };
  const drive = new FlashDrive({ clock, uas: {}, units: [unit], ...options });
  const bus = new TestBus(drive).configure();
  const streams = options.speed === "super";
  const onStream = (tag: number): { streamId?: number } => (streams ? { streamId: tag } : {});
  done(bus.control(0x01, 11, 1, 0));
  const send = (bytes: readonly number[]): TestTransfer => bus.out(Uint8Array.from(bytes), COMMAND);
  const statusRead = (tag = 0): TestTransfer => bus.start("bulk", STATUS, { maxBytes: 256, ...onStream(tag) });
  const iuOf = (transfer: TestTransfer): Iu => {
    const bytes = done(transfer).data;
    return { id: bytes[0] ?? -1, tag: ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0), bytes };
  };
  return {
    image,
    clock,
    drive,
    bus,
    send,
    statusRead,
    iuOf,
    command: (tag: number, cdb: readonly number[], lun = 0): TestTransfer =>
      send([1, 0, tag >> 8, tag & 0xff, 0, 0, 0, 0, 0, lun, 0, 0, 0, 0, 0, 0, ...cdb, ...zeroes(16 - cdb.length)]),
    manage: (tag: number, code: number, taskTag = 0, lun = 0): TestTransfer =>
      send([5, 0, tag >> 8, tag & 0xff, code, 0, taskTag >> 8, taskTag & 0xff, 0, lun, 0, 0, 0, 0, 0, 0]),
    status: (tag = 0): Iu => iuOf(statusRead(tag)),
    dataIn: (tag: number, bytes: number): TestTransfer =>
      bus.start("bulk", DATA_IN, { maxBytes: bytes, ...onStream(tag) }),
    dataOut: (tag: number, out: Uint8Array): TestTransfer => bus.start("bulk", DATA_OUT, { out, ...onStream(tag) }),
  };
}

const GOOD = 0x00;
const CHECK = 0x02;
/** Key, ASC, ASCQ of a SENSE IU with status CHECK CONDITION, fixed format. */
const senseOf = ({ bytes }: Iu): number[] => [bytes[16 + 2] ?? -1, bytes[16 + 12] ?? -1, bytes[16 + 13] ?? -1];

describe("descriptors", () => {
  const walk = (block: Uint8Array): Uint8Array[] => {
    const found: Uint8Array[] = [];
    for (let at = 0; at < block.length; at += block[at] ?? 256) found.push(block.subarray(at, at + (block[at] ?? 0)));
    return found;
  };

  test.each(["high", "super"] as const)(
    "%s: BOT in setting 0, UAS in 1, a pipe usage descriptor behind each endpoint",
    (speed) => {
      const all = walk(rig({ speed }).drive.configurationDescriptor);
      const settings = all.filter(([, type]) => type === 4).map((d) => [d[3], d[4], d[5], d[6], d[7]]);
      expect(settings).toEqual([
        [0, 2, 8, 6, 0x50],
        [1, 4, 8, 6, 0x62],
      ]);
      expect(all.filter(([, type]) => type === 0x24).map((d) => [...d])).toEqual(
        [1, 2, 3, 4].map((id) => [4, 0x24, id, 0]),
      );
      const companions = all.filter(([, type]) => type === 48).map((d) => d[3]);
      // No streams on the command pipe, nor on the pipes of BOT.
      expect(companions).toEqual(speed === "super" ? [0, 0, 0, 5, 5, 5] : []);
    },
  );

  test("nothing but UAS", () => {
    const { drive } = rig({ uas: { only: true } });
    expect(walk(drive.configurationDescriptor).filter(([, type]) => type === 4).length).toBe(1);
  });
});

describe("without streams", () => {
  test("a command without data: status at once", () => {
    const { command, status } = rig();
    command(7, TEST_UNIT_READY);
    const iu = status();
    expect([iu.id, iu.tag, iu.bytes[6], iu.bytes.length]).toEqual([3, 7, GOOD, 16]);
  });

  test("READ: READ READY, data, SENSE", () => {
    const { command, status, dataIn, image } = rig();
    command(0x1234, read10(2, 3));
    expect(status()).toMatchObject({ id: 6, tag: 0x1234 });
    expect(done(dataIn(0, 3 * 512)).data).toEqual(image.slice(1024, 1024 + 1536));
    expect(status()).toMatchObject({ id: 3, tag: 0x1234 });
  });

  test("WRITE: WRITE READY, data, SENSE", () => {
    const { command, status, dataOut, drive } = rig();
    command(9, write10(4, 2));
    expect(status()).toMatchObject({ id: 7, tag: 9 });
    expect(done(dataOut(0, pattern(1024, 5))).bytes).toBe(1024);
    expect(status().bytes[6]).toBe(GOOD);
    expect(drive.scsi.units[0]?.readyMedium().read(4 * 512, 1024)).toEqual(pattern(1024, 5));
  });

  test("data is not taken before the host has read that it may come", () => {
    const { command, dataOut, status } = rig();
    command(9, write10(4, 1));
    const early = dataOut(0, pattern(512, 5));
    expect(early.completion).toBeUndefined();
    status();
    expect(early.completion?.status).toBe("ok");
  });

  test("one in each direction at a time; the next READY when the pipe is free", () => {
    const { command, status, statusRead, dataIn, dataOut } = rig();
    command(1, read10(0, 1));
    command(2, read10(1, 1));
    command(3, write10(2, 1));
    expect([status(), status()].map(({ id, tag }) => [id, tag])).toEqual([
      [6, 1],
      [7, 3],
    ]);
    const next = statusRead();
    expect(next.completion).toBeUndefined();
    done(dataIn(0, 512));
    expect(next.completion?.data[3]).toBe(1);
    expect(status()).toMatchObject({ id: 6, tag: 2 });
    done(dataOut(0, new Uint8Array(512)));
    expect(status()).toMatchObject({ id: 3, tag: 3 });
  });

  test("newest first", () => {
    const { command, status, dataIn } = rig({ uas: { order: "newest" } });
    for (const tag of [1, 2, 3]) command(tag, read10(tag, 1));
    const order: number[] = [];
    for (let turn = 0; turn < 3; turn++) {
      order.push(status().tag);
      done(dataIn(0, 512));
      status();
    }
    expect(order).toEqual([1, 3, 2]);
  });

  test("less than the host has room for: whole packets are ended with an empty one", () => {
    const { command, status, dataIn } = rig();
    command(1, read10(0, 1));
    status();
    const data = done(dataIn(0, 2048));
    expect([data.status, data.bytes]).toEqual(["ok", 512]);
    expect(status().bytes[6]).toBe(GOOD);
  });

  test("a failed command has its sense data in the SENSE IU, and REQUEST SENSE has nothing left", () => {
    const { command, status, dataIn } = rig();
    command(1, read10(200, 1));
    const iu = status();
    expect([iu.bytes[6], senseOf(iu)]).toEqual([CHECK, [5, 0x21, 0]]);
    command(2, [0x03, 0, 0, 0, 18]);
    status();
    expect(done(dataIn(0, 18)).data[2]).toBe(0);
  });
});

describe("with streams", () => {
  test("data and status on the stream of the tag, whichever is there first", () => {
    const { command, statusRead, dataIn, iuOf, image } = rig({ speed: "super" });
    const [one, two] = [statusRead(1), statusRead(2)];
    const late = dataIn(2, 512);
    command(1, read10(0, 1));
    command(2, read10(1, 1));
    expect(late.completion?.data).toEqual(image.slice(512, 1024));
    expect([one.completion, iuOf(two).tag]).toEqual([undefined, 2]);
    done(dataIn(1, 512));
    expect(iuOf(one)).toMatchObject({ id: 3, tag: 1 });
  });

  test("a tag that is no stream is not answered: there is nowhere to", () => {
    const { command, statusRead, drive } = rig({ speed: "super" });
    command(33, TEST_UNIT_READY);
    command(0, TEST_UNIT_READY);
    expect(statusRead(33).completion).toBeUndefined();
    expect(drive.taskCount).toBe(0);
  });
});

describe("task management (SAM-5 §7)", () => {
  const answer = ({ bytes }: Iu): number => bytes[7] ?? -1;

  test("ABORT TASK ends the one; a tag that is not there is no error", () => {
    const { command, manage, status, drive } = rig();
    command(1, read10(0, 1));
    command(2, read10(0, 1));
    manage(9, 0x01, 1);
    expect(status()).toMatchObject({ id: 4, tag: 9 });
    expect(drive.taskCount).toBe(1);
    expect(status()).toMatchObject({ id: 6, tag: 2 });
    manage(10, 0x01, 77);
    expect(answer(status())).toBe(0);
  });

  test("LOGICAL UNIT RESET ends those of its unit, and is told by a unit attention", () => {
    const units = [0, 1].map(() => ({ store: new MemoryStore(SIZE), blockBytes: 512 }));
    const { command, manage, status, drive } = rig({ units });
    command(1, read10(0, 1));
    command(2, read10(0, 1), 1);
    status();
    manage(9, 0x08, 0, 0);
    expect(answer(status())).toBe(0);
    expect(drive.taskCount).toBe(1);
    command(3, TEST_UNIT_READY);
    for (let iu = status(); ; iu = status()) {
      if (iu.tag !== 3) continue;
      expect(senseOf(iu)).toEqual([6, 0x29, 0x03]);
      break;
    }
  });

  test("I_T NEXUS RESET ends them all", () => {
    const { command, manage, status, drive } = rig();
    for (const tag of [1, 2, 3]) command(tag, read10(0, 1));
    manage(9, 0x10);
    expect([status(), drive.taskCount]).toMatchObject([{ id: 4, tag: 9 }, 0]);
    command(4, TEST_UNIT_READY);
    expect(senseOf(status())).toEqual([6, 0x29, 0x07]);
  });

  test.each<readonly [string, number, number, number]>([
    ["a unit that is not there", 0x08, 5, 0x09],
    ["a function that it does not have", 0x40, 0, 0x04],
  ])("%s", (_, code, lun, expected) => {
    const { manage, status } = rig();
    manage(9, code, 0, lun);
    expect(answer(status())).toBe(expected);
  });

  test("QUERY TASK", () => {
    const { command, manage, status } = rig();
    command(1, read10(0, 1));
    status();
    manage(8, 0x80, 1);
    manage(9, 0x80, 2);
    expect([answer(status()), answer(status())]).toEqual([0x08, 0x00]);
  });
});

describe("hosts that are wrong", () => {
  test.each<readonly [string, readonly number[]]>([
    ["an IU of no bytes", []],
    ["an IU of one byte", [1]],
    ["a COMMAND IU of 31 bytes", [1, 0, 0, 5, ...zeroes(27)]],
    ["an id that is not defined", [0x55, 0, 0, 5, ...zeroes(28)]],
    ["a SENSE IU", [3, 0, 0, 5, ...zeroes(12)]],
    ["additional CDB bytes", [1, 0, 0, 5, 0, 0, 4, 0, ...zeroes(24)]],
    ["tag 0", [1, 0, 0, 0, ...zeroes(28)]],
  ])("%s: invalid information unit", (_, bytes) => {
    const { send, status, drive } = rig();
    send(bytes);
    const iu = status();
    expect([iu.id, iu.bytes[7], drive.taskCount]).toEqual([4, 0x02, 0]);
  });

  test("a tag that is in use: overlapped tag", () => {
    const { command, status } = rig();
    command(1, read10(0, 1));
    command(1, TEST_UNIT_READY);
    expect([status(), status()].map(({ id, bytes }) => [id, bytes[7]])).toEqual([
      [6, undefined],
      [4, 0x0a],
    ]);
  });

  test("a unit that is not there: INQUIRY says so, the others fail", () => {
    const { command, status, dataIn } = rig();
    command(1, TEST_UNIT_READY, 7);
    expect(senseOf(status())).toEqual([5, 0x25, 0]);
    command(2, INQUIRY, 7);
    status();
    expect(done(dataIn(0, 36)).data[0]).toBe(0x7f);
  });

  test("more commands than it takes: TASK SET FULL", () => {
    const { command, status, drive } = rig({ uas: { maxTasks: 2 } });
    for (const tag of [1, 2, 3]) command(tag, read10(0, 1));
    const ius = [status(), status()];
    expect([ius.find(({ tag }) => tag === 3)?.bytes[6], drive.taskCount]).toEqual([0x28, 2]);
  });

  test("one that never reads its status is not listened to for ever", () => {
    const { manage } = rig();
    const sent = Array.from({ length: 400 }, (_, at) => manage(1 + at, 0x80, 1));
    expect(sent.filter(({ completion }) => completion !== undefined).length).toBe(256);
  });

  test("a write that is cut short ends as ABORTED COMMAND", () => {
    const { command, status, dataOut } = rig();
    command(1, write10(0, 2));
    status();
    done(dataOut(0, new Uint8Array(700)));
    expect(senseOf(status())[0]).toBe(0xb);
  });
});

describe("it starts anew", () => {
  test.each<readonly [string, (on: ReturnType<typeof rig>) => void]>([
    ["with its alternate setting", ({ bus }) => void done(bus.control(0x01, 11, 1, 0))],
    ["with its configuration", ({ bus }) => void bus.configure()],
    ["with a bus reset", ({ drive }) => drive.reset()],
  ])("%s", (_, act) => {
    const on = rig();
    on.command(1, read10(0, 1));
    act(on);
    expect(on.drive.taskCount).toBe(0);
  });

  test("in setting 0 it speaks BOT, with the class requests; in 1 it stalls them", () => {
    const { bus } = rig();
    expect(done(bus.control(0xa1, 0xfe, 0, 0, 1)).status).toBe("stalled");
    done(bus.control(0x01, 11, 0, 0));
    expect([...done(bus.control(0xa1, 0xfe, 0, 0, 1)).data]).toEqual([0]);
    expect(bus.read([0x00, 0, 0, 0, 0, 0], 0).status).toBe(0);
  });
});

describe("faults", () => {
  const fault = (phase: Fault["phase"], action: Fault["action"]): Partial<FlashDriveOptions> => ({
    faults: [{ phase, nth: 1, action }],
  });

  test.each<readonly [string, Partial<FlashDriveOptions>, (iu: Iu) => unknown, unknown]>([
    ["another tag", fault("csw", { kind: "tag", offset: 5 }), ({ tag }) => tag, 12],
    ["another id", fault("csw", { kind: "iu", value: 9 }), ({ id }) => id, 9],
    ["another status", fault("csw", { kind: "status", value: 0x40 }), ({ bytes }) => bytes[6], 0x40],
    ["another length", fault("csw", { kind: "length", bytes: 2 }), ({ bytes }) => bytes.length, 2],
    ["another byte", fault("csw", { kind: "corrupt", at: 15, value: 3 }), ({ bytes }) => bytes[15], 3],
    ["refused", fault("cbw", { kind: "refuse", value: 8 }), ({ bytes }) => bytes[6], 8],
    ["a RESPONSE IU", fault("cbw", { kind: "response", value: 2 }), ({ id, bytes }) => [id, bytes[7]], [4, 2]],
  ])("%s", (_, options, see, expected) => {
    const { command, status } = rig(options);
    command(7, TEST_UNIT_READY);
    expect(see(status())).toEqual(expected);
    command(7, TEST_UNIT_READY);
    expect(status()).toMatchObject({ id: 3, tag: 7 });
  });

  test("twice", () => {
    const { command, status } = rig(fault("csw", { kind: "duplicate" }));
    command(7, TEST_UNIT_READY);
    expect([status(), status()]).toMatchObject([{ tag: 7 }, { tag: 7 }]);
  });

  test("never, and late", () => {
    const never = rig(fault("csw", { kind: "nak" }));
    never.command(7, TEST_UNIT_READY);
    expect(never.statusRead().completion).toBeUndefined();
    const late = rig(fault("ready", { kind: "delay", ms: 30 }));
    late.command(7, read10(0, 1));
    const read = late.statusRead();
    expect(read.completion).toBeUndefined();
    late.clock.advance(30);
    expect(late.iuOf(read)).toMatchObject({ id: 6, tag: 7 });
  });

  test("a status pipe that is halted says it again when the halt is cleared", () => {
    const { command, statusRead, status, bus } = rig(fault("csw", { kind: "stall", afterBytes: 0 }));
    command(7, TEST_UNIT_READY);
    expect(done(statusRead()).status).toBe("stalled");
    bus.clearHalt(STATUS);
    expect(status()).toMatchObject({ id: 3, tag: 7 });
  });

  test("an aborted command that a fault holds does not come back", () => {
    const { command, manage, status, clock, drive } = rig(fault("cbw", { kind: "delay", ms: 50 }));
    command(7, write10(0, 1));
    manage(8, 0x01, 7);
    status();
    clock.advance(100);
    expect([drive.taskCount, clock.pendingTimers]).toEqual([0, 0]);
  });
});
