/** What sessions need, asked of the host process (protocol.ts): this process has no rights of its own. */
import { closeSync } from "node:fs";
import type { ProcessExit } from "../host/process-exit.js";
import type { SandboxReport } from "../host/sandbox/verify.js";
import type { HeldUnit } from "../host/units.js";
import { type Deferred, deferred } from "../host/waits.js";
import { SharedSlots } from "../pud/shared-memory.js";
import { mapMemory } from "../rumpuser/real/addon.js";
import { streamOfFd } from "../rumpuser/real/byte-stream.js";
import type { ByteStream } from "../rumpuser/rumpuser.js";
import type {
  RumpDemand,
  RumpProcess,
  SessionDevice,
  SessionRights,
  SessionSource,
  SharedMemory,
} from "../session/rights.js";
import { type Messenger, thrownError } from "./messenger.js";
import type {
  MemoryAnswer,
  StartedAnswer,
  ToldDemand,
  ToldExit,
  ToldLock,
  ToldSource,
  UnitAnswer,
} from "./protocol.js";

/** The host process tells what it found when it prints the event; what is told here is only that it has looked. */
const LOOKED_AT: SandboxReport = { level: "full", layers: {} as SandboxReport["layers"], missing: [] };

export class AskedRights implements SessionRights {
  readonly #messenger: Messenger;
  readonly #processes = new Map<number, AskedProcess>();

  constructor(messenger: Messenger) {
    this.#messenger = messenger;
  }

  async takeUnit(className: string): Promise<HeldUnit> {
    const { unit, name } = await this.#ask<UnitAnswer>("takeUnit", { className });
    return { name, release: () => this.#messenger.notify("releaseUnit", { unit }) };
  }

  source({ source, key, mayReturn }: ToldSource): SessionSource {
    return {
      key,
      mayReturn,
      open: async () => {
        const { device } = await this.#ask<{ readonly device: number }>("open", { source });
        return this.#device(device);
      },
      createMemory: async () => await this.#createMemory(source),
    };
  }

  /** The host process has looked at it. */
  locked(told: ToldLock): void {
    this.#processes.get(told.process)?.tellLocked(told);
  }

  exited({ process, lastWords, ...exit }: ToldExit): void {
    this.#processes.get(process)?.tellExited(exit, lastWords);
    this.#processes.delete(process);
  }

  async #createMemory(source: number): Promise<SharedMemory> {
    const { memory, bytes, descriptors } = await this.#ask<MemoryAnswer>("createMemory", { source });
    try {
      return new AskedMemory(memory, new SharedSlots(mapMemory(descriptors[0], bytes)), this.#messenger);
    } finally {
      closeSync(descriptors[0]);
    }
  }

  #device(device: number): SessionDevice {
    return {
      start: async (demand) => await this.#start(device, demand),
      sendTo: (process) => this.#messenger.notify("send", { device, process: idOf(process) }),
      reopen: async () => await this.#ask<boolean>("reopen", { device }),
      release: async () => await this.#ask<undefined>("release", { device }),
    };
  }

  async #start(device: number, demand: RumpDemand): Promise<RumpProcess> {
    const { interrupted, driverOptions, ahead, alone, memory, besides } = demand;
    const told: ToldDemand = {
      device,
      interrupted,
      driverOptions,
      ahead,
      alone,
      ...(memory instanceof AskedMemory ? { memory: memory.id } : {}),
      ...(besides === undefined ? {} : { besides: idOf(besides) }),
    };
    // Its exit may be told as soon as this answer has been.
    const process = await this.#messenger.call("start", told, (answer) => {
      const started = answer as StartedAnswer;
      const made = new AskedProcess(started, started.hasMemory ? memory : undefined, this.#messenger);
      this.#processes.set(started.process, made);
      return made;
    });
    return process;
  }

  /** What the host process says is as the protocol has it. */
  async #ask<T>(name: string, argument: object): Promise<T> {
    return await this.#messenger.call(name, argument, (answer) => answer as T);
  }
}

class AskedMemory implements SharedMemory {
  readonly id: number;
  readonly slots: SharedSlots;
  readonly #messenger: Messenger;

  constructor(id: number, slots: SharedSlots, messenger: Messenger) {
    this.id = id;
    this.slots = slots;
    this.#messenger = messenger;
  }

  close(): void {
    this.#messenger.notify("closeMemory", { memory: this.id });
  }
}

class AskedProcess implements RumpProcess {
  readonly id: number;
  readonly pud: ByteStream;
  readonly memory: SharedMemory | undefined;
  readonly locked: Promise<SandboxReport>;
  readonly #messenger: Messenger;
  readonly #exited: Deferred<ProcessExit> = deferred();
  #settleLocked: { resolve(report: SandboxReport): void; reject(error: Error): void } | undefined;
  #pid: number;
  #lastWords: readonly string[] = [];
  #hasEnded = false;

  constructor({ process, pid, descriptors }: StartedAnswer, memory: SharedMemory | undefined, messenger: Messenger) {
    this.id = process;
    this.#pid = pid;
    this.pud = streamOfFd(descriptors[0]);
    this.memory = memory;
    this.#messenger = messenger;
    this.locked = new Promise((resolve, reject) => {
      this.#settleLocked = { resolve, reject };
    });
    this.locked.catch(() => {}); // whoever waits for it is told; a session that ends first does not
  }

  get pid(): number {
    return this.#pid;
  }

  get exited(): Promise<ProcessExit> {
    return this.#exited.promise;
  }

  lastWords(): readonly string[] {
    return this.#lastWords;
  }

  askProcessorWait(told: (waitedMs: number) => void): void {
    const asked = this.#messenger.call("processorWait", { process: this.id }, (answer) => answer as number);
    // A process that has ended, for one: nobody is to wait for the answer.
    asked.then(told, () => told(0));
  }

  kill(): void {
    if (!this.#hasEnded) this.#messenger.notify("kill", { process: this.id });
  }

  discard(): void {
    this.pud.destroy(); // a process that others share lets go of the device, and says so
    if (!this.#hasEnded) this.#messenger.notify("discard", { process: this.id });
  }

  tellLocked({ pid, error }: ToldLock): void {
    this.#pid = pid;
    if (error === undefined) this.#settleLocked?.resolve(LOOKED_AT);
    else this.#settleLocked?.reject(thrownError(error));
  }

  tellExited(exit: ProcessExit, lastWords: readonly string[]): void {
    this.#hasEnded = true;
    this.#lastWords = lastWords;
    this.#exited.resolve(exit);
  }
}

function idOf(process: RumpProcess): number {
  if (process instanceof AskedProcess) return process.id;
  throw new Error("no process of the host process");
}
