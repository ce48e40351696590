/** The uas driver on the flash drive model, on the simulated host. */
import { uas } from "../../../../src/dev/usb/uas/uas.js";
import { umass } from "../../../../src/dev/usb/umass/umass.js";
import type { DriverOptions } from "../../../../src/dev/usb/usbdi.js";
import type { Disk } from "../../../../src/rump/devsw.js";
import { FlashDrive, type FlashDriveOptions } from "../../../../src/vdev/flash-drive.js";
import { MemoryStore } from "../../../../src/vdev/image.js";
import type { UnitOptions } from "../../../../src/vdev/scsi/unit.js";
import { makeRig, plugIn, type StackRig } from "../rig.js";

export const BLOCKS = 4096;

export function unit(options: Partial<UnitOptions> = {}): UnitOptions {
  return { store: new MemoryStore(BLOCKS * 512), blockBytes: 512, writeCache: true, ...options };
}

export interface UasRig extends StackRig {
  readonly drive: FlashDrive;
  disk(name?: string): Disk;
  run<T>(scenario: () => Promise<T>): Promise<T>;
  /** Lines of the log above "info". */
  problems(): string[];
}

export async function attachUas(
  options: Partial<FlashDriveOptions> = {},
  driverOptions: Record<string, DriverOptions> = {},
): Promise<UasRig> {
  const rig = makeRig([umass, uas], { driverOptions });
  const drive = new FlashDrive({ clock: rig.sim.clock, units: [unit()], uas: {}, ...options });
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

export const pattern = (bytes: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, at) => (at * 31 + seed) & 0xff);

export const same = (a: unknown, b: Uint8Array): boolean => a instanceof Uint8Array && Buffer.compare(a, b) === 0;
