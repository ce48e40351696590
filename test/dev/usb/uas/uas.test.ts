/** UAS: attach and fall back, many at once, and what goes wrong on its own four pipes. */
import { describe, expect, test } from "vitest";
import { uas } from "../../../../src/dev/usb/uas/uas.js";
import { findUasQuirks, UAS_QUIRKS } from "../../../../src/dev/usb/uas/quirks.js";
import { umass } from "../../../../src/dev/usb/umass/umass.js";
import { DEFAULT_COMMAND_TIMEOUT_MS } from "../../../../src/dev/scsipi/transport.js";
import { demotedOptionsOf } from "../../../../src/host/modes.js";
import type { Fault, FaultAction } from "../../../../src/vdev/faults.js";
import { FlashDrive } from "../../../../src/vdev/flash-drive.js";
import { commandIu, IU } from "../../../../src/vdev/uas-wire.js";
import { makeRig, plugIn, treeNames } from "../rig.js";
import { attachUas, BLOCKS, pattern, same, unit, type UasRig } from "./rig.js";

const READ_10 = 0x28;
const WRITE_10 = 0x2a;
/** Each command stays at the device for a while. */
const SLOW: Fault = { phase: "cbw", nth: "every", action: { kind: "delay", ms: 5 } };

describe.each(["high", "super"] as const)("at %s speed", (speed) => {
  test("uas goes before umass, and the log has no complaint", async () => {
    const rig = await attachUas({ speed });
    expect(treeNames(rig)).toContain("uas0");
    expect(treeNames(rig)).not.toContain("umass0");
    expect(rig.problems()).toEqual([]);
  });

  test("a drive without bulk-only transport", async () => {
    const rig = await attachUas({ speed, uas: { only: true } });
    await rig.run(() => rig.disk().write(0, pattern(512, 1)));
    expect(same(await rig.run(() => rig.disk().read(0, 1)), pattern(512, 1))).toBe(true);
  });

  test("asked for bulk-only transport", async () => {
    const rig = await attachUas({ speed }, { uas: { mode: "bot" } });
    expect(treeNames(rig)).toContain("umass0");
    expect(same(await rig.run(() => rig.disk().read(0, 1)), new Uint8Array(512))).toBe(true);
  });

  test("a drive without UAS", async () => {
    const rig = makeRig([uas, umass]);
    await rig.boot();
    await plugIn(rig, 1, new FlashDrive({ clock: rig.sim.clock, speed, units: [unit()] }));
    expect(treeNames(rig)).toContain("umass0");
  });

  test("many at a time, each with its own data, at the device together", async () => {
    const rig = await attachUas({ speed });
    const disk = rig.disk();
    let most = 0;
    rig.vhc.trace(() => (most = Math.max(most, rig.drive.taskCount)));
    rig.drive.faults.add(SLOW);
    const writes = Array.from({ length: 64 }, (_, at) => disk.write(at * 16, pattern(16 * 512, at)));
    await rig.run(() => Promise.all(writes));
    const reads = await rig.run(() => Promise.all(Array.from({ length: 64 }, (_, at) => disk.read(at * 16, 16))));
    reads.forEach((data, at) => expect(same(data, pattern(16 * 512, at))).toBe(true));
    expect(most).toBeGreaterThan(25);
    expect(rig.problems()).toEqual([]);
  });

  test("writes of one block keep their order, though the device takes the newest data first", async () => {
    const rig = await attachUas({ speed, uas: { order: "newest" } });
    const disk = rig.disk();
    const writes = Array.from({ length: 24 }, (_, at) => disk.write(at % 3, pattern(1024, at)));
    await rig.run(() => Promise.all(writes));
    expect(same(await rig.run(() => disk.read(0, 1)), pattern(1024, 21).subarray(0, 512))).toBe(true);
    expect(same(await rig.run(() => disk.read(1, 1)), pattern(1024, 22).subarray(0, 512))).toBe(true);
    expect(same(await rig.run(() => disk.read(2, 2)), pattern(1024, 23))).toBe(true);
  });

  test("SYNCHRONIZE CACHE is sent when every write before it is answered, and none after it before it is", async () => {
    const rig = await attachUas({ speed, uas: { order: "newest" } });
    const disk = rig.disk();
    rig.drive.faults.add(SLOW);
    const seen: string[] = [];
    rig.drive.observe((event) => {
      if (event.kind === "command") seen.push(event.name);
      if (event.kind === "status") seen.push("answered");
    });
    await rig.run(async () => {
      const writes = Array.from({ length: 20 }, (_, at) => disk.write(at * 8, pattern(4096, at)));
      const flush = disk.flush();
      const later = Array.from({ length: 20 }, (_, at) => disk.write(1000 + at * 8, pattern(4096, at)));
      await Promise.all([...writes, flush, ...later]);
    });
    const flushed = seen.indexOf("SYNCHRONIZE CACHE (10)");
    const before = seen.slice(0, flushed);
    expect([before.filter((one) => one === "answered").length, before.length]).toEqual([20, 40]);
    expect(seen[flushed + 1]).toBe("answered");
  });

  test("a removable medium: one command at a time", async () => {
    const rig = await attachUas({ speed, units: [unit({ removable: true })] });
    let most = 0;
    rig.vhc.trace(() => (most = Math.max(most, rig.drive.taskCount)));
    rig.drive.faults.add(SLOW);
    await rig.run(() => Promise.all(Array.from({ length: 8 }, (_, at) => rig.disk().read(at, 1))));
    expect(most).toBe(1);
  });

  test("two units: bytes apart, a reset of one is no news for the other", async () => {
    const rig = await attachUas({ speed, units: [unit(), unit()] });
    const [first, second] = [rig.disk("sd0"), rig.disk("sd1")];
    await rig.run(() => Promise.all([first.write(0, pattern(4096, 1)), second.write(0, pattern(4096, 2))]));
    rig.drive.faults.add({ phase: "cbw", nth: 1, operationCode: READ_10, action: { kind: "nak" } });
    rig.drive.faults.add({ phase: "task", nth: 1, action: { kind: "response", value: 4 } });
    expect(same(await rig.run(() => first.read(0, 8)), pattern(4096, 1))).toBe(true);
    expect(same(await rig.run(() => second.read(0, 8)), pattern(4096, 2))).toBe(true);
    await rig.run(() => second.flush());
  });

  test("TASK SET FULL: fewer at a time from then on, and all are carried out", async () => {
    const rig = await attachUas({ speed, uas: { maxTasks: 4 } });
    const disk = rig.disk();
    rig.drive.faults.add(SLOW);
    await rig.run(() => Promise.all(Array.from({ length: 40 }, (_, at) => disk.write(at, pattern(512, at)))));
    const reads = await rig.run(() => Promise.all(Array.from({ length: 40 }, (_, at) => disk.read(at, 1))));
    reads.forEach((data, at) => expect(same(data, pattern(512, at))).toBe(true));
    expect(rig.log().filter((line) => line.includes("commands at a time from now on")).length).toBeGreaterThan(0);
    expect(rig.problems()).toEqual([]);
  });

  test.each([
    ["TASK SET FULL", 0x28],
    ["BUSY", 0x08],
  ])("%s to everything: asked again, and given up at the command's deadline", async (_, value) => {
    const rig = await attachUas({ speed });
    rig.drive.faults.add({ phase: "cbw", nth: "every", operationCode: READ_10, action: { kind: "refuse", value } });
    await expect(rig.run(() => rig.disk().read(0, 1))).rejects.toMatchObject({ code: "ETIMEDOUT" });
    rig.drive.faults.clear();
    expect((await rig.run(() => rig.disk().read(0, 1))).length).toBe(512);
  });

  test("one command that never ends is aborted alone and sent once more: the others do not notice", async () => {
    const rig = await attachUas({ speed });
    const disk = rig.disk();
    rig.drive.faults.add({ phase: "cbw", nth: 3, operationCode: READ_10, action: { kind: "nak" } });
    const results = await rig.run(() => Promise.allSettled(Array.from({ length: 8 }, (_, at) => disk.read(at, 1))));
    expect(results.filter(({ status }) => status === "rejected")).toEqual([]);
    expect(rig.log().filter((line) => line.includes("the command's time is up")).length).toBe(1);
    expect(rig.log().filter((line) => line.includes("resetting the port"))).toEqual([]);
    expect(rig.drive.taskCount).toBe(0);
    expect(rig.sim.clock.pendingTimers).toBe(0);
  });

  test("while one is aborted, the others go on to their ends", async () => {
    const rig = await attachUas({ speed });
    const { clock } = rig.sim;
    const disk = rig.disk();
    await rig.run(() => disk.write(8, pattern(512, 1)));
    rig.drive.faults.add({ phase: "cbw", nth: 1, operationCode: READ_10, action: { kind: "nak" } });
    rig.drive.faults.add({ phase: "task", nth: 1, action: { kind: "delay", ms: 1_000 } });
    const began = clock.nowMs();
    const stuck = disk.read(0, 1).catch((error: unknown) => error);
    await clock.advance(29_900);
    // Its data comes when the abort of the first is under way.
    rig.drive.faults.add({ phase: "ready", nth: 1, operationCode: READ_10, action: { kind: "delay", ms: 500 } });
    rig.drive.faults.add({ phase: "dataIn", nth: 1, operationCode: READ_10, action: { kind: "delay", ms: 500 } });
    const data = await rig.run(() => disk.read(8, 1));
    expect(same(data, pattern(512, 1))).toBe(true);
    expect(clock.nowMs() - began).toBeLessThan(31_000);
    expect(await rig.run(() => stuck)).toHaveLength(512);
    expect(rig.drive.counters.busResets).toBe(1);
  });

  test("a caller that gives up: its command is taken back, the others go on", async () => {
    const rig = await attachUas({ speed });
    const disk = rig.disk();
    rig.drive.faults.add({ phase: "cbw", nth: 1, operationCode: READ_10, action: { kind: "nak" } });
    const stop = new AbortController();
    const given = disk.read(0, 1, { signal: stop.signal });
    rig.sim.clock.startTimer(50, () => stop.abort());
    const other = disk.write(8, pattern(512, 1));
    await expect(rig.run(() => given)).rejects.toMatchObject({ code: "ECANCELED" });
    await rig.run(() => other);
    expect(rig.drive.taskCount).toBe(0);
    expect(rig.problems()).toEqual([]);
  });

  test("an idle drive makes no wake-ups", async () => {
    const rig = await attachUas({ speed });
    await rig.run(() => rig.disk().read(0, 8));
    const transfers = rig.vhc.transferCount;
    await rig.sim.clock.advance(3_600_000);
    expect([rig.vhc.transferCount, rig.sim.clock.pendingTimers]).toEqual([transfers, 0]);
  });
});

