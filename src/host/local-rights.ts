/** The rights of this process, as sessions that run in it use them (session/rights.ts). */
import createDebug from "debug";
import { SharedSlots } from "../pud/shared-memory.js";
import { mapMemory } from "../rumpuser/real/addon.js";
import { streamOfSocket } from "../rumpuser/real/byte-stream.js";
import type {
  RumpDemand,
  RumpProcess,
  SessionDevice,
  SessionRights,
  SessionSource,
  SharedMemory,
} from "../session/rights.js";
import type { ProcessExit } from "./process-exit.js";
import type { SandboxReport } from "./sandbox/verify.js";
import { MemoryFile } from "./shared-memory.js";
import type { DeviceSource, OpenedDevice } from "./sources/source.js";
import type { RumpPlace } from "./spawn.js";
import { type RumpStarterContext, sendDevice, startRump } from "./start-rump.js";
import type { TakeUnit } from "./units.js";

export function localRights(takeUnit: TakeUnit): SessionRights {
  return { takeUnit };
}

export function localSource(source: DeviceSource, context: RumpStarterContext): SessionSource {
  const { key, mayReturn } = source;
  const debug = createDebug(`rumpusb:${key}`);
  return {
    key,
    mayReturn,
    open: async () => new LocalDevice(await source.open(), context, debug),
    createMemory: async () => new LocalMemory(),
  };
}

class LocalMemory implements SharedMemory {
  readonly file = new MemoryFile();
  readonly slots: SharedSlots;

  /** @throws SystemCallError the kernel has none to give. */
  constructor() {
    try {
      this.slots = new SharedSlots(mapMemory(this.file.fd, this.file.bytes));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    this.file.close();
  }
}

class LocalDevice implements SessionDevice {
  readonly #opened: OpenedDevice;
  readonly #context: RumpStarterContext;
  readonly #onLine: (line: string) => void;

  constructor(opened: OpenedDevice, context: RumpStarterContext, onLine: (line: string) => void) {
    this.#opened = opened;
    this.#context = context;
    this.#onLine = onLine;
  }

  async start(demand: RumpDemand): Promise<RumpProcess> {
    const { memory, besides } = demand;
    const place = await startRump(
      this.#context,
      this.#opened,
      {
        ...demand,
        memory: memory === undefined ? undefined : ours(memory, LocalMemory).file,
        besides: placeOf(besides),
      },
      this.#onLine,
    );
    return new LocalProcess(place, memory);
  }

  sendTo(process: RumpProcess): void {
    sendDevice(this.#opened, ours(process, LocalProcess).place);
  }

  async reopen(): Promise<boolean> {
    return await this.#opened.reopen();
  }

  async release(): Promise<void> {
    await this.#opened.release();
  }
}

class LocalProcess implements RumpProcess {
  readonly place: RumpPlace;
  readonly pud;
  readonly memory: SharedMemory | undefined;

  constructor(place: RumpPlace, memory: SharedMemory | undefined) {
    this.place = place;
    this.pud = streamOfSocket(place.channel);
    this.memory = place.hasMemory ? memory : undefined;
  }

  get pid(): number {
    return this.place.pid;
  }

  get locked(): Promise<SandboxReport> {
    return this.place.locked;
  }

  get exited(): Promise<ProcessExit> {
    return this.place.exited;
  }

  lastWords(): readonly string[] {
    return this.place.lastWords();
  }

  askProcessorWait(told: (waitedMs: number) => void): void {
    told(this.place.processorWaitMs());
  }

  kill(): void {
    this.place.kill();
  }

  discard(): void {
    this.pud.destroy(); // a process that others share lets go of the device, and says so
    this.place.discard();
  }
}

function placeOf(process: RumpProcess | undefined): RumpPlace | undefined {
  return process === undefined ? undefined : ours(process, LocalProcess).place;
}

/** What these rights have made comes back to them, and nothing else does. */
function ours<T>(one: object, kind: abstract new (...args: never[]) => T): T {
  if (one instanceof kind) return one;
  throw new Error(`no ${kind.name} of this process`);
}
