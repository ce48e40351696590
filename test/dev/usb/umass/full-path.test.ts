/** The real stack and driver against the flash drive model, on the simulated host: no hardware, no real time. */
import { describe, expect, test } from "vitest";
import { createVhc } from "../../../../src/dev/vhc/vhc.js";
import { attachUsbBus } from "../../../../src/dev/usb/attach-bus.js";
import { DeviceError, type Disk } from "../../../../src/rump/devsw.js";
import { RumpKernel } from "../../../../src/rump/kernel.js";
import { createSimulatedRumpuser } from "../../../../src/rumpuser/simulated.js";
import { realClock } from "../../../../src/rumpuser/real/clock.js";
import type { Fault, FaultAction } from "../../../../src/vdev/faults.js";
import { FlashDrive, type FlashDriveOptions } from "../../../../src/vdev/flash-drive.js";
import { MemoryStore } from "../../../../src/vdev/image.js";
import type { UnitOptions } from "../../../../src/vdev/scsi/unit.js";
import { diskContract } from "../../../contract/disk.js";
import { makeRig, plugIn, type StackRig, treeNames } from "../rig.js";
import { STORAGE_DRIVERS, WAY_NAMES, type WayName, WAYS } from "../ways.js";

const BLOCKS = 4096;

function unit(options: Partial<UnitOptions> = {}): UnitOptions {
  return { store: new MemoryStore(BLOCKS * 512), blockBytes: 512, writeCache: true, ...options };
}

interface Rig extends Omit<StackRig, "log"> {
  readonly log: () => string[];
  readonly drive: FlashDrive;
  readonly disk: (name?: string) => Disk;
  readonly run: <T>(scenario: () => Promise<T>) => Promise<T>;
  readonly problems: () => string[];
}

async function attachDrive(options: Partial<FlashDriveOptions> = {}, way: WayName = "overlap"): Promise<Rig> {
  const { driverOptions, drive: model } = WAYS[way];
  const rig = makeRig(STORAGE_DRIVERS, { driverOptions });
  const drive = new FlashDrive({ clock: rig.sim.clock, units: [unit()], ...model, ...options });
  await rig.boot();
  await plugIn(rig, 1, drive);
  return {
    ...rig,
    drive,
    disk: (name = "sd0") => {
      const device = rig.device(name)?.device;
      if (device?.kind !== "disk") throw new Error(`no ${name}; the log says:\n${rig.log().join("\n")}`);
      return device;
    },
    run: (scenario) => rig.sim.run(scenario),
    problems: () => rig.log().filter((line) => line.startsWith("warn") || line.startsWith("error")),
  };
}

const pattern = (bytes: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, at) => (at * 31 + seed) & 0xff);

/** Bytes, and these; a comparison that prints nothing. */
function sameBytes(value: unknown, bytes: Uint8Array): boolean {
  return value instanceof Uint8Array && Buffer.compare(value, bytes) === 0;
}

/** A disk of the drive on the real clock, for suites that do not drive a virtual one. */
async function realTimeDisk(
  options: Partial<UnitOptions>,
  way: WayName,
): Promise<{ readonly disk: Disk; readonly drive: FlashDrive; readonly close: () => Promise<void> }> {
  const kernel = new RumpKernel({ ...createSimulatedRumpuser({ seed: 1 }), clock: realClock });
  const controller = createVhc({ name: "vhc0", clock: realClock });
  const { driverOptions, drive: model } = WAYS[way];
  const drive = new FlashDrive({ clock: realClock, units: [unit(options)], ...model });
  const published = new Promise<Disk>((resolve) => {
    kernel.listen({
      added: ({ device }) => {
        if (device.kind === "disk") resolve(device);
      },
      removed: () => {},
    });
  });
  controller.plug(1, drive);
  await attachUsbBus({ kernel, controller, drivers: STORAGE_DRIVERS, driverOptions });
  return { disk: await published, drive, close: () => kernel.shutdown() };
}

for (const way of WAY_NAMES)
  diskContract(`the flash drive model, ${way}`, async () => {
    const { disk, drive, close } = await realTimeDisk({}, way);
    const readOnly = await realTimeDisk({ writeProtected: true }, way);
    return {
      disk,
      readOnly: readOnly.disk,
      powerCut: () => drive.scsi.units[0]?.cache?.powerCut(7),
      close: async () => {
        await close();
        await readOnly.close();
      },
    };
  });

test.each(WAY_NAMES)(
  "a stick is attached without a word of complaint, written, flushed and read back: %s",
  async (way) => {
    const { disk, run, problems, drive } = await attachDrive({}, way);
    expect(disk().info).toMatchObject({
      blockBytes: 512,
      blockCount: BLOCKS,
      readOnly: false,
      volatileCache: true,
      canTrim: true,
      maxTransferBytes: 1 << 20,
      model: "rumpusb Flash Drive 1.00",
    });
    const data = pattern(1 << 20, 3);
    await run(() => disk().write(8, data));
    expect(drive.scsi.units[0]?.cache?.dirtySectors).toBeGreaterThan(0);
    await run(() => disk().flush());
    expect(drive.scsi.units[0]?.cache?.dirtySectors).toBe(0);
    expect(Buffer.compare(await run(() => disk().read(8, 2048)), data)).toBe(0);
    expect(problems()).toEqual([]);
  },
);

