import fc from "fast-check";
import { expect, test } from "vitest";
import { parseFaults } from "../../src/vdev/fault-text.js";
import { FlashDrive } from "../../src/vdev/flash-drive.js";
import { Hub } from "../../src/vdev/hub-model.js";
import { MemoryStore } from "../../src/vdev/image.js";
import type { DeviceModel } from "../../src/vdev/model.js";
import { BULK_IN, BULK_OUT, ManualClock, pattern, TestBus, type TestTransfer } from "./bus.js";

const byte = fc.nat(255);
const OPERATION_CODES = [
  0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41, 0x42,
];
const LONG_CODES = [0x55, 0x5a, 0x88, 0x8a, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xaf];

/** Any command with any bytes behind its code, in a CBW that is right, and any length of data. */
const command = fc.record({
  kind: fc.constant("command" as const),
  cdb: fc
    .tuple(
      fc.oneof(fc.constantFrom(...OPERATION_CODES, ...LONG_CODES), byte),
      fc.array(fc.oneof(fc.constant(0), byte), { maxLength: 15 }),
    )
    .map(([code, rest]) => [code, ...rest]),
  bytes: fc.oneof(fc.nat(2048), fc.constantFrom(0, 8, 36, 512, 0xffffffff)),
  direction: fc.constantFrom("in" as const, "out" as const),
  lun: fc.nat(15),
});
const step = fc.oneof(
  command,
  fc.record({ kind: fc.constant("in" as const), bytes: fc.nat(4096) }),
  fc.record({ kind: fc.constant("out" as const), bytes: fc.nat(2048) }),
  fc.record({
    kind: fc.constant("control" as const),
    type: fc.oneof(fc.constantFrom(0x00, 0x80, 0x21, 0xa1, 0x02, 0x23, 0xa3), byte),
    request: fc.oneof(fc.constantFrom(1, 3, 6, 9, 11, 0xfe, 0xff), byte),
    value: fc.oneof(fc.nat(20), fc.nat(0xffff)),
    index: fc.oneof(fc.constantFrom(0, 1, BULK_IN, BULK_OUT), fc.nat(0xffff)),
    length: fc.nat(64),
  }),
  fc.record({ kind: fc.constant("unlink" as const), which: fc.nat(50) }),
  fc.record({ kind: fc.constant("advance" as const), ms: fc.nat(100) }),
  fc.record({ kind: fc.constant("reset" as const) }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function perform(bus: TestBus, clock: ManualClock, started: TestTransfer[], one: Step): void {
  switch (one.kind) {
    case "command":
      started.push(bus.out(bus.cbw(one.cdb, one.bytes, one.direction, one.lun).packet));
      return;
    case "in":
      started.push(bus.in(one.bytes));
      return;
    case "out":
      started.push(bus.out(pattern(one.bytes, one.bytes)));
      return;
    case "control":
      started.push(
        bus.control(
          one.type,
          one.request,
          one.value,
          one.index,
          (one.type & 0x80) !== 0 ? one.length : new Uint8Array(one.length),
        ),
      );
      return;
    case "unlink": {
      const transfer = started[one.which];
      if (transfer !== undefined && transfer.completion === undefined) bus.model.unlink(transfer.urb);
      return;
    }
    case "advance":
      clock.advance(one.ms);
      return;
    case "reset":
      bus.model.reset();
      bus.configure();
      return;
  }
}

/** Whatever the host does: nothing throws, each transfer ends at most once and within its bounds, and a reset ends all. */
function survives(model: DeviceModel, clock: ManualClock, steps: readonly Step[]): TestBus {
  const bus = new TestBus(model).configure();
  const started: TestTransfer[] = [];
  for (const one of steps) perform(bus, clock, started, one);
  model.reset();
  for (const { urb, completion, completions } of started) {
    expect(completions).toBe(1);
    expect(completion?.data.length ?? 0).toBeLessThanOrEqual(urb.maxBytes);
    expect(completion?.bytes ?? 0).toBeLessThanOrEqual(Math.max(urb.maxBytes, urb.out.length));
  }
  return bus;
}

const FAULTS = [
  "",
  "csw:delay:ms=10:every;dataIn:stall:after=100:nth=2",
  "cbw:nak:nth=3;control:nak:nth=5",
  "transfer:stall:nth=4;csw:length:bytes=40:every;dataIn:extra:bytes=700:every",
  "dataIn:short:bytes=3:every;csw:stall:every;dataOut:stall:after=10",
  "transfer:powerCut:nth=6;control:delay:ms=5:nth=2",
];

test("a flash drive bears any host, with and without faults", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.constantFrom(...FAULTS), (steps, faults) => {
      const clock = new ManualClock();
      const units = [
        { store: new MemoryStore(32 * 512), blockBytes: 512, writeCache: true, removable: true },
        { store: new MemoryStore(32 * 4096), blockBytes: 4096 },
      ];
      const drive = new FlashDrive({ clock, units, faults: parseFaults(faults) });
      const bus = survives(drive, clock, steps);
      drive.faults.clear();
      expect(bus.configure().read([0x12, 0, 0, 0, 36, 0], 36)).toMatchObject({ status: 0, residueBytes: 0 });
    }),
    { numRuns: 400 },
  );
});

test("a hub bears any host", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const clock = new ManualClock();
      const hub = new Hub({ clock });
      hub.plugPort(1, new Hub({ clock }));
      survives(hub, clock, steps);
    }),
    { numRuns: 200 },
  );
});
