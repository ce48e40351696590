import { describe, expect, test } from "vitest";
import { viewOf } from "../../../src/bytes.js";
import { OPCODE } from "../../../src/dev/scsipi/cdb.js";
import { type FakeTarget, SENSE, type TargetOptions } from "./fake-target.js";
import { attachTarget } from "./rig.js";

const capacity10 = (lastBlock: number, blockBytes: number): Uint8Array => {
  const data = new Uint8Array(8);
  viewOf(data).setUint32(0, lastBlock);
  viewOf(data).setUint32(4, blockBytes);
  return data;
};
const capacity16 = (lastBlock: bigint, blockBytes: number): Uint8Array => {
  const data = new Uint8Array(32);
  viewOf(data).setBigUint64(0, lastBlock);
  viewOf(data).setUint32(8, blockBytes);
  return data;
};

describe("capacity (SBC-3 §5.15, §5.16)", () => {
  for (const blockBytes of [512, 1024, 2048, 4096])
    test(`blocks of ${blockBytes} bytes`, async () => {
      const { disk } = await attachTarget({ blockBytes, version: 2 });
      expect(disk.info).toMatchObject({ blockBytes, blockCount: 4096, maxTransferBytes: 1 << 20 });
    });

  const LIES: readonly {
    readonly name: string;
    readonly prepare: (target: FakeTarget) => void;
    readonly options?: TargetOptions;
    readonly says: RegExp;
  }[] = [
    ...[0, 3, 511, 513, 8192, 2 ** 31].map((blockBytes) => ({
      name: `blocks of ${blockBytes} bytes`,
      prepare: (target: FakeTarget) => target.answer(OPCODE.READ_CAPACITY_10, { data: capacity10(99, blockBytes) }),
      options: { version: 2 },
      says: new RegExp(`blocks of ${blockBytes} bytes; 512, 1024, 2048, 4096`),
    })),
    {
      name: "FFFFFFFFh and no READ CAPACITY(16)",
      prepare: (target) => {
        target.answer(OPCODE.READ_CAPACITY_10, { data: capacity10(0xffffffff, 512) });
        target.answer(OPCODE.SERVICE_ACTION_IN_16, { sense: SENSE.invalidOpcode });
      },
      says: /READ CAPACITY\(16\), which does not answer/,
    },
    {
      name: "FFFFFFFFh and a short READ CAPACITY(16)",
      prepare: (target) => {
        target.answer(OPCODE.READ_CAPACITY_10, { data: capacity10(0xffffffff, 512) });
        target.answer(OPCODE.SERVICE_ACTION_IN_16, { data: new Uint8Array(8) });
      },
      says: /READ CAPACITY\(16\), which does not answer/,
    },
    {
      name: "two commands, two capacities",
      prepare: (target) => target.answer(OPCODE.SERVICE_ACTION_IN_16, { data: capacity16(99n, 512) }),
      says: /last block 4095 of 512 bytes, READ CAPACITY\(16\) says 99 of 512/,
    },
    {
      name: "2^64 blocks",
      prepare: (target) => {
        target.answer(OPCODE.READ_CAPACITY_10, { data: capacity10(0xffffffff, 512) });
        target.answer(OPCODE.SERVICE_ACTION_IN_16, { data: capacity16(0xffff_ffff_ffff_ffffn, 512) });
      },
      says: /less than 2\^53 bytes/,
    },
    {
      name: "four bytes, every time",
      prepare: (target) => target.answer(OPCODE.READ_CAPACITY_10, { data: new Uint8Array(4) }, 100),
      says: /READ CAPACITY\(10\) failed 3 times: .*4 bytes, 8 needed/,
    },
  ];
  for (const { name, prepare, options, says } of LIES)
    test(`refused: ${name}`, async () => {
      const { result, host } = await attachTarget(options, prepare);
      expect(result.attached).toBe(0);
      expect(result.refused).toEqual([expect.stringMatching(says)]);
      expect(host.nodes).toEqual([]);
      expect(host.clock.pendingTimers).toBe(0);
    });

  test("a READ CAPACITY that fails at first is read again", async () => {
    const { disk } = await attachTarget({}, (target) => {
      target.answer(OPCODE.READ_CAPACITY_10, { data: new Uint8Array(4) }, 2);
    });
    expect(disk.info.blockCount).toBe(4096);
  });

  test("a device that counts the blocks where the last address belongs (quirk)", async () => {
    const { disk } = await attachTarget({ version: 2 }, undefined, { capacityIsBlockCount: true });
    expect(disk.info.blockCount).toBe(4095);
  });

  test("an old unit is asked neither for READ CAPACITY(16) nor for vital product data", async () => {
    const { target } = await attachTarget({ version: 4 });
    expect(target.count(OPCODE.SERVICE_ACTION_IN_16)).toBe(0);
    expect(target.count(OPCODE.INQUIRY)).toBe(1);
  });
});

