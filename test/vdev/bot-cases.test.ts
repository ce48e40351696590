import { describe, expect, test } from "vitest";
import type { StageStyle } from "../../src/vdev/bot-cases.js";
import { FlashDrive } from "../../src/vdev/flash-drive.js";
import { MemoryStore } from "../../src/vdev/image.js";
import { BULK_IN, BULK_OUT, done, ManualClock, pattern, TestBus } from "./bus.js";

const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];
const read10 = (blocks: number): number[] => [0x28, 0, 0, 0, 0, 0, 0, 0, blocks, 0];
const write10 = (blocks: number): number[] => [0x2a, 0, 0, 0, 0, 0, 0, 0, blocks, 0];
const INQUIRY = [0x12, 0, 0, 0, 36, 0];

function rig(style: Partial<StageStyle> = {}) {
  const image = pattern(16 * 512);
  const clock = new ManualClock();
  const drive = new FlashDrive({ clock, style, units: [{ store: new MemoryStore(image), blockBytes: 512 }] });
  return { drive, image, bus: new TestBus(drive).configure() };
}

interface CaseRow {
  readonly name: string;
  readonly style?: Partial<StageStyle>;
  readonly cdb: readonly number[];
  readonly hostBytes: number;
  readonly direction: "in" | "out";
  /** Seen on the bus: bytes that crossed in the data stage, whether it was stalled, and the CSW. */
  readonly moved: number;
  readonly stalled: boolean;
  readonly status: number;
  readonly residueBytes: number;
}

