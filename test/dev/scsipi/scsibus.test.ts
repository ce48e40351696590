import { describe, expect, test } from "vitest";
import { OPCODE } from "../../../src/dev/scsipi/cdb.js";
import { attachScsibus } from "../../../src/dev/scsipi/scsibus.js";
import { FakeHost, FakeTarget, SENSE } from "./fake-target.js";
import { attachTarget } from "./rig.js";

const lunList = (...luns: number[]): Uint8Array =>
  Uint8Array.of(0, 0, 0, luns.length * 8, 0, 0, 0, 0, ...luns.flatMap((lun) => [0, lun, 0, 0, 0, 0, 0, 0]));

describe("which units there are (SPC-4 §6.33)", () => {
  const SCANS: readonly {
    readonly name: string;
    readonly version: number;
    readonly report?: Uint8Array;
    readonly expected: readonly number[];
  }[] = [
    { name: "REPORT LUNS names them", version: 6, report: lunList(0, 2), expected: [0, 2] },
    { name: "units beyond Get Max LUN are not addressed", version: 6, report: lunList(0, 1, 7, 200), expected: [0, 1] },
    { name: "an empty list is no list", version: 6, report: lunList(), expected: [0, 1, 2] },
    { name: "a list cut short is no list", version: 6, report: Uint8Array.of(0, 0), expected: [0, 1, 2] },
    { name: "REPORT LUNS is refused", version: 6, expected: [0, 1, 2] },
    { name: "an old target is not asked", version: 2, report: lunList(0), expected: [0, 1, 2] },
  ];
  for (const { name, version, report, expected } of SCANS)
    test(name, async () => {
      const { target, host, result } = await attachTarget({ lunCount: 3, version }, (t) => {
        if (report !== undefined) t.answer(OPCODE.REPORT_LUNS, { data: report });
      });
      const asked = target.commands.filter((c) => c.cdb[0] === OPCODE.READ_CAPACITY_10).map((c) => c.lun);
      expect(asked).toEqual(expected);
      expect(result.attached).toBe(expected.length);
      expect(host.nodes).toHaveLength(expected.length);
    });

  test("one unit is not looked for", async () => {
    expect((await attachTarget()).target.count(OPCODE.REPORT_LUNS)).toBe(0);
  });
});

describe("which units are ours", () => {
  for (const [deviceType, name] of [
    [0x01, "tape (type 01h)"],
    [0x05, "CD or DVD (type 05h)"],
    [0x0d, "enclosure services (type 0Dh)"],
    [0x1f, "no device (type 1Fh)"],
    [0x13, "unlisted device (type 13h)"],
  ] as const)
    test(`${name} is left alone, and the log says so`, async () => {
      const { host, result } = await attachTarget({ deviceType });
      expect(result).toEqual({ attached: 0, refused: [`lun 0: ${name} left alone`] });
      expect(host.lines).toEqual([`warn: lun 0: ${name} left alone`]);
    });

  for (const deviceType of [0x00, 0x07, 0x0e])
    test(`type ${deviceType} is a disk`, async () => {
      expect((await attachTarget({ deviceType })).host.nodes).toHaveLength(1);
    });

  test("a qualifier says that nothing is there (SPC-4 §6.6.2)", async () => {
    expect((await attachTarget({ deviceType: 0x20 })).result.attached).toBe(0);
  });

  test("what one unit does wrong does not touch the others", async () => {
    const { host, result } = await attachTarget({ lunCount: 2, version: 2 }, (target) => {
      target.answer(OPCODE.INQUIRY, { data: Uint8Array.of(0, 0) }, 2);
    });
    expect(result).toMatchObject({ attached: 1, refused: [expect.stringMatching(/^lun 0: .*2 bytes, 5 needed/)] });
    expect(host.nodes).toHaveLength(1);
  });
});

describe("unplug at every await", () => {
  test("of the bring-up: an error of the target, no node, nothing left running", async () => {
    const { target: whole } = await attachTarget({ provisioned: true, removable: true });
    const commands = whole.opcodes.length;
    expect(commands).toBeGreaterThan(8);
    for (let nth = 0; nth < commands; nth++) {
      const target = new FakeTarget({ provisioned: true, removable: true });
      const host = new FakeHost();
      let left = nth;
      const execute = target.execute.bind(target);
      target.execute = (command) => {
        if (left-- === 0) target.answer("any", { fails: "SCSI_GONE" }, 1000);
        return execute(command);
      };
      await expect(host.clock.runUntil(attachScsibus(target, host))).rejects.toMatchObject({ code: "SCSI_GONE" });
      await host.detach();
      expect(host.nodes).toEqual([]);
      expect(host.clock.pendingTimers).toBe(0);
      expect(host.lines.filter((line) => line.startsWith("error"))).toEqual([]);
    }
  });
});

