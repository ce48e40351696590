/**
 * A device that is opened, and its first process that is started, while the pud process still starts: all that it can ask for first is
 * there then. What it does not ask for is undone.
 */
import type { AllDriverOptions } from "./modes.js";
import { MemoryFile } from "./shared-memory.js";
import type { DeviceSource, OpenedDevice } from "./sources/source.js";
import type { RumpPlace } from "./spawn.js";
import { type PlaceDemand, type RumpStarterContext, startRump } from "./start-rump.js";

export interface HeadStartOptions {
  readonly source: DeviceSource;
  readonly context: RumpStarterContext;
  /** Of the run. */
  readonly driverOptions: AllDriverOptions;
  readonly sharesMemory: boolean;
  readonly onLine: (line: string) => void;
}

export class HeadStart {
  readonly #driverOptions: AllDriverOptions;
  #opened: Promise<OpenedDevice> | undefined;
  #memory: MemoryFile | undefined;
  #place: Promise<RumpPlace> | undefined;

  constructor({ source, context, driverOptions, sharesMemory, onLine }: HeadStartOptions) {
    this.#driverOptions = driverOptions;
    const memory = sharesMemory ? newMemory() : undefined;
    this.#memory = memory;
    const opened = source.open();
    const demand = { interrupted: false, driverOptions, memory, ahead: false, alone: false, besides: undefined };
    const place = opened.then(async (it) => await startRump(context, it, demand, onLine));
    for (const one of [opened, place]) one.catch(() => {}); // who asks for it is told
    this.#opened = opened;
    this.#place = place;
  }

  /** Once. Undefined: it was taken. @throws what the source says */
  takeOpened(): Promise<OpenedDevice> | undefined {
    const opened = this.#opened;
    this.#opened = undefined;
    return opened;
  }

  /** Once. Undefined: it was taken, or there is none. */
  takeMemory(): MemoryFile | undefined {
    const memory = this.#memory;
    this.#memory = undefined;
    return memory;
  }

  /** Once, where it is one of the kind that is asked for. @throws HostError as startRump */
  takePlace({ interrupted, driverOptions, ahead, alone }: PlaceDemand): Promise<RumpPlace> | undefined {
    const isOne = !interrupted && !ahead && !alone;
    if (!isOne || JSON.stringify(driverOptions) !== JSON.stringify(this.#driverOptions)) return undefined;
    const place = this.#place;
    this.#place = undefined;
    return place;
  }

  /** Undoes what was not taken. Bounded in time as `release` of the device is. @throws HostError KERNEL_DRIVER */
  async undo(): Promise<void> {
    const place = await this.#place?.catch(() => undefined);
    this.#place = undefined;
    place?.discard();
    this.takeMemory()?.close();
    const opened = await this.takeOpened()?.catch(() => undefined);
    await opened?.release();
  }
}

/** Undefined: the kernel has none to give, which whoever asks for it is told. */
function newMemory(): MemoryFile | undefined {
  try {
    return new MemoryFile();
  } catch {
    return undefined;
  }
}
