import { describe, expect, test } from "vitest";
import { BulkOnly } from "../../../../src/dev/usb/umass/bot.js";
import { CBW_DATA_IN, cbw } from "../../../../src/dev/usb/umass/csw.js";
import type { TransportQuirks } from "../../../../src/dev/usb/umass/quirks.js";
import type { ScsiCommand } from "../../../../src/dev/scsipi/transport.js";
import { BYTES, CDB, MODES, NONE, PHASE_ERROR, READ, runIn, sends, stall, status, WRITE } from "./bot-rig.js";
import { CBW, counting, GOOD, RECOVERY, type Reply, scriptedDevice } from "./scripted-device.js";

/** BOT 1.0 Table 6.1: what the host expects against what the device intends. */
const CASES: readonly {
  readonly name: string;
  readonly command: ScsiCommand;
  readonly script: readonly Reply[];
  /** The reply; undefined = reset recovery and SCSI_TRANSPORT. */
  readonly expected?: { readonly status: "good" | "check"; readonly dataBytes: number; readonly residueBytes: number };
}[] = [
  {
    name: "1 Hn = Dn",
    command: NONE,
    script: [CBW, GOOD],
    expected: { status: "good", dataBytes: 0, residueBytes: 0 },
  },
  { name: "2 Hn < Di", command: NONE, script: [CBW, PHASE_ERROR] },
  { name: "2 Hn < Di, stalled first", command: NONE, script: [CBW, stall("in"), { step: "clear in" }, PHASE_ERROR] },
  { name: "3 Hn < Do", command: NONE, script: [CBW, PHASE_ERROR] },
  {
    name: "4 Hi > Dn, stalled",
    command: READ,
    script: [CBW, stall("in"), { step: "clear in" }, status({ status: 1, residue: BYTES })],
    expected: { status: "check", dataBytes: 0, residueBytes: BYTES },
  },
  {
    name: "4 Hi > Dn, an empty packet",
    command: READ,
    script: [CBW, sends(0), status({ residue: BYTES })],
    expected: { status: "good", dataBytes: 0, residueBytes: BYTES },
  },
  {
    name: "5 Hi > Di, stalled",
    command: READ,
    script: [CBW, stall("in", 512), { step: "clear in" }, status({ residue: BYTES - 512 })],
    expected: { status: "good", dataBytes: 512, residueBytes: BYTES - 512 },
  },
  {
    name: "5 Hi > Di, a short packet",
    command: READ,
    script: [CBW, sends(100), status({ residue: BYTES - 100 })],
    expected: { status: "good", dataBytes: 100, residueBytes: BYTES - 100 },
  },
  {
    name: "5 Hi > Di, padded",
    command: READ,
    script: [CBW, sends(BYTES), status({ residue: BYTES - 100 })],
    expected: { status: "good", dataBytes: 100, residueBytes: BYTES - 100 },
  },
  {
    name: "5 Hi > Di, and a residue that says nothing",
    command: READ,
    script: [CBW, sends(100), GOOD],
    expected: { status: "good", dataBytes: 100, residueBytes: BYTES - 100 },
  },
  {
    name: "6 Hi = Di",
    command: READ,
    script: [CBW, sends(BYTES), GOOD],
    expected: { status: "good", dataBytes: BYTES, residueBytes: 0 },
  },
  { name: "7 Hi < Di", command: READ, script: [CBW, sends(BYTES), PHASE_ERROR] },
  {
    name: "7 Hi < Di, stalled",
    command: READ,
    script: [CBW, stall("in", BYTES), { step: "clear in" }, PHASE_ERROR],
  },
  { name: "7 Hi < Di, babble", command: READ, script: [CBW, { step: "in", ends: "overflow" }] },
  { name: "8 Hi <> Do", command: READ, script: [CBW, stall("in"), { step: "clear in" }, PHASE_ERROR] },
  {
    name: "9 Ho > Dn, stalled",
    command: WRITE,
    script: [CBW, stall("out"), { step: "clear out" }, status({ status: 1, residue: BYTES })],
    expected: { status: "check", dataBytes: 0, residueBytes: BYTES },
  },
  {
    name: "9 Ho > Dn, data taken and dropped",
    command: WRITE,
    script: [CBW, { step: "out" }, status({ residue: BYTES })],
    expected: { status: "good", dataBytes: 0, residueBytes: BYTES },
  },
  { name: "10 Ho <> Di", command: WRITE, script: [CBW, stall("out"), { step: "clear out" }, PHASE_ERROR] },
  {
    name: "11 Ho > Do, stalled",
    command: WRITE,
    script: [CBW, stall("out", 512), { step: "clear out" }, status({ residue: BYTES - 512 })],
    expected: { status: "good", dataBytes: 0, residueBytes: BYTES - 512 },
  },
  {
    name: "11 Ho > Do, and a residue that says nothing",
    command: WRITE,
    script: [CBW, stall("out", 512), { step: "clear out" }, GOOD],
    expected: { status: "good", dataBytes: 0, residueBytes: BYTES - 512 },
  },
  {
    name: "12 Ho = Do",
    command: WRITE,
    script: [CBW, { step: "out" }, GOOD],
    expected: { status: "good", dataBytes: 0, residueBytes: 0 },
  },
  { name: "13 Ho < Do", command: WRITE, script: [CBW, { step: "out" }, PHASE_ERROR] },
];