test("at SuperSpeed without streams it is left to umass", async () => {
  const rig = makeRig([umass, uas]);
  Object.assign(rig.vhc, { allocStreams: () => Promise.resolve(0) });
  await rig.boot();
  await plugIn(rig, 1, new FlashDrive({ clock: rig.sim.clock, speed: "super", uas: {}, units: [unit()] }));
  expect(treeNames(rig)).toContain("umass0");
  expect(rig.log().join("\n")).toContain("0 bulk streams, 2 are needed at SuperSpeed");
});

test("a device that is known not to do UAS gets umass; with revision where the row has one", async () => {
  const row = UAS_QUIRKS.find(({ product }) => product === 0x9210);
  const rig = await attachUas({ vendorId: row?.vendor ?? 0, productId: row?.product ?? 0 });
  expect(treeNames(rig)).toContain("umass0");
  expect(findUasQuirks({ vendor: 0x0984, product: 0x0301, revision: 0x0127 }).rows).toEqual([]);
  expect(findUasQuirks({ vendor: 0x0984, product: 0x0301, revision: 0x0128 }).quirks).toEqual({ noUas: true });
});

describe.each(["high", "super"] as const)("%s speed: what the device gets wrong", (speed) => {
  const WRONG: readonly { readonly name: string; readonly phase: Fault["phase"]; readonly action: FaultAction }[] = [
    { name: "a SENSE IU for another tag", phase: "csw", action: { kind: "tag", offset: 1 } },
    { name: "a SENSE IU for a tag far away", phase: "csw", action: { kind: "tag", offset: 0x8000 } },
    { name: "a SENSE IU twice", phase: "csw", action: { kind: "duplicate" } },
    { name: "an IU of no kind", phase: "csw", action: { kind: "iu", value: 0xff } },
    { name: "READ READY for a status", phase: "csw", action: { kind: "iu", value: 6 } },
    { name: "RESPONSE for a status", phase: "csw", action: { kind: "iu", value: 4 } },
    { name: "an IU of 3 bytes", phase: "csw", action: { kind: "length", bytes: 3 } },
    { name: "an IU of 4096 bytes", phase: "csw", action: { kind: "length", bytes: 4096 } },
    { name: "sense data longer than the IU", phase: "csw", action: { kind: "corrupt", at: 14, value: 0xff } },
    { name: "a status that is not defined", phase: "csw", action: { kind: "status", value: 0x77 } },
    { name: "CHECK CONDITION with nothing to say", phase: "csw", action: { kind: "status", value: 0x02 } },
    { name: "TASK ABORTED", phase: "csw", action: { kind: "status", value: 0x40 } },
    { name: "RESPONSE: invalid information unit", phase: "cbw", action: { kind: "response", value: 2 } },
    { name: "RESPONSE: incorrect LUN", phase: "cbw", action: { kind: "response", value: 9 } },
    { name: "RESPONSE: overlapped tag", phase: "cbw", action: { kind: "response", value: 0x0a } },
    { name: "the command pipe stalled", phase: "cbw", action: { kind: "stall", afterBytes: 0 } },
    // For a tag that waits as well nobody could tell: the data would be those of another command.
    { name: "READY for a tag far away", phase: "ready", action: { kind: "tag", offset: 0x8000 } },
    { name: "READY twice", phase: "ready", action: { kind: "duplicate" } },
    { name: "READY for the other direction", phase: "ready", action: { kind: "iu", value: 7 } },
    { name: "READY that never comes", phase: "ready", action: { kind: "nak" } },
    { name: "the status pipe stalled before READY", phase: "ready", action: { kind: "stall", afterBytes: 0 } },
  ];
  for (const { name, phase, action } of WRONG)
    for (const nth of [1, "every"] as const)
      test(`${name}, ${nth === 1 ? "once" : "every time"}, with others in flight`, async () => {
        const rig = await attachUas({ speed });
        const disk = rig.disk();
        const before = Array.from({ length: 8 }, (_, at) => pattern(4096, at));
        await rig.run(() => Promise.all(before.map((data, at) => disk.write(at * 8, data))));
        await rig.run(() => disk.flush());
        for (const operationCode of [READ_10, WRITE_10]) rig.drive.faults.add({ phase, nth, operationCode, action });
        const reads = await rig.run(() => Promise.allSettled(before.map((_, at) => disk.read(at * 8, 8))));
        reads.forEach((read, at) => {
          if (read.status === "fulfilled") expect(same(read.value, pattern(4096, at))).toBe(true);
          else expect(read.reason).toMatchObject({ name: "DeviceError" });
        });
        const isTimeout = action.kind === "nak";
        if (nth === 1 && !isTimeout) expect(reads.every(({ status }) => status === "fulfilled")).toBe(true);
        const wrote = await rig.run(() =>
          Promise.allSettled(before.map((_, at) => disk.write(at * 8, pattern(4096, 50 + at)))),
        );
        rig.drive.faults.clear();
        for (const [at, { status }] of wrote.entries())
          if (status === "fulfilled")
            expect(same(await rig.run(() => disk.read(at * 8, 8)), pattern(4096, 50 + at))).toBe(true);
        expect(rig.drive.taskCount).toBe(0);
        expect(rig.sim.clock.pendingTimers).toBe(0);
      });
});