describe.each(WAY_NAMES)("%s", (way) => {
  test("an idle stick makes no wake-ups", async () => {
    const { sim, vhc } = await attachDrive({}, way);
    const transfers = vhc.transferCount;
    await sim.clock.advance(3_600_000);
    expect(vhc.transferCount).toBe(transfers);
  });

  describe("several units", () => {
    test("each is a disk with a name of its own; one waits for a medium", async () => {
      const units = [unit(), unit({ blockBytes: 4096 }), unit({ store: undefined, removable: true })];
      const { driverOptions, drive: model } = WAYS[way];
      const rig = makeRig(STORAGE_DRIVERS, { driverOptions });
      const drive = new FlashDrive({ clock: rig.sim.clock, units, ...model });
      await rig.boot();
      rig.vhc.plug(1, drive);
      await rig.sim.clock.advance(5_000);
      expect(rig.switched).toEqual(["+sd0", "+sd1"]);
      drive.insert(2, new MemoryStore(512 * 100));
      await rig.sim.clock.advance(2_000);
      expect(rig.switched).toEqual(["+sd0", "+sd1", "+sd2"]);
      await rig.sim.run(() => rig.kernel.shutdown());
      expect(rig.sim.clock.pendingTimers).toBe(0);
    });
  });

  describe("the medium", () => {
    test("another medium under a write: ESTALE, not a byte on it, a new node", async () => {
      const { disk, run, drive, switched, sim } = await attachDrive({ units: [unit({ removable: true })] }, way);
      const old = disk();
      await run(() => old.write(0, pattern(512, 1)));
      drive.eject(0, { force: true });
      const other = new MemoryStore(1000 * 512);
      drive.insert(0, other);
      const requests = [old.write(0, pattern(512, 2)), old.write(1, pattern(512, 3))];
      const results = await run(() => Promise.allSettled(requests));
      expect(results.map((r) => r.status === "rejected" && r.reason instanceof DeviceError && r.reason.code)).toEqual([
        "ESTALE",
        "ESTALE",
      ]);
      await sim.clock.advance(2_000);
      expect(other.read(0, 1024)).toEqual(new Uint8Array(1024));
      expect(switched.map((line) => line.split(" ")[0])).toEqual(["+sd0", "-sd0", "+sd0"]);
      expect(disk().info.blockCount).toBe(1000);
    });

    test("no medium any more: ENOMEDIUM, the node goes, and comes with the next one", async () => {
      const { disk, run, drive, switched, sim } = await attachDrive({ units: [unit({ removable: true })] }, way);
      const gone = disk();
      drive.eject(0, { force: true });
      await expect(run(() => gone.read(0, 1))).rejects.toMatchObject({ code: "ENOMEDIUM" });
      await sim.clock.advance(10_000);
      expect(switched).toHaveLength(2);
      drive.insert(0, new MemoryStore(512 * 64));
      await sim.clock.advance(2_000);
      expect(switched).toHaveLength(3);
      expect((await run(() => disk().read(0, 64))).length).toBe(64 * 512);
    });

    test("it is locked while it is in use, and free after detach", async () => {
      const { kernel, run, drive } = await attachDrive({ units: [unit({ removable: true })] }, way);
      expect(drive.eject(0)).toBe(false);
      await run(() => kernel.shutdown());
      expect(drive.eject(0)).toBe(true);
    });
  });

  test("detach flushes: what was answered is on the medium", async () => {
    const store = new MemoryStore(BLOCKS * 512);
    const { kernel, disk, run, problems } = await attachDrive({ units: [unit({ store })] }, way);
    const data = pattern(4096, 9);
    await run(() => disk().write(16, data));
    await run(() => kernel.shutdown());
    expect(store.read(16 * 512, 4096)).toEqual(data);
    expect(problems()).toEqual([]);
  });
});