describe("removable media", () => {
  test("no medium: no node; looked for every 2 s until one is in, then not any more", async () => {
    const { target, host, result } = await attachTarget({ removable: true }, (t) =>
      t.answer(OPCODE.TEST_UNIT_READY, { sense: SENSE.noMedium }, 4),
    );
    expect(result.attached).toBe(1);
    expect(host.nodes).toEqual([]);
    await host.clock.advance(5_999);
    expect(target.count(OPCODE.TEST_UNIT_READY)).toBe(3);
    expect(host.nodes).toEqual([]);
    await host.clock.advance(2_001);
    expect(host.nodes).toHaveLength(1);
    expect(host.disk().info.removable).toBe(true);
    const asked = target.opcodes.length;
    expect(host.clock.pendingTimers).toBe(0);
    await host.clock.advance(60_000);
    expect(target.opcodes.length).toBe(asked);
    await host.detach();
  });

  test("the medium is kept in while it is in use; a unit without a lock is not asked twice", async () => {
    const { target, host } = await attachTarget({ removable: true });
    const lock = target.commands.find((command) => command.cdb[0] === OPCODE.PREVENT_ALLOW);
    expect(lock?.cdb[4]).toBe(1);
    await host.detach();
    const refused = await attachTarget({ removable: true }, (t) =>
      t.answer(OPCODE.PREVENT_ALLOW, { sense: SENSE.invalidOpcode }),
    );
    await refused.host.detach();
    expect(refused.target.count(OPCODE.PREVENT_ALLOW)).toBe(1);
    const quirk = await attachTarget({ removable: true }, undefined, { noPreventAllow: true });
    expect(quirk.target.count(OPCODE.PREVENT_ALLOW)).toBe(0);
    const fixed = await attachTarget();
    expect(fixed.target.count(OPCODE.PREVENT_ALLOW)).toBe(0);
  });

  test("detach while no medium is in stops the search", async () => {
    const { target, host } = await attachTarget({ removable: true }, (t) =>
      t.answer(OPCODE.TEST_UNIT_READY, { sense: SENSE.noMedium }, 1000),
    );
    await host.detach();
    const asked = target.opcodes.length;
    expect(host.clock.pendingTimers).toBe(0);
    await host.clock.advance(10_000);
    expect(target.opcodes.length).toBe(asked);
  });

  test("a unit that keeps failing while no medium is in is left in peace after five looks", async () => {
    for (const answer of [{ sense: SENSE.hardware }, { fails: "SCSI_TIMED_OUT" }] as const) {
      const { target, host } = await attachTarget({ removable: true }, (t) => {
        t.answer(OPCODE.TEST_UNIT_READY, { sense: SENSE.noMedium });
        t.answer(OPCODE.TEST_UNIT_READY, answer, 1000);
      });
      await host.clock.advance(60_000);
      expect(target.count(OPCODE.TEST_UNIT_READY)).toBe(6);
      expect(host.lines.at(-1)).toMatch(/^error: lun 0: no further medium is looked for/);
      expect(host.clock.pendingTimers).toBe(0);
    }
  });

  test("a failure in between does not end the search", async () => {
    const { host } = await attachTarget({ removable: true }, (t) => {
      for (const answer of [{ sense: SENSE.noMedium }, { fails: "SCSI_TIMED_OUT" }, { sense: SENSE.noMedium }] as const)
        t.answer(OPCODE.TEST_UNIT_READY, answer);
    });
    await host.clock.advance(6_000);
    expect(host.nodes).toHaveLength(1);
  });

  test("a medium that cannot be served is refused, and the unit is left in peace", async () => {
    const { target, host } = await attachTarget({ removable: true, version: 2 }, (t) =>
      t.answer(OPCODE.TEST_UNIT_READY, { sense: SENSE.noMedium }),
    );
    target.blockBytes = 520;
    await host.clock.advance(4_000);
    expect(host.nodes).toEqual([]);
    expect(host.lines.at(-1)).toMatch(/^error: lun 0: this medium cannot be served: blocks of 520 bytes/);
    expect(host.clock.pendingTimers).toBe(0);
  });
});