describe.each(["high", "super"] as const)("%s speed: recovery, step by step", (speed) => {
  /** A read that never ends, then whatever becomes of task management, then the read once more. */
  async function stuck(rig: UasRig): Promise<unknown> {
    rig.drive.faults.add({ phase: "cbw", nth: 1, operationCode: READ_10, action: { kind: "nak" } });
    return rig.run(() =>
      rig
        .disk()
        .read(0, 1)
        .catch((error: unknown) => error),
    );
  }
  const steps = (rig: UasRig): string[] =>
    rig
      .problems()
      .filter((line) => line.includes("uas0"))
      .map((line) => line.replace(/^warn uas0: (lun 0: )?/, ""));

  test("ABORT TASK is enough", async () => {
    const rig = await attachUas({ speed });
    expect(await stuck(rig)).toHaveLength(512);
    expect(steps(rig)).toEqual(["recovery: the command's time is up"]);
    expect(rig.drive.counters.busResets).toBe(1);
  });

  test("ABORT TASK is not supported: LOGICAL UNIT RESET", async () => {
    const rig = await attachUas({ speed });
    rig.drive.faults.add({ phase: "task", nth: 1, action: { kind: "response", value: 4 } });
    expect(await stuck(rig)).toHaveLength(512);
    expect(steps(rig)[1]).toBe("abortTask: function not supported");
    expect(rig.drive.counters.busResets).toBe(1);
    // The unit attention of that reset is our own: nothing was lost.
    await rig.run(() => rig.disk().write(0, pattern(512, 1)));
    await rig.run(() => rig.disk().flush());
  });

  test.each([
    ["is answered with nothing", { kind: "nak" }],
    ["fails", { kind: "response", value: 5 }],
    ["is answered for another tag", { kind: "tag", offset: 1 }],
    ["is answered with a SENSE IU", { kind: "iu", value: 3 }],
    ["is answered with 3 bytes", { kind: "length", bytes: 3 }],
  ] as const)("task management that %s: a port reset", async (_, action) => {
    const rig = await attachUas({ speed });
    rig.drive.faults.add({ phase: "task", nth: "every", action });
    expect(await stuck(rig)).toHaveLength(512);
    expect(steps(rig)).toContain("resetting the port");
    expect(rig.drive.counters.busResets).toBe(2);
    rig.drive.faults.clear();
    await rig.run(() => rig.disk().write(0, pattern(512, 1)));
    expect(same(await rig.run(() => rig.disk().read(0, 1)), pattern(512, 1))).toBe(true);
  });

  test("TASK SET FULL for a command that is being aborted: it is not sent once more after its end was told", async () => {
    const rig = await attachUas({ speed });
    const late = { kind: "delay", ms: DEFAULT_COMMAND_TIMEOUT_MS + 500 } as const;
    rig.drive.faults.add({ phase: "cbw", nth: 1, operationCode: WRITE_10, action: { kind: "refuse", value: 0x28 } });
    rig.drive.faults.add({ phase: "csw", nth: 1, action: late });
    rig.drive.faults.add({ phase: "task", nth: 1, action: { kind: "response", value: 0 } });
    rig.drive.faults.add({ phase: "task", nth: 1, action: { kind: "delay", ms: 1_000 } });
    let writes = 0;
    rig.vhc.trace(({ transfer: { data } }) => {
      if (data.length === commandIu.size && data[0] === IU.COMMAND && data[16] === WRITE_10) writes++;
    });
    await rig.run(() => rig.disk().write(0, pattern(512, 7)));
    await rig.settle();
    // The one that was refused, and the one that sd sends in its place.
    expect(writes).toBe(2);
    expect(same(await rig.run(() => rig.disk().read(0, 1)), pattern(512, 7))).toBe(true);
    expect(rig.sim.clock.pendingTimers).toBe(0);
  });

  test("it goes wrong too often: bulk-only transport from then on, and no request of a client fails for it", async () => {
    const rig = await attachUas({ speed });
    const disk = rig.disk();
    await rig.run(() => disk.write(0, pattern(4096, 7)));
    rig.drive.faults.add({ phase: "csw", nth: "every", operationCode: READ_10, action: { kind: "tag", offset: 9 } });
    for (let round = 0; round < 3; round++) await rig.run(() => disk.read(0, 8).catch(() => undefined));
    expect(rig.log()).toContain("warn uas0: bulk-only transport from now on");
    expect(rig.demotions[0]).toMatch(/^bot: .*tag/);
    rig.drive.faults.clear();
    expect(same(await rig.run(() => disk.read(0, 8)), pattern(4096, 7))).toBe(true);
    expect(rig.switched).toEqual(["+sd0"]);
    const uasTasks = rig.drive.taskCount;
    await rig.run(() => Promise.all(Array.from({ length: 8 }, (_, at) => disk.write(at, pattern(512, at)))));
    expect([uasTasks, rig.drive.taskCount]).toEqual([0, 0]);
    await rig.run(() => rig.kernel.shutdown());
    expect(rig.sim.clock.pendingTimers).toBe(0);
  });

  test("a device that fails at attach is left to umass", async () => {
    const rig = makeRig([umass, uas]);
    const action = { kind: "tag", offset: 9 } as const;
    const faults = [{ phase: "csw", nth: "every", operationCode: 0x12, action } as const];
    const drive = new FlashDrive({ clock: rig.sim.clock, speed, uas: {}, units: [unit()], faults });
    rig.vhc.trace(({ transfer }) => {
      // Over bulk-only transport it is in order.
      if (transfer.type === "bulk" && transfer.data.length === 31) drive.faults.clear();
    });
    await rig.boot();
    await plugIn(rig, 1, drive);
    expect(treeNames(rig), rig.log().join("\n")).toContain("umass0");
    expect(rig.device("sd0")).toBeDefined();
    expect(rig.demotions[0]).toMatch(/^bot: /);
  });

  test("without another setting it goes on with UAS as long as resets help", async () => {
    const rig = await attachUas({ speed, uas: { only: true } });
    const disk = rig.disk();
    await rig.run(() => disk.write(0, pattern(4096, 7)));
    rig.drive.faults.add({ phase: "csw", nth: "every", operationCode: READ_10, action: { kind: "tag", offset: 9 } });
    for (let round = 0; round < 10; round++) await rig.run(() => disk.read(0, 8).catch(() => undefined));
    rig.drive.faults.clear();
    expect(same(await rig.run(() => disk.read(0, 8)), pattern(4096, 7))).toBe(true);
    expect(rig.demotions).toEqual([]);
  });

  test("what went wrong in a process before is not tried again: bulk-only transport, and it says why", async () => {
    const rig = await attachUas({ speed }, { ...demotedOptionsOf("bot", "no answer") });
    expect(rig.notices.map(({ driver, mode }) => [driver, mode])).toEqual([
      ["umass0", "overlap (demoted before the restart: no answer)"],
    ]);
    expect(rig.demotions).toEqual([]);
  });
});

