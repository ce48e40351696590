/**
 * What the pud process may ask for (pud-process/protocol.ts), done with the rights of this process.
 *
 * Nothing that it says is believed: it gets devices that were chosen here, processes for those that are open, memory and names, each
 * of them bounded. What it holds when it has ended is undone by `releaseAll`.
 */
import createDebug from "debug";
import * as v from "valibot";
import { WithDescriptors, wireError } from "../pud-process/messenger.js";
import type { MemoryAnswer, StartedAnswer, ToldExit, ToldLock, UnitAnswer } from "../pud-process/protocol.js";
import { fdOfSocket } from "../rumpuser/real/byte-stream.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import { HostError, messageOf } from "./errors.js";
import { HeadStart, type HeadStartOptions } from "./head-start.js";
import { Numbered } from "./numbered.js";
import type { SandboxReport } from "./sandbox/verify.js";
import { MemoryFile } from "./shared-memory.js";
import type { DeviceSource, OpenedDevice } from "./sources/source.js";
import type { RumpPlace } from "./spawn.js";
import { type RumpStarterContext, sendDevice, startRump } from "./start-rump.js";
import type { HeldUnit, TakeUnit } from "./units.js";
import { waitAtMost } from "./waits.js";

const MAX_SOURCES = 1024;
/** One that drives it, one in reserve, and those that are ending. */
const MAX_PROCESSES = 8;
const MAX_ENDED = 256;
const MAX_UNITS = 4096;
/** Between SIGKILL and its effect. */
const EXIT_MS = 2_000;

export interface PudServicesContext extends RumpStarterContext {
  readonly clock: Clock;
  readonly takeUnit: TakeUnit;
  /** Tells the pud process something. */
  readonly notify: (name: string, argument: object) => void;
}

interface HeldSource {
  readonly source: DeviceSource;
  readonly debug: (line: string) => void;
  isOpen: boolean;
  /** As it was opened last. */
  device: number | undefined;
  headStart: HeadStart | undefined;
}

/** Stays after its release, until its source is opened again: a process may be started for it to wait for its return. */
interface HeldDevice {
  readonly from: HeldSource;
  readonly opened: OpenedDevice;
  processes: number;
  isReleased: boolean;
}

interface HeldPlace {
  readonly place: RumpPlace;
  isLocked: boolean;
}

const Id = v.pipe(v.number(), v.integer());
const Device = v.object({ device: Id });
const Process = v.object({ process: Id });
const DriverOption = v.string();
const Demand = v.object({
  device: Id,
  interrupted: v.boolean(),
  driverOptions: v.record(v.string(), v.record(v.string(), DriverOption)),
  memory: v.optional(Id),
  ahead: v.boolean(),
  alone: v.boolean(),
  besides: v.optional(Id),
});
const ClassName = v.object({ className: v.pipe(v.string(), v.regex(/^[a-zA-Z]{1,16}$/)) });

export class PudServices {
  readonly #context: PudServicesContext;
  readonly #sources = new Numbered<HeldSource>("source", MAX_SOURCES);
  readonly #devices = new Numbered<HeldDevice>("open device", MAX_SOURCES);
  readonly #places = new Numbered<HeldPlace>("process", MAX_SOURCES * MAX_PROCESSES);
  /** Those that have ended last: a device that shared one is not put back where it comes from. */
  readonly #ended = new Map<number, RumpPlace>();
  readonly #memories = new Numbered<MemoryFile>("piece of memory", MAX_SOURCES);
  readonly #units = new Numbered<HeldUnit>("unit", MAX_UNITS);
  /** Resolves when what was begun and not asked for has been undone. */
  #undone: Promise<unknown> = Promise.resolve();
  #report: SandboxReport | undefined;
  #isOver = false;

