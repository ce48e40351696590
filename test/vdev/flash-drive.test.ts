import { describe, expect, test } from "vitest";
import { FlashDrive, type FlashDriveOptions } from "../../src/vdev/flash-drive.js";
import { MemoryStore } from "../../src/vdev/image.js";
import { BULK_IN, done, ManualClock, pattern, TestBus } from "./bus.js";

const BLOCKS = 64;
const READ_10 = (lba: number, count: number): number[] => [0x28, 0, 0, 0, 0, lba, 0, 0, count, 0];
const WRITE_10 = (lba: number, count: number): number[] => [0x2a, 0, 0, 0, 0, lba, 0, 0, count, 0];

function rig(options: Partial<FlashDriveOptions> = {}) {
  const image = pattern(BLOCKS * 512);
  const clock = new ManualClock();
  const drive = new FlashDrive({ clock, units: [{ store: new MemoryStore(image), blockBytes: 512 }], ...options });
  return { drive, clock, image, bus: new TestBus(drive).configure() };
}

describe("the three stages, however the host groups its transfers", () => {
  test("one after another", () => {
    const { bus, image } = rig();
    const reply = bus.read(READ_10(3, 4), 2048);
    expect(reply).toMatchObject({ status: 0, residueBytes: 0, stalled: false });
    expect(reply.data).toEqual(image.subarray(3 * 512, 7 * 512));
  });

  test("all queued before the CBW", () => {
    const { bus, image } = rig();
    const { packet, tag } = bus.cbw(READ_10(0, 2), 1024, "in");
    const data = bus.in(1024);
    const csw = bus.in(13);
    expect([data.completion, csw.completion]).toEqual([undefined, undefined]);
    const command = bus.out(packet);
    expect(done(command)).toMatchObject({ status: "ok", bytes: 31 });
    expect(done(data).data).toEqual(image.slice(0, 1024));
    expect(new DataView(done(csw).data.buffer).getUint32(4, true)).toBe(tag);
  });

  test("a command, its data and its status, twice in one go", () => {
    const { bus, image } = rig();
    const commands = [bus.cbw(WRITE_10(8, 1), 512, "out"), bus.cbw(READ_10(8, 1), 512, "in")];
    const data = pattern(512, 99);
    bus.out(commands[0]?.packet ?? data);
    bus.out(data);
    bus.out(commands[1]?.packet ?? data);
    expect(done(bus.in(13)).data[12]).toBe(0);
    expect(done(bus.in(512)).data).toEqual(data);
    expect(done(bus.in(13)).data[12]).toBe(0);
    expect(image.subarray(8 * 512, 9 * 512)).toEqual(data);
  });

  test("data in many small transfers", () => {
    const { bus, image } = rig();
    bus.out(bus.cbw(READ_10(0, 8), 4096, "in").packet);
    for (let at = 0; at < 4096; at += 512) expect(done(bus.in(512)).data).toEqual(image.slice(at, at + 512));
    expect(bus.csw()).toMatchObject({ status: 0, residueBytes: 0 });
    bus.out(bus.cbw(WRITE_10(16, 4), 2048, "out").packet);
    for (let at = 0; at < 2048; at += 512) expect(done(bus.out(pattern(512, at))).bytes).toBe(512);
    expect(bus.csw()).toMatchObject({ status: 0, residueBytes: 0 });
    expect(image.subarray(18 * 512, 19 * 512)).toEqual(pattern(512, 1024));
  });

  test("one large transfer takes data and CSW when the host reads on (USB 2.0 §5.8.3)", () => {
    const { bus, image } = rig();
    bus.out(bus.cbw(READ_10(0, 1), 512, "in").packet);
    const { status, data } = done(bus.in(4096));
    expect([status, data.length]).toEqual(["ok", 512 + 13]);
    expect(data.subarray(0, 512)).toEqual(image.subarray(0, 512));
  });

  test("a transfer that ends within a packet is babble; the packet comes again", () => {
    const { bus, image } = rig();
    bus.out(bus.cbw(READ_10(0, 2), 1024, "in").packet);
    expect(done(bus.in(700))).toMatchObject({ status: "overflow", bytes: 512 });
    expect(done(bus.in(512)).data).toEqual(image.slice(512, 1024));
    expect(bus.csw().status).toBe(0);
  });

  test("data is handed on without a copy", () => {
    const { bus, drive, image } = rig();
    bus.out(bus.cbw(READ_10(1, 1), 512, "in").packet);
    let lent: Uint8Array | undefined;
    drive.submit({
      type: "bulk",
      endpointAddress: BULK_IN,
      out: new Uint8Array(0),
      maxBytes: 512,
      complete: (_status, data) => void (lent = data),
    });
    expect([lent?.buffer, lent?.byteOffset]).toEqual([image.buffer, 512]);
  });

  test("a short packet from the host ends the data stage: the command fails with ABORTED COMMAND", () => {
    const { bus } = rig();
    bus.out(bus.cbw(WRITE_10(0, 2), 1024, "out").packet);
    bus.out(pattern(100));
    expect(bus.csw()).toMatchObject({ status: 1, residueBytes: 924 });
    expect(bus.sense()).toBe("b/4b/00");
  });
});

test("an observer hears of commands and their status in order, with names for logs", () => {
  const { bus, drive } = rig();
  const heard: string[] = [];
  drive.observe((event) => {
    if (event.kind === "command") heard.push(`${event.tag} ${event.name} lun ${event.lun}`);
    if (event.kind === "status") heard.push(`${event.tag} status ${event.status} residue ${event.residueBytes}`);
  });
  bus.read(READ_10(0, 1), 512);
  bus.read([0xc5, 0, 0, 0, 0, 0], 0);
  expect(heard).toEqual(["1 READ (10) lun 0", "1 status 0 residue 0", "2 c5h lun 0", "2 status 1 residue 0"]);
});
