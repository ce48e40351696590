import { describe, expect, test } from "vitest";
import { FlashDrive } from "../../src/vdev/flash-drive.js";
import { FaultTextError, parseFault, parseFaults } from "../../src/vdev/fault-text.js";
import { MemoryStore } from "../../src/vdev/image.js";
import { BULK_IN, BULK_OUT, done, ManualClock, pattern, TestBus } from "./bus.js";

const READ_2 = [0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0];
const WRITE_2 = [0x2a, 0, 0, 0, 0, 0, 0, 0, 2, 0];

function rig(faults: string) {
  const image = pattern(16 * 512);
  const clock = new ManualClock();
  const units = [{ store: new MemoryStore(image), blockBytes: 512, writeCache: true }];
  const drive = new FlashDrive({ clock, units, faults: parseFaults(faults) });
  let unplugged = 0;
  drive.onUnplug(() => unplugged++);
  return { drive, clock, image, bus: new TestBus(drive).configure(), unplugged: () => unplugged };
}

/** Starts a READ (10) of two blocks with its transfers queued together. */
function startRead(bus: TestBus) {
  const { packet, tag } = bus.cbw(READ_2, 1024, "in");
  const [data, csw] = [bus.in(1024), bus.in(13)];
  return { tag, command: bus.out(packet), data, csw };
}

describe("the status stage", () => {
  /** The fields of the CSW that the fault changes: signature, tag minus the CBW's, residue, status; and its length. */
  test.each([
    ["csw:signature", { signature: 0x55425355 }],
    ["csw:signature:value=0x12345678", { signature: 0x12345678 }],
    ["csw:tag", { tagOffset: 1 }],
    ["csw:tag:offset=4294967295", { tagOffset: -1 }],
    ["csw:residue:value=2000", { residue: 2000 }],
    ["csw:status", { status: 0xff }],
    ["csw:status:value=1", { status: 1 }],
    ["csw:phaseError", { status: 2 }],
    ["csw:corrupt:at=12:value=7", { status: 7 }],
    ["csw:tag;csw:residue:value=5", { tagOffset: 1, residue: 5 }],
  ])("%s", (fault, changed) => {
    const { bus } = rig(fault);
    const { tag, csw } = startRead(bus);
    const view = new DataView(done(csw).data.buffer);
    expect({
      signature: view.getUint32(0, true),
      tagOffset: view.getUint32(4, true) - tag,
      residue: view.getUint32(8, true),
      status: view.getUint8(12),
    }).toEqual({ signature: 0x53425355, tagOffset: 0, residue: 0, status: 0, ...changed });
    expect(bus.read(READ_2, 1024)).toMatchObject({ status: 0, residueBytes: 0 });
  });

  test.each([0, 12, 14, 600])("csw:length:bytes=%i", (bytes) => {
    const { bus } = rig(`csw:length:bytes=${bytes}`);
    bus.out(bus.cbw(READ_2, 1024, "in").packet);
    done(bus.in(1024));
    expect(done(bus.in(1024))).toMatchObject({ status: "ok", bytes });
    expect(bus.read(READ_2, 1024).status).toBe(0);
  });

  test("stalled once, twice: each attempt is an occurrence (BOT 1.0 §5.3.3)", () => {
    const { bus } = rig("csw:stall;csw:stall:nth=2");
    bus.out(bus.cbw(READ_2, 1024, "in").packet);
    done(bus.in(1024));
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(done(bus.in(13)).status).toBe("stalled");
      bus.clearHalt(BULK_IN);
    }
    expect(bus.csw().status).toBe(0);
  });
});

