/** What overlapping the phases brings up: statuses in odd places, transfers taken back, falling back to a calmer mode. */
import { describe, expect, test } from "vitest";
import { BulkOnly } from "../../../../src/dev/usb/umass/bot.js";
import { choosePhases } from "../../../../src/dev/usb/umass/phases.js";
import type { ScsiCommand } from "../../../../src/dev/scsipi/transport.js";
import type { StepConditions } from "../../../../src/dev/usb/usbdi.js";
import { BYTES, CDB, MODES, NONE, PHASE_ERROR, READ, runIn, sends, stall, status, WRITE } from "./bot-rig.js";
import { CBW, counting, GOOD, RECOVERY, type Reply, scriptedDevice, statusOf } from "./scripted-device.js";

describe.each(MODES)("phases: %s", (phases) => {
  const run = (script: readonly Reply[], command: ScsiCommand): ReturnType<typeof runIn> =>
    runIn(phases, script, command);

  describe("where the status is not where it belongs", () => {
    const FAILED = statusOf({ status: 1, residue: BYTES });

    test("in the data slot: it is the status, and no data came (BOT 1.0 §6.7.2)", async () => {
      const { reply, bot } = await run([CBW, { step: "in", data: FAILED }], READ);
      expect(reply).toMatchObject({ status: "check", residueBytes: BYTES });
      expect(reply?.data.length).toBe(0);
      expect(bot.resetCount).toBe(0);
    });

    test("13 bytes that are no status of this command are data", async () => {
      for (const data of [statusOf({ tag: 999 }), statusOf({ signature: 1 }), counting(13)]) {
        const { reply } = await run([CBW, { step: "in", data }, status({ residue: BYTES - 13 })], READ);
        expect(reply).toMatchObject({ status: "good", residueBytes: BYTES - 13 });
        expect(reply?.data.length).toBe(13);
      }
    });

    test("a command whose data are 13 bytes gets them, whatever they look like", async () => {
      const { reply } = await run([CBW, { step: "in", data: statusOf() }, GOOD], {
        lun: 0,
        cdb: CDB,
        direction: "in",
        bytes: 13,
      });
      expect(reply?.data.length).toBe(13);
    });

    test("a stall that comes 100 ms after short data: cleared, read again, nothing lost", async () => {
      const late: Reply = { ...stall("in"), afterMs: 100 };
      const script = [CBW, sends(100), late, { step: "clear in" }, status({ residue: BYTES - 100 })] as const;
      const { reply, bot, device } = await run(script, READ);
      expect(reply).toMatchObject({ status: "good", residueBytes: BYTES - 100 });
      expect(reply?.data).toEqual(counting(100));
      expect(bot.resetCount).toBe(0);
      expect(device.clock.nowMs()).toBe(100);
    });

    test("data and status stalled: one halt each, and the status is still read (BOT 1.0 §5.3.3)", async () => {
      const script = [CBW, stall("in"), { step: "clear in" }, stall("in"), { step: "clear in" }, GOOD] as const;
      expect((await run(script, READ)).reply).toMatchObject({ status: "good", residueBytes: BYTES });
    });
  });

  test("a CBW that is stalled: the data behind it never reaches the device", async () => {
    const { error, device } = await run([stall("out"), ...RECOVERY], WRITE);
    expect(error?.code).toBe("SCSI_TRANSPORT");
    expect(device.sent.map((bytes) => bytes.length)).toEqual([31]);
  });
});

describe("phases", () => {
  test("phases run after or with one another as the mode says, given the bytes that must have moved", async () => {
    const commandTaken = { step: 0, minBytes: 31 };
    const dataMoved = { step: 1, minBytes: BYTES };
    const MODES = [
      { phases: "sequence", steps: [{}, { after: commandTaken }, { after: dataMoved }] },
      { phases: "overlap", steps: [{}, { with: commandTaken }, { after: dataMoved }] },
      { phases: "together", steps: [{}, { with: commandTaken }, { with: dataMoved }] },
    ] as const;
    for (const { phases, steps } of MODES) {
      const device = scriptedDevice([CBW, sends(BYTES), GOOD]);
      const seen: StepConditions[] = [];
      const runChain = device.at.runChain.bind(device.at);
      const at: typeof device.at = {
        ...device.at,
        runChain: (chain, options) => {
          for (const step of chain)
            seen.push({ ...(step.after && { after: step.after }), ...(step.with && { with: step.with }) });
          return runChain(chain, options);
        },
      };
      const bot = new BulkOnly(at, { lunCount: 1, phases });
      expect((await bot.execute(READ)).data).toEqual(counting(BYTES));
      expect(seen).toEqual(steps);
    }
  });

  const WRONG: readonly Reply[] = [CBW, PHASE_ERROR, ...RECOVERY];

  test("a device that goes wrong is driven more calmly, step by step, for good", async () => {
    const device = scriptedDevice([...WRONG, CBW, GOOD, ...WRONG, ...WRONG]);
    const bot = new BulkOnly(device.at, { lunCount: 1, phases: "together" });
    await expect(bot.execute(NONE)).rejects.toMatchObject({ code: "SCSI_TRANSPORT" });
    expect(bot.phases).toBe("overlap");
    await bot.execute(NONE);
    expect(bot.phases).toBe("overlap");
    await expect(bot.execute(NONE)).rejects.toMatchObject({ code: "SCSI_TRANSPORT" });
    await expect(bot.execute(NONE)).rejects.toMatchObject({ code: "SCSI_TRANSPORT" });
    expect(bot.phases).toBe("sequence");
    const said = device.log.filter((entry) => entry.message.startsWith("phases:"));
    expect(said.map((entry) => entry.message)).toEqual([
      'phases: overlap from now on: the device went wrong in mode "together"',
      'phases: sequence from now on: the device went wrong in mode "overlap"',
    ]);
    const reason = expect.stringContaining("phase error") as string;
    expect(device.demotions).toEqual([
      { mode: "overlap", reason },
      { mode: "sequence", reason },
    ]);
  });

  test("who aborts a command says nothing about the device", async () => {
    const device = scriptedDevice([CBW, { step: "in", ends: "hang" }, ...RECOVERY]);
    const bot = new BulkOnly(device.at, { lunCount: 1, phases: "together" });
    const controller = new AbortController();
    device.clock.startTimer(10, () => controller.abort());
    const command = bot.execute({ ...READ, signal: controller.signal });
    await expect(device.clock.runUntil(command)).rejects.toMatchObject({ code: "SCSI_CANCELLED" });
    expect(bot.phases).toBe("together");
    expect(device.demotions).toEqual([]);
  });

  test.each([
    [undefined, undefined, "overlap", "default"],
    [undefined, "together", "together", "known of this device"],
    ["sequence", "together", "sequence", "asked for"],
  ] as const)("asked for %s, known %s: %s", (asked, known, name, reason) => {
    expect(choosePhases(asked, known)).toEqual({ name, reason });
    expect(choosePhases(asked, known, "demoted")).toEqual({ name, reason: "demoted" });
  });
});