test("tasks of a process that was ended in the middle are ended before anything else is sent", async () => {
  const rig = await attachUas();
  rig.drive.faults.add({ phase: "cbw", nth: "every", operationCode: WRITE_10, action: { kind: "nak" } });
  const written = rig
    .disk()
    .write(0, pattern(512, 1))
    .catch(() => undefined);
  await rig.sim.clock.advance(10);
  expect(rig.drive.taskCount).toBe(1);
  rig.drive.faults.clear();
  const { createVhc } = await import("../../../../src/dev/vhc/vhc.js");
  const { attachUsbBus } = await import("../../../../src/dev/usb/attach-bus.js");
  const { RumpKernel } = await import("../../../../src/rump/kernel.js");
  const kernel = new RumpKernel(rig.sim);
  const controller = createVhc({ name: "vhc1", clock: rig.sim.clock });
  // Neither a bus reset nor another configuration reaches the drive, as with an OS that has enumerated it.
  const { drive } = rig;
  controller.plug(1, {
    speed: drive.speed,
    deviceDescriptor: drive.deviceDescriptor,
    configurationDescriptor: drive.configurationDescriptor,
    submit: (urb) => {
      if (urb.setup?.[0] === 0 && urb.setup[1] === 9) urb.complete("ok");
      else if (urb.setup?.[0] === 1 && urb.setup[1] === 11) urb.complete("ok");
      else drive.submit(urb);
    },
    unlink: (urb) => drive.unlink(urb),
    reset: () => {},
    onUnplug: () => {},
    close: () => Promise.resolve(),
  });
  await rig.sim.run(() => attachUsbBus({ kernel, controller, drivers: [umass, uas], interrupted: true }));
  const disk = kernel.devices.find(({ name }) => name === "sd0")?.device;
  expect(drive.taskCount).toBe(0);
  if (disk?.kind !== "disk") throw new Error(rig.log().join("\n"));
  expect(disk.info.blockCount).toBe(BLOCKS);
  expect(same(await rig.run(() => disk.read(0, 1)), new Uint8Array(512))).toBe(true);
  await rig.sim.run(() => kernel.shutdown());
  rig.vhc.unplug(1);
  await rig.run(() => written);
});