  /** For the messenger. */
  readonly calls = {
    open: async (told: unknown) => await this.#open(v.parse(v.object({ source: Id }), told).source),
    reopen: async (told: unknown) => await this.#reopen(v.parse(Device, told).device),
    release: async (told: unknown) => await this.#release(v.parse(Device, told).device),
    start: async (told: unknown) => await this.#start(v.parse(Demand, told)),
    processorWait: (told: unknown) => this.#places.get(v.parse(Process, told).process).place.processorWaitMs(),
    createMemory: (told: unknown) => this.#createMemory(v.parse(v.object({ source: Id }), told).source),
    takeUnit: async (told: unknown) => await this.#takeUnit(v.parse(ClassName, told).className),
  };

  /** What is told of a process or device that has gone meanwhile means nothing. */
  readonly notices = {
    send: (told: unknown) => {
      const { device, process } = v.parse(v.object({ device: Id, process: Id }), told);
      this.#send(device, process);
    },
    kill: (told: unknown) => this.#places.find(v.parse(Process, told).process)?.place.kill(),
    discard: (told: unknown) => this.#places.find(v.parse(Process, told).process)?.place.discard(),
    closeMemory: (told: unknown) => this.#memories.remove(v.parse(v.object({ memory: Id }), told).memory)?.close(),
    releaseUnit: (told: unknown) => this.#units.remove(v.parse(v.object({ unit: Id }), told).unit)?.release(),
  };

  constructor(context: PudServicesContext) {
    this.#context = context;
  }

  /** How the process that locked itself last is kept; they are all kept alike. */
  get report(): SandboxReport | undefined {
    return this.#report;
  }

  /** @returns the number by which the pud process may open it. @throws HostError FAILED: there are too many. */
  addSource(source: DeviceSource): number {
    const debug = createDebug(`rumpusb:${source.key}`);
    return this.#sources.add({ source, debug, isOpen: false, device: undefined, headStart: undefined });
  }