describe("ready or not (SPC-4 §5.9, SBC-3 §5.25)", () => {
  test("waits while the unit becomes ready", async () => {
    const { host } = await attachTarget({}, (target) =>
      target.answer(OPCODE.TEST_UNIT_READY, { sense: SENSE.becomingReady }, 10),
    );
    expect(host.nodes).toHaveLength(1);
    expect(host.clock.nowMs()).toBe(5_000);
  });

  test("gives up when it never does", async () => {
    const { result } = await attachTarget({}, (target) =>
      target.answer(OPCODE.TEST_UNIT_READY, { sense: SENSE.becomingReady }, 1000),
    );
    expect(result.refused).toEqual(["lun 0: TEST UNIT READY: NOT READY, becoming ready (04h/01h)"]);
  });

  test("starts a stopped unit, once", async () => {
    const { target, host } = await attachTarget({}, (t) =>
      t.answer(OPCODE.TEST_UNIT_READY, { sense: SENSE.needsStart }),
    );
    expect(host.nodes).toHaveLength(1);
    expect(target.count(OPCODE.START_STOP_UNIT)).toBe(1);
    const broken = await attachTarget({}, (t) => t.answer(OPCODE.TEST_UNIT_READY, { sense: SENSE.needsStart }, 100));
    expect(broken.target.count(OPCODE.START_STOP_UNIT)).toBe(1);
    expect(broken.result.attached).toBe(0);
  });

  test("unit attentions of before we came are no news: 29h, 28h, 2Ah", async () => {
    const { host } = await attachTarget({}, (target) => {
      for (const sense of [SENSE.reset, SENSE.mediumChanged, SENSE.modesChanged])
        target.answer(OPCODE.TEST_UNIT_READY, { sense });
    });
    expect(host.nodes).toHaveLength(1);
  });

  test("a unit that reports 28h for ever is refused", async () => {
    const { result, target } = await attachTarget({}, (t) =>
      t.answer(OPCODE.TEST_UNIT_READY, { sense: SENSE.mediumChanged }, 1000),
    );
    expect(result.refused).toEqual([expect.stringMatching(/28h\/00h/)]);
    expect(target.count(OPCODE.TEST_UNIT_READY)).toBe(4);
  });
});

describe("what the unit can do", () => {
  test("write protection", async () => {
    const { disk, target } = await attachTarget({ writeProtected: true });
    expect(disk.info).toMatchObject({ readOnly: true, canTrim: false, canWriteZeroes: false, volatileCache: false });
    expect(target.count(OPCODE.SYNCHRONIZE_CACHE_10)).toBe(0);
    const quirk = await attachTarget({ writeProtected: true }, undefined, { noWriteProtectDetect: true });
    expect(quirk.disk.info.readOnly).toBe(false);
  });

  const CACHES: readonly (readonly [string, boolean | undefined, boolean])[] = [
    ["a cache that is on is volatile", true, true],
    ["a cache that is off is none", false, false],
    ["a cache that nobody tells of is volatile", undefined, true],
  ];
  for (const [name, writeCacheEnabled, volatileCache] of CACHES)
    test(name, async () => {
      const { disk } = await attachTarget({ writeCacheEnabled });
      expect(disk.info.volatileCache).toBe(volatileCache);
    });

  test("a unit that refuses SYNCHRONIZE CACHE promises no flush, and the log says so", async () => {
    const { disk, host } = await attachTarget({ writeCacheEnabled: true }, (target) =>
      target.answer(OPCODE.SYNCHRONIZE_CACHE_10, { sense: SENSE.invalidOpcode }),
    );
    expect(disk.info.volatileCache).toBe(false);
    expect(host.lines.filter((line) => line.startsWith("warn"))).toEqual([
      expect.stringMatching(/flush unsupported: .*20h\/00h.*written data may be missing/),
    ]);
    const quirk = await attachTarget({ writeCacheEnabled: true }, undefined, { noSynchronizeCache: true });
    expect(quirk.target.count(OPCODE.SYNCHRONIZE_CACHE_10)).toBe(0);
  });

  test("MODE SENSE refused, choked on, or too short: a writable disk with a cache", async () => {
    for (const answer of [
      { sense: SENSE.invalidOpcode },
      { fails: "SCSI_TRANSPORT" },
      { fails: "SCSI_TIMED_OUT" },
      { data: new Uint8Array(2) },
    ] as const) {
      const { disk, target } = await attachTarget({}, (t) => t.answer(OPCODE.MODE_SENSE_6, answer, 100));
      expect(disk.info).toMatchObject({ readOnly: false, volatileCache: true });
      expect(target.count(OPCODE.MODE_SENSE_10)).toBe(1);
    }
  });

  test("UNMAP and WRITE SAME as the pages say (SBC-3 §6.6.3, §6.6.4)", async () => {
    expect((await attachTarget({ provisioned: true })).disk.info.canTrim).toBe(true);
    expect((await attachTarget({ provisioned: false })).disk.info.canTrim).toBe(false);
    expect((await attachTarget({ provisioned: true, version: 4 })).disk.info.canTrim).toBe(false);
  });

  test("the limit of the block limits page makes transfers shorter", async () => {
    const page = new Uint8Array(64);
    page.set([0, 0xb0, 0, 60]);
    viewOf(page).setUint32(8, 128);
    const { disk } = await attachTarget({ provisioned: true }, (target) => {
      target.answer(OPCODE.INQUIRY, { data: inquiryData() });
      target.answer(OPCODE.INQUIRY, { data: Uint8Array.of(0, 0, 0, 2, 0x00, 0xb0) });
      target.answer(OPCODE.INQUIRY, { data: page });
    });
    expect(disk.info.maxTransferBytes).toBe(65536);
  });

  test("the name of the disk is what INQUIRY says", async () => {
    expect((await attachTarget()).disk.info.model).toBe("FAKE Memory disk 1.00");
  });
});

function inquiryData(): Uint8Array {
  const data = new Uint8Array(36).fill(0x20);
  data.set([0, 0, 6, 2, 31]);
  return data;
}