/** What-is-wrong rows of BOT 1.0 §6.3: each ends in reset recovery, none in a reply. */
const STATUS_FAULTS: readonly { readonly name: string; readonly script: readonly Reply[]; readonly says: RegExp }[] = [
  { name: "second stall", script: [stall("in"), { step: "clear in" }, stall("in")], says: /stalled again/ },
  { name: "12 bytes", script: [sends(12)], says: /12 bytes, not 13/ },
  { name: "two empty readings", script: [sends(0), sends(0)], says: /0 bytes, not 13/ },
  { name: "one empty reading and no other", script: [sends(0), { step: "in", ends: "hang" }], says: /0 bytes, not 13/ },
  { name: "more than 13 bytes", script: [{ step: "in", ends: "overflow" }], says: /overflow/ },
  { name: "signature", script: [status({ signature: 0x11223344 })], says: /signature 11223344h/ },
  { name: "signature of another quirk", script: [status({ signature: 0x55425355 })], says: /signature 55425355h/ },
  { name: "tag", script: [status({ tag: 99 })], says: /tag 99, sent 1/ },
  { name: "status 2", script: [PHASE_ERROR], says: /phase error/ },
  { name: "status 3", script: [status({ status: 3 })], says: /status 3, which is reserved/ },
  { name: "status 255", script: [status({ status: 255 })], says: /status 255/ },
  { name: "residue", script: [status({ residue: BYTES + 1 })], says: /residue 4097 of 4096/ },
];

