/** A machine with a flash drive that has a volatile cache (mortal-machine.ts). */
import { SharedSlots, SLOT_BYTES } from "../../src/pud/shared-memory.js";
import type { Disk } from "../../src/rump/devsw.js";
import { FlashDrive } from "../../src/vdev/flash-drive.js";
import { MemoryStore } from "../../src/vdev/image.js";
import type { Way } from "../dev/usb/ways.js";
import { PassingDisk } from "../fakes/passing-disk.js";
import { MortalMachine, type Shared } from "./mortal-machine.js";
import { SECTOR_BYTES } from "./oracle.js";

export const SECTORS = 128;
/** Small, so that the workloads fill it: 16 KiB. */
const JOURNAL_BYTES = 16 << 10;
/** Fewer than the workloads have requests in flight. */
const SHARED_SLOTS = 4;

export class Machine extends MortalMachine {
  readonly medium = new Uint8Array(SECTORS * SECTOR_BYTES);
  readonly #drive: FlashDrive;
  readonly #shares: boolean;

  /**
   * The drive has a write cache, whatever the way in which it is driven.
   *
   * @param shares  Data go in memory that is shared, and not in frames.
   */
  constructor(seed: number, { drive, driverOptions }: Way, shares = false) {
    super(seed, {
      host: { replug: { journalBytes: JOURNAL_BYTES } },
      life: driverOptions === undefined ? {} : { driverOptions },
      ...(shares ? { share } : {}),
    });
    this.#shares = shares;
    this.#drive = new FlashDrive({
      clock: this.sim.clock,
      units: [{ store: new MemoryStore(this.medium), blockBytes: SECTOR_BYTES, writeCache: true }],
      ...drive,
    });
    this.begin(this.#drive);
  }

  /** The disk, when it is there. */
  async disk(): Promise<Disk> {
    const device = await this.served();
    if (device.kind !== "disk") throw new Error(`a ${device.kind} in place of the disk; ${this.story()}`);
    return this.#shares ? new PassingDisk(device) : device;
  }

  /** The power fails for good. */
  powerOff(seed: number): void {
    this.stopHost("the power failed");
    this.#drive.powerCut(seed);
  }

  protected losePower(seed: number): void {
    this.#drive.powerCut(seed);
  }
}

function share(): Shared {
  const mapped = new ArrayBuffer(SHARED_SLOTS * SLOT_BYTES);
  return { mapped, slots: new SharedSlots(mapped, SECTOR_BYTES) };
}