describe("the data stage", () => {
  test("stall after some bytes, before any, and of the third only", () => {
    const { bus } = rig("dataIn:stall:after=512:nth=1;dataIn:stall:nth=2");
    expect(bus.read(READ_2, 1024)).toMatchObject({ stalled: true, residueBytes: 512, status: 0 });
    expect(bus.read(READ_2, 1024)).toMatchObject({ stalled: true, residueBytes: 1024 });
    expect(bus.read(READ_2, 1024)).toMatchObject({ stalled: false, residueBytes: 0 });
  });

  test("short data, with an honest and with a lying residue", () => {
    const { bus, image } = rig("dataIn:short:bytes=100:every;csw:residue:value=0:nth=2");
    const honest = bus.read(READ_2, 1024);
    expect([honest.data.length, honest.residueBytes]).toEqual([100, 924]);
    expect(honest.data).toEqual(image.slice(0, 100));
    expect(bus.read(READ_2, 1024)).toMatchObject({ residueBytes: 0, data: image.slice(0, 100) });
  });

  test("short data on a packet boundary ends with a zero-length packet (USB 2.0 §5.8.3)", () => {
    const { bus } = rig("dataIn:short:bytes=512");
    const { data, csw } = startRead(bus);
    expect([done(data).status, done(data).bytes, done(csw).data[8]]).toEqual(["ok", 512, 0]);
  });

  test("extra data lands in the transfer for the status", () => {
    const { bus } = rig("dataIn:extra:bytes=3");
    const { data, csw } = startRead(bus);
    expect([done(data).bytes, [...done(csw).data]]).toEqual([1024, [0xee, 0xee, 0xee]]);
    expect(bus.csw()).toMatchObject({ status: 0, residueBytes: 0 });
  });

  test("extra data in a transfer that ends within a packet is babble", () => {
    const { bus } = rig("dataIn:extra");
    bus.out(bus.cbw([0x12, 0, 0, 0, 36, 0], 36, "in").packet);
    expect(done(bus.in(36)).status).toBe("overflow");
  });

  test("one byte of the data is wrong, and the medium is not", () => {
    const { bus, image } = rig("dataIn:corrupt:at=600:value=0xAB:op=28h");
    const before = image.slice();
    expect(bus.read([0x12, 0, 0, 0, 36, 0], 36).status).toBe(0);
    const { data } = bus.read(READ_2, 1024);
    expect([data[600], data[601], image]).toEqual([0xab, image[601], before]);
  });

  test.each([
    ["READ CAPACITY", "dataIn:reply:op=25h:hex=fffffffe00000200", [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8],
    ["INQUIRY", "dataIn:reply:op=12h:hex=05800002", [0x12, 0, 0, 0, 36, 0], 4],
    ["a command that it does not have", "dataIn:reply:op=C0h:hex=010203", [0xc0, 0, 0, 0, 0, 0], 3],
  ])("a lying reply to %s", (_name, fault, cdb, bytes) => {
    const { bus } = rig(fault);
    const { data, status, residueBytes } = bus.read(cdb, bytes);
    expect([Buffer.from(data).toString("hex"), status, residueBytes]).toEqual([fault.split("hex=")[1], 0, 0]);
  });

  test("Bulk-Out is halted half-way: the command is aborted", () => {
    const { bus } = rig("dataOut:stall:after=512");
    expect(bus.write(WRITE_2, pattern(1024, 4))).toMatchObject({
      sent: 512,
      stalled: true,
      status: 1,
      residueBytes: 512,
    });
    expect(bus.sense()).toBe("b/4b/00");
  });
});

describe("the command stage", () => {
  test("a CBW is stalled, the next one is taken", () => {
    const { bus } = rig("cbw:stall:nth=2:op=28h");
    expect(bus.read(READ_2, 1024).status).toBe(0);
    expect(done(bus.out(bus.cbw(READ_2, 1024, "in").packet))).toMatchObject({ status: "stalled", bytes: 0 });
    bus.clearHalt(BULK_OUT);
    expect(bus.read(READ_2, 1024).status).toBe(0);
  });

  test("a phase error before the data", () => {
    const { bus } = rig("cbw:phaseError");
    bus.out(bus.cbw(READ_2, 1024, "in").packet);
    expect(bus.csw()).toMatchObject({ status: 2, residueBytes: 1024 });
  });
});

describe("time", () => {
  test.each(["cbw", "dataIn", "csw"])("%s:delay: nothing moves until the clock says so", (phase) => {
    const { bus, clock } = rig(`${phase}:delay:ms=250`);
    const { csw } = startRead(bus);
    clock.advance(249);
    expect(csw.completion).toBeUndefined();
    clock.advance(1);
    expect(done(csw).status).toBe("ok");
    expect(clock.pendingTimers).toBe(0);
  });

  test("a delay is over when the bus resets or the plug is pulled", () => {
    for (const end of ["reset", "unplug"] as const) {
      const { bus, clock, drive } = rig("csw:delay:ms=250");
      startRead(bus);
      drive[end]();
      expect(clock.pendingTimers).toBe(0);
    }
  });

  test.each(["cbw", "dataIn", "csw"])("%s:nak: for ever, until the transport is reset", (phase) => {
    const { bus, clock, drive } = rig(`${phase}:nak`);
    const { csw, data, command } = startRead(bus);
    clock.advance(1e9);
    expect(csw.completion).toBeUndefined();
    for (const { urb, completion } of [command, data, csw]) if (completion === undefined) drive.unlink(urb);
    expect([done(csw).status, csw.completions]).toEqual(["cancelled", 1]);
    bus.botReset();
    expect(bus.read(READ_2, 1024).status).toBe(0);
  });
});

describe("the default pipe", () => {
  test("a corrupt descriptor, for its type only", () => {
    const { bus, drive } = rig("control:corrupt:descriptor=1:at=7:value=0:every");
    const device = done(bus.control(0x80, 6, 0x0100, 0, 18)).data;
    expect([device[7], drive.deviceDescriptor[7]]).toEqual([0, 64]);
    expect(done(bus.control(0x80, 6, 0x0200, 0, 9)).data[7]).toBe(drive.configurationDescriptor[7]);
  });

  test("a whole configuration that is a lie, and a lie cut to what is asked", () => {
    const { bus } = rig("control:reply:descriptor=2:hex=0902ffff010100:every");
    expect([...done(bus.control(0x80, 6, 0x0200, 0, 255)).data]).toEqual([9, 2, 255, 255, 1, 1, 0]);
    expect(done(bus.control(0x80, 6, 0x0200, 0, 4)).data.length).toBe(4);
  });

  test("GET_MAX_LUN stalls (BOT 1.0 §3.2)", () => {
    const { bus } = rig("control:stall:request=FEh:every");
    expect(done(bus.control(0xa1, 0xfe, 0, 0, 1)).status).toBe("stalled");
    expect(done(bus.control(0x80, 8, 0, 0, 1)).status).toBe("ok");
  });

  test("a request that is stalled is not carried out", () => {
    const { bus } = rig("control:stall:request=9:nth=2");
    done(bus.control(0x00, 9, 0, 0));
    expect([...done(bus.control(0x80, 8, 0, 0, 1)).data]).toEqual([1]);
  });

  test("delay and NAK of a reset request", () => {
    const { bus, clock, drive } = rig("control:delay:ms=20:request=FFh;control:nak:request=FFh:nth=2");
    const late = bus.control(0x21, 0xff, 0, 0);
    expect(late.completion).toBeUndefined();
    clock.advance(20);
    expect([done(late).status, drive.counters.transportResets]).toEqual(["ok", 1]);
    const never = bus.control(0x21, 0xff, 0, 0);
    clock.advance(1e6);
    drive.unlink(never.urb);
    expect([done(never).status, drive.counters.transportResets]).toEqual(["cancelled", 1]);
  });
});

describe("leaving the bus", () => {
  test.each([
    ["cbw:disconnect", 0],
    ["dataIn:disconnect", 0],
    ["dataIn:disconnect:after=512", 512],
    ["csw:disconnect", 1024],
    ["cbw:powerCut:seed=3", 0],
    ["dataIn:powerCut", 0],
  ])("%s: everything in flight is disconnected, once", (fault, bytes) => {
    const { bus, unplugged } = rig(fault);
    const { data, csw } = startRead(bus);
    expect([done(data).bytes, done(csw).status, csw.completions, unplugged()]).toEqual([bytes, "disconnected", 1, 1]);
  });

  test("at the n-th transfer, and at a control request", () => {
    const { bus, unplugged } = rig("transfer:disconnect:nth=3");
    bus.out(bus.cbw(READ_2, 1024, "in").packet);
    done(bus.in(1024));
    expect(done(bus.in(13)).status).toBe("disconnected");
    expect(unplugged()).toBe(1);
    const other = rig("control:disconnect:request=FEh");
    expect(done(other.bus.control(0xa1, 0xfe, 0, 0, 1)).status).toBe("disconnected");
    expect(other.unplugged()).toBe(1);
  });

  test("a transfer that is stalled wherever it comes", () => {
    const { bus } = rig("transfer:stall:nth=2");
    bus.out(bus.cbw(READ_2, 1024, "in").packet);
    expect(done(bus.in(1024)).status).toBe("stalled");
    bus.clearHalt(BULK_IN);
    expect(done(bus.in(1024)).bytes).toBe(1024);
    expect(bus.csw().status).toBe(0);
  });

  test("the drive works again after it is plugged in", () => {
    const { bus, drive, image } = rig("csw:disconnect");
    startRead(bus);
    drive.reset();
    bus.configure();
    expect(bus.read(READ_2, 1024).data).toEqual(image.slice(0, 1024));
  });
});

describe("faults as text", () => {
  test("every part", () => {
    expect(parseFaults(" csw:tag:nth=3 ; dataIn:reply:op=25h:hex=00ff:every;")).toEqual([
      { phase: "csw", nth: 3, action: { kind: "tag", offset: 1 } },
      { phase: "dataIn", nth: "every", operationCode: 0x25, action: { kind: "reply", bytes: Buffer.from([0, 255]) } },
    ]);
    expect(parseFault("control:stall:request=0xfe")).toEqual({
      phase: "control",
      nth: 1,
      request: 0xfe,
      action: { kind: "stall", afterBytes: 0 },
    });
    expect(parseFaults("")).toEqual([]);
  });

  test.each([
    ["data:stall", 'phase "data" is none of transfer, control'],
    ["csw", 'action "" is none of'],
    ["csw:short", 'action "short" is none of stall'],
    ["csw:toString", 'action "toString" is none of'],
    ["csw:tag:when=3", 'parameter "when" is none of offset, nth'],
    ["csw:tag:nth", 'parameter "nth" needs a value'],
    ["csw:tag:nth=0", 'nth="0" is not a number from 1'],
    ["csw:tag:nth=x", 'nth="x" is not a number'],
    ["csw:tag:nth=1:nth=2", 'parameter "nth" stands there twice'],
    ["csw:residue", 'parameter "value" has to be given'],
    ["cbw:delay", 'parameter "ms" has to be given'],
    ["dataIn:reply", 'parameter "hex" has to be given'],
    ["dataIn:reply:hex=abc", "pairs of hexadecimal digits"],
    ["csw:tag:hex=00", "hex= belongs to the action reply"],
    ["control:stall:op=12h", "op= belongs to cbw"],
    ["csw:stall:request=1", "request= belongs to control"],
    ["csw:tag:op=1FFh", "from 0 to 255"],
  ])("%s is refused", (text, message) => {
    expect(() => parseFaults(text)).toThrow(FaultTextError);
    expect(() => parseFaults(text)).toThrow(message);
  });
});