describe.each(WAY_NAMES)("%s: faults of the wire end in the data or in an error, and the next request works", (way) => {
  const READ_10 = 0x28;
  const WRITE_10 = 0x2a;
  const ACTIONS: readonly { readonly name: string; readonly phase: Fault["phase"]; readonly action: FaultAction }[] = [
    { name: "CBW stalled", phase: "cbw", action: { kind: "stall", afterBytes: 0 } },
    { name: "data IN stalled at once", phase: "dataIn", action: { kind: "stall", afterBytes: 0 } },
    { name: "data IN stalled half-way", phase: "dataIn", action: { kind: "stall", afterBytes: 1024 } },
    { name: "data IN short", phase: "dataIn", action: { kind: "short", bytes: 700 } },
    { name: "data IN too long", phase: "dataIn", action: { kind: "extra", bytes: 512 } },
    { name: "data IN never", phase: "dataIn", action: { kind: "nak" } },
    { name: "data IN late", phase: "dataIn", action: { kind: "delay", ms: 20_000 } },
    { name: "data OUT stalled half-way", phase: "dataOut", action: { kind: "stall", afterBytes: 1024 } },
    { name: "data OUT never", phase: "dataOut", action: { kind: "nak" } },
    { name: "CSW stalled", phase: "csw", action: { kind: "stall", afterBytes: 0 } },
    { name: "CSW with another signature", phase: "csw", action: { kind: "signature", value: 0x55425355 } },
    { name: "CSW with another tag", phase: "csw", action: { kind: "tag", offset: 1 } },
    { name: "CSW of 12 bytes", phase: "csw", action: { kind: "length", bytes: 12 } },
    { name: "CSW of 14 bytes", phase: "csw", action: { kind: "length", bytes: 14 } },
    { name: "CSW of no bytes", phase: "csw", action: { kind: "length", bytes: 0 } },
    { name: "CSW with a residue", phase: "csw", action: { kind: "residue", value: 512 } },
    { name: "CSW with a residue beyond", phase: "csw", action: { kind: "residue", value: 1 << 30 } },
    { name: "phase error", phase: "csw", action: { kind: "phaseError" } },
    { name: "reserved status", phase: "csw", action: { kind: "status", value: 3 } },
    { name: "failed with nothing to say", phase: "csw", action: { kind: "status", value: 1 } },
    { name: "CSW never", phase: "csw", action: { kind: "nak" } },
  ];
  for (const { name, phase, action } of ACTIONS)
    for (const nth of [1, "every"] as const)
      test(`${name}, ${nth === 1 ? "once" : "every time"}`, async () => {
        const { disk, drive, run, log, sim } = await attachDrive({}, way);
        const before = pattern(4096, 1);
        const after = pattern(4096, 2);
        await run(() => disk().write(0, before));
        for (const operationCode of [READ_10, WRITE_10]) drive.faults.add({ phase, nth, operationCode, action });
        const node = disk();
        const read = await run(() => node.read(0, 8).catch((error: unknown) => error));
        const isNak = action.kind === "nak" && phase !== "dataOut";
        // Over UAS a device that has more to send than it is asked for does not come to its status.
        const timesOut = isNak || (action.kind === "extra" && WAYS[way].depth > 1);
        if (nth === 1) expect(sameBytes(read, before)).toBe(true);
        else if (read instanceof Uint8Array) expect(sameBytes(read, before)).toBe(true);
        else expect(read).toMatchObject({ name: "DeviceError", code: timesOut ? "ETIMEDOUT" : "EIO" });
        const wrote = await run(() =>
          node.write(0, after).then(
            () => "good",
            (error: unknown) => error,
          ),
        );
        if (wrote !== "good") expect(wrote).toMatchObject({ name: "DeviceError" });
        drive.faults.clear();
        const now = await run(() => node.read(0, 8));
        if (wrote === "good") expect(sameBytes(now, after)).toBe(true);
        expect(log().filter((line) => line.startsWith("error"))).toEqual([]);
        expect(sim.clock.pendingTimers).toBe(0);
      });
});

describe.each(WAY_NAMES)("unplug: %s", (way) => {
  const scenario = async (rig: Rig): Promise<void> => {
    const disk = rig.disk();
    await disk.write(0, pattern(4096, 1));
    await disk.read(0, 8);
    await disk.flush();
  };

  test("at every transfer, of attach and of use: everything ends, the node goes, nothing is left", async () => {
    const whole = await attachDrive({}, way);
    const atRest = whole.vhc.transferCount;
    await whole.run(() => scenario(whole));
    const transfers = whole.vhc.transferCount;
    expect(transfers - atRest).toBeGreaterThan(7);
    for (let nth = 1; nth <= transfers; nth++) {
      const rig = makeRig(STORAGE_DRIVERS, { driverOptions: WAYS[way].driverOptions });
      const drive = new FlashDrive({ clock: rig.sim.clock, units: [unit()], ...WAYS[way].drive });
      rig.vhc.fault(nth, "unplug");
      await rig.boot();
      await plugIn(rig, 1, drive);
      const disk = rig.device("sd0")?.device;
      if (disk?.kind === "disk") {
        const outcome = await rig.sim.run(async () => {
          try {
            await disk.write(0, pattern(4096, 1));
            await disk.read(0, 8);
            await disk.flush();
            return "good";
          } catch (error) {
            return error;
          }
        });
        expect(outcome).toMatchObject({ name: "DeviceError", code: "ENODEV" });
      }
      await rig.settle();
      expect(rig.kernel.devices, `after transfer ${nth}`).toEqual([]);
      expect(treeNames(rig).filter((name) => /^(umass|uas)/.test(name))).toEqual([]);
      expect(rig.log().filter((line) => /^error (umass|uas)/.test(line))).toEqual([]);
      expect(rig.sim.clock.pendingTimers).toBe(0);
    }
  });
});