describe("the thirteen cases (BOT 1.0 §6.7)", () => {
  const rows: readonly CaseRow[] = [
    {
      name: "1: Hn = Dn",
      cdb: TEST_UNIT_READY,
      hostBytes: 0,
      direction: "out",
      moved: 0,
      stalled: false,
      status: 0,
      residueBytes: 0,
    },
    {
      name: "2: Hn < Di",
      cdb: read10(1),
      hostBytes: 0,
      direction: "in",
      moved: 0,
      stalled: false,
      status: 2,
      residueBytes: 0,
    },
    {
      name: "3: Hn < Do",
      cdb: write10(1),
      hostBytes: 0,
      direction: "out",
      moved: 0,
      stalled: false,
      status: 2,
      residueBytes: 0,
    },
    {
      name: "4: Hi > Dn",
      cdb: TEST_UNIT_READY,
      hostBytes: 512,
      direction: "in",
      moved: 0,
      stalled: true,
      status: 0,
      residueBytes: 512,
    },
    {
      name: "4, padded",
      style: { shortIn: "pad" },
      cdb: TEST_UNIT_READY,
      hostBytes: 512,
      direction: "in",
      moved: 512,
      stalled: false,
      status: 0,
      residueBytes: 512,
    },
    {
      name: "4, short",
      style: { shortIn: "short" },
      cdb: TEST_UNIT_READY,
      hostBytes: 512,
      direction: "in",
      moved: 0,
      stalled: false,
      status: 0,
      residueBytes: 512,
    },
    {
      name: "5: Hi > Di, whole packets",
      cdb: read10(2),
      hostBytes: 4096,
      direction: "in",
      moved: 1024,
      stalled: true,
      status: 0,
      residueBytes: 3072,
    },
    {
      name: "5, after a short packet",
      cdb: INQUIRY,
      hostBytes: 255,
      direction: "in",
      moved: 36,
      stalled: false,
      status: 0,
      residueBytes: 219,
    },
    {
      name: "5, padded",
      style: { shortIn: "pad" },
      cdb: INQUIRY,
      hostBytes: 255,
      direction: "in",
      moved: 255,
      stalled: false,
      status: 0,
      residueBytes: 219,
    },
    {
      name: "5, short on a packet boundary",
      style: { shortIn: "short" },
      cdb: read10(1),
      hostBytes: 1024,
      direction: "in",
      moved: 512,
      stalled: false,
      status: 0,
      residueBytes: 512,
    },
    {
      name: "6: Hi = Di",
      cdb: read10(2),
      hostBytes: 1024,
      direction: "in",
      moved: 1024,
      stalled: false,
      status: 0,
      residueBytes: 0,
    },
    {
      name: "7: Hi < Di",
      cdb: read10(4),
      hostBytes: 1024,
      direction: "in",
      moved: 1024,
      stalled: false,
      status: 2,
      residueBytes: 0,
    },
    {
      name: "8: Hi <> Do",
      cdb: write10(1),
      hostBytes: 512,
      direction: "in",
      moved: 0,
      stalled: true,
      status: 2,
      residueBytes: 512,
    },
    {
      name: "9: Ho > Dn",
      cdb: TEST_UNIT_READY,
      hostBytes: 512,
      direction: "out",
      moved: 512,
      stalled: false,
      status: 0,
      residueBytes: 512,
    },
    {
      name: "9, stalled",
      style: { excessOut: "stall" },
      cdb: TEST_UNIT_READY,
      hostBytes: 512,
      direction: "out",
      moved: 0,
      stalled: true,
      status: 0,
      residueBytes: 512,
    },
    {
      name: "10: Ho <> Di",
      cdb: read10(1),
      hostBytes: 512,
      direction: "out",
      moved: 0,
      stalled: true,
      status: 2,
      residueBytes: 512,
    },
    {
      name: "11: Ho > Do",
      cdb: write10(1),
      hostBytes: 1024,
      direction: "out",
      moved: 1024,
      stalled: false,
      status: 0,
      residueBytes: 512,
    },
    {
      name: "11, stalled",
      style: { excessOut: "stall" },
      cdb: write10(1),
      hostBytes: 1024,
      direction: "out",
      moved: 512,
      stalled: true,
      status: 0,
      residueBytes: 512,
    },
    {
      name: "12: Ho = Do",
      cdb: write10(2),
      hostBytes: 1024,
      direction: "out",
      moved: 1024,
      stalled: false,
      status: 0,
      residueBytes: 0,
    },
    {
      name: "13: Ho < Do",
      cdb: write10(2),
      hostBytes: 512,
      direction: "out",
      moved: 0,
      stalled: true,
      status: 2,
      residueBytes: 512,
    },
  ];

  test.each(rows)("$name", (row) => {
    const { bus, image } = rig(row.style);
    const before = image.slice();
    const { packet, tag } = bus.cbw(row.cdb, row.hostBytes, row.direction);
    done(bus.out(packet));
    const sent = pattern(row.hostBytes, 7);
    if (row.hostBytes > 0) {
      const data = done(row.direction === "in" ? bus.in(row.hostBytes) : bus.out(sent));
      expect({ status: data.status, bytes: data.bytes }).toEqual({
        status: row.stalled ? "stalled" : "ok",
        bytes: row.moved,
      });
      if (row.cdb === INQUIRY) expect([...data.data.subarray(36)].every((byte) => byte === 0)).toBe(true);
      if (row.stalled) bus.clearHalt(row.direction === "in" ? BULK_IN : BULK_OUT);
    }
    expect(bus.csw()).toEqual({ tag, status: row.status, residueBytes: row.residueBytes });
    // Only what the command wanted is on the medium, and the next command works.
    const written = row.direction === "out" && row.status === 0 ? row.hostBytes - row.residueBytes : 0;
    expect(image.subarray(0, written)).toEqual(sent.subarray(0, written));
    expect(image.subarray(written)).toEqual(before.subarray(written));
    expect(bus.read(INQUIRY, 36).status).toBe(0);
  });

  test("5: after the short packet Bulk-In is halted until the host clears it", () => {
    const { bus } = rig();
    done(bus.out(bus.cbw(INQUIRY, 255, "in").packet));
    expect(done(bus.in(255))).toMatchObject({ status: "ok", bytes: 36 });
    expect(done(bus.in(13)).status).toBe("stalled");
    bus.clearHalt(BULK_IN);
    expect(bus.csw()).toMatchObject({ status: 0, residueBytes: 219 });
  });

  test("4: a data and a CSW transfer that were queued together are both stalled", () => {
    const { bus } = rig();
    const [data, csw] = [bus.in(512), bus.in(13)];
    done(bus.out(bus.cbw(TEST_UNIT_READY, 512, "in").packet));
    expect([done(data).status, done(csw).status]).toEqual(["stalled", "stalled"]);
    bus.clearHalt(BULK_IN);
    expect(bus.csw()).toMatchObject({ status: 0, residueBytes: 512 });
  });
});