  /** Opens a source, and starts a process for it, before the pud process has asked for that. */
  begin(number: number, options: Pick<HeadStartOptions, "driverOptions" | "sharesMemory">): void {
    const from = this.#sources.get(number);
    from.headStart = new HeadStart({ ...options, source: from.source, context: this.#context, onLine: from.debug });
  }

  removeSource(number: number): void {
    const from = this.#sources.remove(number);
    if (from?.device !== undefined && this.#devices.find(from.device)?.isReleased === true)
      this.#devices.remove(from.device);
    const undone = from?.headStart?.undo().catch((error: unknown) => from.debug(messageOf(error)));
    this.#undone = Promise.all([this.#undone, undone]);
  }

  killAll(): void {
    for (const { place } of this.#places.all()) place.kill();
  }

  /** Ends what it has started, and gives everything back. Bounded in time. @throws HostError KERNEL_DRIVER: not given back. */
  async releaseAll(): Promise<void> {
    this.#isOver = true;
    const places = this.#places.all();
    this.killAll();
    await waitAtMost(this.#context.clock, EXIT_MS, Promise.all(places.map(async ({ place }) => await place.exited)));
    for (const memory of this.#memories.all()) memory.close();
    for (const unit of this.#units.all()) unit.release();
    await this.#undone;
    const released = await Promise.allSettled([
      ...this.#devices.all().map(async ({ opened }) => await opened.release()),
      ...this.#sources.all().map(async ({ headStart }) => await headStart?.undo()),
    ]);
    for (const outcome of released) if (outcome.status === "rejected") throw outcome.reason;
  }

  async #open(number: number): Promise<{ readonly device: number }> {
    const from = this.#sources.get(number);
    if (from.isOpen) throw new HostError("FAILED", `${from.source.key} is open already`);
    from.isOpen = true;
    try {
      const opened = await (from.headStart?.takeOpened() ?? from.source.open());
      if (from.device !== undefined) this.#devices.remove(from.device);
      const device = this.#devices.add({ from, opened, processes: 0, isReleased: false });
      from.device = device;
      if (this.#isOver) await this.#release(device);
      return { device };
    } catch (error) {
      from.isOpen = false;
      throw error;
    }
  }

  async #reopen(number: number): Promise<boolean> {
    const { opened, isReleased, from } = this.#devices.get(number);
    if (isReleased) throw new HostError("DEVICE_GONE", `${from.source.key} was let go`);
    return await opened.reopen();
  }

  async #release(number: number): Promise<undefined> {
    const device = this.#devices.find(number);
    if (device === undefined || device.isReleased) return;
    device.isReleased = true;
    await device.opened.release();
    device.from.isOpen = false;
  }

  async #start(demand: v.InferOutput<typeof Demand>): Promise<WithDescriptors> {
    const { interrupted, driverOptions, ahead, alone } = demand;
    const device = this.#devices.get(demand.device);
    const { from, opened } = device;
    if (device.processes >= MAX_PROCESSES)
      throw new HostError("FAILED", `${from.source.key} has ${MAX_PROCESSES} processes already`);
    const memory = demand.memory === undefined ? undefined : this.#memories.get(demand.memory);
    const besides =
      demand.besides === undefined
        ? undefined
        : (this.#places.find(demand.besides)?.place ?? this.#ended.get(demand.besides));
    device.processes++;
    let place: RumpPlace;
    try {
      const asked = { interrupted, driverOptions, ahead, alone, memory, besides };
      place = await (from.headStart?.takePlace(asked) ?? startRump(this.#context, opened, asked, from.debug));
    } catch (error) {
      device.processes--;
      throw error;
    }
    void place.exited.then(() => device.processes--);
    const held: HeldPlace = { place, isLocked: false };
    const process = this.#places.add(held);
    if (this.#isOver) place.kill();
    const answer: Omit<StartedAnswer, "descriptors"> = { process, pid: place.pid, hasMemory: place.hasMemory };
    return new WithDescriptors(answer, [fdOfSocket(place.channel)], () => {
      place.channel.destroy(); // the pud process has it
      this.#watch(process, held);
    });
  }

  /** What becomes of it is told once the pud process knows it. */
  #watch(process: number, held: HeldPlace): void {
    const { place } = held;
    const { notify } = this.#context;
    const lock = (error?: unknown): void => {
      const told: ToldLock = { process, pid: place.pid, ...(error === undefined ? {} : { error: wireError(error) }) };
      notify("locked", told);
    };
    place.locked.then((report) => {
      held.isLocked = true;
      this.#report = report;
      lock();
    }, lock);
    void place.exited.then((exit) => {
      this.#places.remove(process);
      this.#remember(process, place);
      const told: ToldExit = { process, ...exit, lastWords: place.lastWords() };
      notify("exited", told);
    });
  }

  #remember(process: number, place: RumpPlace): void {
    this.#ended.set(process, place);
    const [oldest] = this.#ended.keys();
    if (this.#ended.size > MAX_ENDED && oldest !== undefined) this.#ended.delete(oldest);
  }

  #send(deviceNumber: number, processNumber: number): void {
    const device = this.#devices.find(deviceNumber);
    const held = this.#places.find(processNumber);
    if (device === undefined || device.isReleased || held === undefined) return;
    if (!held.isLocked) throw new Error(`process ${held.place.pid} is to get its device before it is locked`);
    try {
      sendDevice(device.opened, held.place);
    } catch {
      held.place.kill(); // it has ended, or cannot be reached: its exit says so
    }
  }

  #createMemory(source: number): WithDescriptors {
    const memory = this.#sources.get(source).headStart?.takeMemory() ?? new MemoryFile();
    try {
      const answer: Omit<MemoryAnswer, "descriptors"> = { memory: this.#memories.add(memory), bytes: memory.bytes };
      return new WithDescriptors(answer, [memory.fd]);
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  async #takeUnit(className: string): Promise<UnitAnswer> {
    const unit = await this.#context.takeUnit(className);
    try {
      return { unit: this.#units.add(unit), name: unit.name };
    } catch (error) {
      unit.release();
      throw error;
    }
  }
}