describe.each(MODES)("phases: %s", (phases) => {
  test("data come in the memory that the command brings", async () => {
    const into = new Uint8Array(BYTES);
    const { reply } = await runIn(phases, [CBW, sends(BYTES), GOOD], {
      lun: 0,
      cdb: CDB,
      direction: "in",
      bytes: BYTES,
      into,
    });
    expect(reply?.data.buffer).toBe(into.buffer);
    expect(into).toEqual(counting(BYTES));
  });

  const run = (
    script: readonly Reply[],
    command: ScsiCommand,
    quirks: TransportQuirks = {},
  ): ReturnType<typeof runIn> => runIn(phases, script, command, quirks);

  describe("the thirteen cases (BOT 1.0 §6.7)", () => {
    for (const { name, command, script, expected } of CASES) {
      test(`case ${name}`, async () => {
        const { reply, error, bot } = await run(expected === undefined ? [...script, ...RECOVERY] : script, command);
        if (expected === undefined) {
          expect(error?.code).toBe("SCSI_TRANSPORT");
          expect(bot.resetCount).toBe(1);
          return;
        }
        expect(error).toBeUndefined();
        expect(reply).toMatchObject({ status: expected.status, residueBytes: expected.residueBytes });
        expect(reply?.data).toEqual(counting(expected.dataBytes));
        expect(bot.resetCount).toBe(0);
      });
    }
  });

  describe("a status is believed or the device is reset (BOT 1.0 §6.3, §5.3.4)", () => {
    for (const { name, script, says } of STATUS_FAULTS) {
      test(name, async () => {
        const { error, device, bot } = await run([CBW, { step: "out" }, ...script, ...RECOVERY], WRITE);
        expect(error?.code).toBe("SCSI_TRANSPORT");
        expect(error?.message).toMatch(says);
        expect(device.log.map((entry) => entry.message.split(/[ :]/)[0])).toEqual(
          phases === "sequence" ? ["reset"] : ["phases", "reset"],
        );
        expect(bot.resetCount).toBe(1);
      });
    }

    test("a stalled status phase is read once more (BOT 1.0 §5.3.3)", async () => {
      const { reply } = await run([CBW, sends(BYTES), stall("in"), { step: "clear in" }, GOOD], READ);
      expect(reply?.status).toBe("good");
    });

    test("an empty status phase is read once more", async () => {
      const { reply } = await run([CBW, sends(BYTES), sends(0), GOOD], READ);
      expect(reply).toMatchObject({ status: "good", residueBytes: 0 });
    });
  });

  describe("the command phase", () => {
    test("the CBW is 31 bytes with signature, tag, length, direction, unit and CDB (BOT 1.0 §5.1)", async () => {
      const { device } = await run([CBW, sends(BYTES), GOOD], { ...READ, lun: 3 });
      const fields = cbw.decode(device.sent[0] ?? new Uint8Array(0));
      expect(device.sent[0]?.length).toBe(31);
      expect(fields).toMatchObject({
        dCBWSignature: 0x43425355,
        dCBWTag: 1,
        dCBWDataTransferLength: BYTES,
        bmCBWFlags: CBW_DATA_IN,
        bCBWLUN: 3,
        bCBWCBLength: 10,
      });
      expect(fields.CBWCB.subarray(0, 10)).toEqual(CDB);
    });

    test("every command has a tag of its own", async () => {
      const device = scriptedDevice([CBW, GOOD, CBW, GOOD, CBW, GOOD]);
      const bot = new BulkOnly(device.at, { lunCount: 1, phases });
      await Promise.all([bot.execute(NONE), bot.execute(NONE), bot.execute(NONE)]);
      expect(device.sent.map((bytes) => cbw.decode(bytes).dCBWTag)).toEqual([1, 2, 3]);
    });

    for (const [name, reply] of [
      ["stalled", stall("out")],
      ["cut", { step: "out", takes: 30 }],
      ["a bus error", { step: "out", ends: "error" }],
    ] as const)
      test(`a CBW that is ${name} costs a reset recovery (BOT 1.0 §6.6.1)`, async () => {
        const { error } = await run([reply, ...RECOVERY], READ);
        expect(error?.code).toBe("SCSI_TRANSPORT");
      });

    test("the next command waits for the one before and its recovery", async () => {
      const device = scriptedDevice([CBW, PHASE_ERROR, ...RECOVERY, CBW, GOOD]);
      const bot = new BulkOnly(device.at, { lunCount: 1, phases });
      const results = await Promise.allSettled([bot.execute(NONE), bot.execute(NONE)]);
      expect(results.map((result) => result.status)).toEqual(["rejected", "fulfilled"]);
      expect(device.left).toEqual([]);
    });
  });

  describe("recovery is bounded (BOT 1.0 §5.3.4)", () => {
    const FAILED: readonly Reply[] = [CBW, PHASE_ERROR];

    test("a reset that stalls is followed by one port reset", async () => {
      const { error, bot } = await run([...FAILED, { step: "reset", ends: "stalled" }, { step: "port reset" }], NONE);
      expect(error?.code).toBe("SCSI_TRANSPORT");
      expect(bot.resetCount).toBe(1);
    });

    test("a halt that cannot be cleared is followed by one port reset", async () => {
      const script: Reply[] = [
        ...FAILED,
        { step: "reset" },
        { step: "clear in", ends: "error" },
        { step: "port reset" },
      ];
      const { error } = await run(script, NONE);
      expect(error?.code).toBe("SCSI_TRANSPORT");
    });

    test("a device that never answers its reset is given up in bounded time, and stays so", async () => {
      const script: Reply[] = [...FAILED, { step: "reset", ends: "hang" }, { step: "port reset", ends: "error" }];
      const { error, device, bot } = await run(script, NONE);
      expect(error?.code).toBe("SCSI_GONE");
      expect(device.clock.nowMs()).toBe(5_000);
      await expect(bot.execute(NONE)).rejects.toMatchObject({ code: "SCSI_GONE" });
      expect(device.log.at(-1)?.message).toContain("does not come back");
    });

    test("the port is not reset again before a command has succeeded", async () => {
      const brokenReset: Reply = { step: "reset", ends: "stalled" };
      const device = scriptedDevice([...FAILED, brokenReset, { step: "port reset" }, ...FAILED, brokenReset]);
      const bot = new BulkOnly(device.at, { lunCount: 1, phases });
      await expect(bot.execute(NONE)).rejects.toMatchObject({ code: "SCSI_TRANSPORT" });
      await expect(bot.execute(NONE)).rejects.toMatchObject({ code: "SCSI_GONE" });
      expect(device.left).toEqual([]);
    });

    test("after a good command it may be", async () => {
      const once: Reply[] = [...FAILED, { step: "reset", ends: "stalled" }, { step: "port reset" }];
      const device = scriptedDevice([...once, CBW, GOOD, ...once]);
      const bot = new BulkOnly(device.at, { lunCount: 1, phases });
      await expect(bot.execute(NONE)).rejects.toMatchObject({ code: "SCSI_TRANSPORT" });
      await bot.execute(NONE);
      await expect(bot.execute(NONE)).rejects.toMatchObject({ code: "SCSI_TRANSPORT" });
    });
  });

  describe("every wait ends", () => {
    const HANGS: readonly { readonly name: string; readonly script: readonly Reply[] }[] = [
      { name: "command phase", script: [{ step: "out", ends: "hang" }] },
      { name: "data phase", script: [CBW, { step: "in", ends: "hang" }] },
      { name: "status phase", script: [CBW, sends(BYTES), { step: "in", ends: "hang" }] },
      {
        name: "second reading",
        script: [CBW, sends(BYTES), stall("in"), { step: "clear in" }, { step: "in", ends: "hang" }],
      },
      { name: "halt", script: [CBW, stall("in"), { step: "clear in", ends: "hang" }] },
    ];
    for (const { name, script } of HANGS) {
      test(`a ${name} that never ends is given up at the command's deadline`, async () => {
        const { error, device } = await run([...script, ...RECOVERY], { ...READ, timeoutMs: 1234 });
        expect(error?.code).toBe("SCSI_TIMED_OUT");
        expect(device.clock.nowMs()).toBe(1234);
      });

      test(`the caller's signal ends a ${name}, after the device was recovered`, async () => {
        const device = scriptedDevice([...script, ...RECOVERY, CBW, GOOD]);
        const bot = new BulkOnly(device.at, { lunCount: 1, phases });
        const controller = new AbortController();
        device.clock.startTimer(10, () => controller.abort());
        const command = bot.execute({ ...READ, signal: controller.signal });
        await expect(device.clock.runUntil(command)).rejects.toMatchObject({ code: "SCSI_CANCELLED" });
        await bot.execute(NONE);
        expect(device.left).toEqual([]);
      });
    }

    test("30 s is what a command gets that asks for nothing else", async () => {
      const { device } = await run([CBW, { step: "in", ends: "hang" }, ...RECOVERY], READ);
      expect(device.clock.nowMs()).toBe(30_000);
    });

    test("a command aborted in the queue never starts, and the others go on", async () => {
      const device = scriptedDevice([CBW, { step: "in", ends: "hang" }, ...RECOVERY, CBW, GOOD]);
      const bot = new BulkOnly(device.at, { lunCount: 1, phases });
      const controller = new AbortController();
      const first = bot.execute(READ);
      const second = bot.execute({ ...WRITE, signal: controller.signal });
      const third = bot.execute(NONE);
      controller.abort();
      await expect(second).rejects.toMatchObject({ code: "SCSI_CANCELLED" });
      await expect(device.clock.runUntil(first)).rejects.toMatchObject({ code: "SCSI_TIMED_OUT" });
      expect((await third).status).toBe("good");
    });
  });

  describe("unplug at every await", () => {
    const SCENARIOS: readonly {
      readonly name: string;
      readonly command: ScsiCommand;
      readonly script: readonly Reply[];
    }[] = [
      { name: "read", command: READ, script: [CBW, sends(BYTES), GOOD] },
      { name: "write", command: WRITE, script: [CBW, { step: "out" }, GOOD] },
      {
        name: "stalled read",
        command: READ,
        script: [CBW, stall("in"), { step: "clear in" }, stall("in"), { step: "clear in" }, GOOD],
      },
      { name: "stalled write", command: WRITE, script: [CBW, stall("out"), { step: "clear out" }, GOOD] },
      { name: "recovery", command: READ, script: [CBW, sends(BYTES), PHASE_ERROR, ...RECOVERY] },
      {
        name: "port reset",
        command: READ,
        script: [CBW, sends(BYTES), PHASE_ERROR, { step: "reset", ends: "stalled" }, { step: "port reset" }],
      },
    ];
    for (const { name, command, script } of SCENARIOS)
      for (const [nth, cut] of script.entries())
        test(`${name}, transfer ${nth + 1} (${cut.step})`, async () => {
          const gone: Reply = { step: cut.step, ends: "disconnected" };
          const { error, device, bot } = await run([...script.slice(0, nth), gone], command);
          expect(error?.code).toBe("SCSI_GONE");
          expect(device.log.filter((entry) => entry.level === "error")).toEqual([]);
          await expect(bot.execute(command)).rejects.toMatchObject({ code: "SCSI_GONE" });
        });
  });

  describe("quirks of the transport", () => {
    test('"USBU" is a signature for the device that sends it, "USBS" still is', async () => {
      const quirks = { cswSignature: 0x55425355 };
      expect((await run([CBW, status({ signature: 0x55425355 })], NONE, quirks)).reply?.status).toBe("good");
      expect((await run([CBW, GOOD], NONE, quirks)).reply?.status).toBe("good");
    });

    test("a tag of its own", async () => {
      expect((await run([CBW, status({ tag: 77 })], NONE, { ignoreTag: true })).reply?.status).toBe("good");
    });

    test("a residue that means nothing; what did not arrive still counts", async () => {
      const quirks = { ignoreResidue: true } as const;
      const whole = await run([CBW, sends(BYTES), status({ residue: 9999 })], READ, quirks);
      expect(whole.reply).toMatchObject({ status: "good", residueBytes: 0 });
      const part = await run([CBW, sends(100), status({ residue: 9999 })], READ, quirks);
      expect(part.reply).toMatchObject({ status: "good", residueBytes: BYTES - 100 });
    });

    test("a lower limit for one command", () => {
      const { at } = scriptedDevice([]);
      expect(new BulkOnly(at, { lunCount: 1 }).maxTransferBytes).toBe(1 << 20);
      expect(new BulkOnly(at, { lunCount: 1, quirks: { maxTransferBytes: 32768 } }).maxTransferBytes).toBe(32768);
    });
  });
});