describe("a CBW that is not one (BOT 1.0 §6.2, §6.6.1)", () => {
  const good = rig().bus.cbw(INQUIRY, 36, "in").packet;
  const changed = (at: number, value: number): Uint8Array => {
    const packet = good.slice();
    packet[at] = value;
    return packet;
  };
  test.each([
    ["30 bytes", good.subarray(0, 30)],
    ["32 bytes", Uint8Array.of(...good, 0)],
    ["no bytes", new Uint8Array(0)],
    ["a full packet", new Uint8Array(512)],
    ["a wrong signature", changed(0, 0)],
    ["reserved flags", changed(12, 0xc0)],
    ["a reserved LUN bit", changed(13, 0x10)],
    ["a command of no bytes", changed(14, 0)],
    ["a command of 17 bytes", changed(14, 17)],
  ])("%s halts both endpoints until reset recovery", (_name, packet) => {
    const { bus, drive } = rig();
    expect(done(bus.out(packet)).status).toBe("ok");
    expect([done(bus.in(13)).status, done(bus.out(good)).status]).toEqual(["stalled", "stalled"]);
    bus.clearHalt(BULK_IN);
    bus.clearHalt(BULK_OUT);
    expect([done(bus.in(13)).status, done(bus.out(good)).status]).toEqual(["stalled", "stalled"]);
    bus.botReset();
    expect(done(bus.in(13)).status).toBe("stalled");
    bus.clearHalt(BULK_IN);
    bus.clearHalt(BULK_OUT);
    expect(bus.read(INQUIRY, 36)).toMatchObject({ status: 0, residueBytes: 0 });
    expect(drive.counters.transportResets).toBe(1);
  });
});

describe("class requests (BOT 1.0 §3)", () => {
  const units = (count: number) =>
    Array.from({ length: count }, () => ({ store: new MemoryStore(512), blockBytes: 512 }));

  test.each([1, 3, 16])("GET_MAX_LUN of %i units", (count) => {
    const drive = new FlashDrive({ clock: new ManualClock(), units: units(count) });
    const bus = new TestBus(drive).configure();
    expect([...done(bus.control(0xa1, 0xfe, 0, 0, 1)).data]).toEqual([count - 1]);
  });

  test("0 and 17 units are refused", () => {
    for (const count of [0, 17])
      expect(() => new FlashDrive({ clock: new ManualClock(), units: units(count) })).toThrow(`${count} units`);
  });

  test("malformed class requests are stalled", () => {
    const { bus } = rig();
    expect(done(bus.control(0xa1, 0xfe, 0, 1, 1)).status).toBe("stalled");
    expect(done(bus.control(0xa1, 0xfe, 1, 0, 1)).status).toBe("stalled");
    expect(done(bus.control(0xa1, 0xfe, 0, 0, 2)).status).toBe("stalled");
    expect(done(bus.control(0x21, 0xff, 0, 0, Uint8Array.of(1))).status).toBe("stalled");
    expect(done(bus.control(0x21, 0xfd, 0, 0)).status).toBe("stalled");
  });

  test("a reset in the data stage: the device waits for a CBW, halts stay (§3.1)", () => {
    const { bus, image } = rig();
    done(bus.out(bus.cbw(read10(8), 4096, "in").packet));
    done(bus.in(512));
    bus.botReset();
    expect(bus.read(read10(1), 512).data).toEqual(image.slice(0, 512));
  });

  test("a transfer taken back in the data stage keeps what it moved; the rest follows", () => {
    const { bus, drive, image } = rig();
    const early = bus.in(512);
    drive.unlink(early.urb);
    expect(done(early)).toMatchObject({ status: "cancelled", bytes: 0 });
    expect(bus.read(read10(2), 1024).data).toEqual(image.slice(0, 1024));
  });
});
