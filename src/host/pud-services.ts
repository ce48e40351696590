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
import { RateBound } from "../pud/rate-bound.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import { HostError } from "./errors.js";
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
/** Of a session: one that drives the device, one in reserve, and those that are ending. */
const MAX_PROCESSES = 8;
/** Of a session, which starts a few at once and then waits between them. */
const START_BURST = 64;
const STARTS_PER_SECOND = 10;
const MAX_ENDED = 256;
const MAX_UNITS = 4096;
/** Between SIGKILL and its effect. */
const EXIT_MS = 2_000;

export interface PudServicesContext extends RumpStarterContext {
  readonly clock: Clock;
  readonly takeUnit: TakeUnit;
  /** Tells the pud process something. */
  readonly notify: (name: string, argument: object) => void;
  /** A device cannot be given back. */
  readonly failed: (error: unknown) => void;
}

/** A session gets its own devices, in its own processes, and never those of another. */
interface HeldSession {
  readonly sources: Set<number>;
  readonly starts: RateBound;
  processes: number;
  /** The number of the device that was opened last. */
  device: number | undefined;
  isOver: boolean;
}

interface HeldSource {
  readonly session: HeldSession;
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
  isReopening: boolean;
  /** Its release, under way or done. */
  released: Promise<void> | undefined;
}

interface HeldPlace {
  readonly session: HeldSession;
  readonly place: RumpPlace;
  isLocked: boolean;
  /** What it drives. */
  device: HeldDevice | undefined;
}

interface HeldMemory {
  readonly file: MemoryFile;
  /** Whose processes share it. */
  readonly session: HeldSession;
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
  readonly #sessions = new Map<number, HeldSession>();
  readonly #sources = new Numbered<HeldSource>("source", MAX_SOURCES);
  readonly #devices = new Numbered<HeldDevice>("open device", MAX_SOURCES);
  readonly #places = new Numbered<HeldPlace>("process", MAX_SOURCES * MAX_PROCESSES);
  /** Those that have ended last: a device that shared one is not put back where it comes from. */
  readonly #ended = new Map<number, RumpPlace>();
  readonly #memories = new Numbered<HeldMemory>("piece of memory", MAX_SOURCES);
  readonly #units = new Numbered<HeldUnit>("unit", MAX_UNITS);
  /** Resolves when what was begun and not asked for has been undone. */
  #undone: Promise<unknown> = Promise.resolve();
  /** Units are looked for one after another. */
  #lastUnit: Promise<unknown> = Promise.resolve();
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
    closeMemory: (told: unknown) => this.#memories.remove(v.parse(v.object({ memory: Id }), told).memory)?.file.close(),
    releaseUnit: (told: unknown) => this.#units.remove(v.parse(v.object({ unit: Id }), told).unit)?.release(),
  };

  constructor(context: PudServicesContext) {
    this.#context = context;
  }

  /** How the process that locked itself last is kept; they are all kept alike. */
  get report(): SandboxReport | undefined {
    return this.#report;
  }

  /** It is over, and what is asked for meanwhile is for nobody. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** @returns the number by which the pud process may open it for this session. @throws HostError FAILED: there are too many. */
  addSource(number: number, source: DeviceSource): number {
    const { clock } = this.#context;
    const session = this.#sessions.get(number) ?? {
      sources: new Set(),
      starts: new RateBound(clock, START_BURST, STARTS_PER_SECOND),
      processes: 0,
      device: undefined,
      isOver: false,
    };
    const debug = createDebug(`rumpusb:${source.key}`);
    const added = this.#sources.add({
      session,
      source,
      debug,
      isOpen: false,
      device: undefined,
      headStart: undefined,
    });
    this.#sessions.set(number, session);
    session.sources.add(added);
    return added;
  }

  /** Opens a source, and starts a process for it, before the pud process has asked for that. */
  begin(number: number, options: Pick<HeadStartOptions, "driverOptions" | "sharesMemory">): void {
    const from = this.#sources.get(number);
    from.headStart = new HeadStart({ ...options, source: from.source, context: this.#context, onLine: from.debug });
  }

  /** A session that has another source now needs those before it no more, but for the device that it had last. */
  keepSource(session: number, kept: number): void {
    const { sources, device } = this.#sessions.get(session) ?? {};
    for (const source of sources ?? []) {
      const opened = this.#sources.find(source)?.device;
      if (source !== kept && (opened === undefined || opened !== device)) this.dropSource(source);
    }
  }

  /** It is of no use. */
  dropSource(number: number): void {
    const source = this.#sources.remove(number);
    source?.session.sources.delete(number);
    if (source?.device !== undefined) void this.#giveBack(source.device);
    const undone = source?.headStart?.undo().catch((error: unknown) => this.#context.failed(error));
    this.#undone = Promise.all([this.#undone, undone]);
  }

  /** Nothing is left of it. */
  endSession(number: number): void {
    const session = this.#sessions.get(number);
    if (session === undefined) return;
    this.#sessions.delete(number);
    session.isOver = true;
    for (const held of this.#places.all()) if (held.session === session) held.place.discard();
    for (const source of session.sources) this.dropSource(source);
  }

  killAll(): void {
    for (const { place } of this.#places.all()) place.kill();
  }

  /** Ends what it has started, and gives everything back. Bounded in time. */
  async releaseAll(): Promise<void> {
    this.#isOver = true;
    const places = this.#places.all();
    this.killAll();
    await waitAtMost(this.#context.clock, EXIT_MS, Promise.all(places.map(async ({ place }) => await place.exited)));
    for (const { file } of this.#memories.all()) file.close();
    for (const unit of this.#units.all()) unit.release();
    await Promise.all(this.#devices.numbers().map(async (device) => await this.#giveBack(device)));
    for (const session of this.#sessions.keys()) this.endSession(session);
    await this.#undone;
  }

  async #open(number: number): Promise<{ readonly device: number }> {
    const from = this.#sources.get(number);
    if (from.isOpen) throw new HostError("FAILED", `${from.source.key} is open already`);
    from.isOpen = true;
    try {
      const opened = await (from.headStart?.takeOpened() ?? from.source.open());
      if (this.#isOver || this.#sources.find(number) === undefined) {
        await opened.release();
        throw new HostError("FAILED", `${from.source.key}: its session has ended`);
      }
      if (from.device !== undefined) this.#devices.remove(from.device);
      const device = this.#devices.add({ from, opened, isReopening: false, released: undefined });
      from.device = device;
      from.session.device = device;
      return { device };
    } catch (error) {
      from.isOpen = false;
      throw error;
    }
  }

  async #reopen(number: number): Promise<boolean> {
    const device = this.#devices.get(number);
    const { opened, from } = device;
    if (device.isReopening) throw new HostError("FAILED", `${from.source.key} is being opened already`);
    if (isLetGo(device)) throw letGo(from);
    device.isReopening = true;
    try {
      await this.#endUsers(device);
      const isKept = await opened.reopen();
      if (isLetGo(device)) throw letGo(from);
      return isKept;
    } finally {
      device.isReopening = false;
      if (isLetGo(device)) await opened.release(); // what was opened after that
    }
  }

  async #release(number: number): Promise<undefined> {
    const device = this.#devices.find(number);
    if (device === undefined) return;
    device.released ??= this.#endUsers(device).then(async () => {
      await device.opened.release();
      device.from.isOpen = false;
    });
    await device.released;
  }

  /** Where the pud process has not done it, or has not waited for it. Never rejects. */
  async #giveBack(number: number): Promise<void> {
    const isAsked = this.#devices.find(number)?.released !== undefined && !this.#isOver; // whoever did is told
    try {
      await this.#release(number);
    } catch (error) {
      if (!isAsked) this.#context.failed(error);
    }
    this.#devices.remove(number);
  }

  /** A device is given back, or opened anew, when nobody drives it any more. */
  async #endUsers(device: HeldDevice): Promise<void> {
    const users = this.#places.all().filter((held) => held.device === device);
    for (const { place } of users) place.kill();
    await waitAtMost(this.#context.clock, EXIT_MS, Promise.all(users.map(async ({ place }) => await place.exited)));
  }

  async #start(demand: v.InferOutput<typeof Demand>): Promise<WithDescriptors> {
    const { interrupted, driverOptions, ahead, alone } = demand;
    const { from, opened } = this.#devices.get(demand.device);
    const { session, source } = from;
    if (session.processes >= MAX_PROCESSES)
      throw new HostError("FAILED", `${source.key} has ${MAX_PROCESSES} processes already`);
    if (!session.starts.take())
      throw new HostError("FAILED", `${source.key}: more than ${STARTS_PER_SECOND} processes a second`);
    const memory = demand.memory === undefined ? undefined : this.#memoryOf(session, demand.memory);
    const besides =
      demand.besides === undefined
        ? undefined
        : (this.#places.find(demand.besides)?.place ?? this.#ended.get(demand.besides));
    session.processes++;
    let place: RumpPlace;
    try {
      const asked = { interrupted, driverOptions, ahead, alone, memory, besides };
      place = await (from.headStart?.takePlace(asked) ?? startRump(this.#context, opened, asked, from.debug));
    } catch (error) {
      session.processes--;
      throw error;
    }
    void place.exited.then(() => session.processes--);
    const held: HeldPlace = { session, place, isLocked: false, device: undefined };
    const process = this.#places.add(held);
    if (this.#isOver || session.isOver) place.kill();
    const answer: Omit<StartedAnswer, "descriptors"> = { process, pid: place.pid, hasMemory: place.hasMemory };
    return new WithDescriptors(answer, [fdOfSocket(place.channel)], (isSent) => {
      place.channel.destroy(); // the pud process has it
      if (!isSent) place.kill(); // nobody will ask for its end
      this.#watch(process, held);
    });
  }

  /** The processes of one session share it, and no other's. */
  #memoryOf(session: HeldSession, number: number): MemoryFile {
    const memory = this.#memories.get(number);
    if (memory.session !== session) throw new HostError("FAILED", `memory ${number} is another device's`);
    return memory.file;
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
    if (device === undefined || isLetGo(device) || held === undefined) return;
    const { place } = held;
    if (!held.isLocked) throw new Error(`process ${place.pid} is to get its device before it is locked`);
    if (held.session !== device.from.session)
      throw new Error(`process ${place.pid} is to get another session's device`);
    if (held.device !== undefined) throw new Error(`process ${place.pid} is to get a second device`);
    held.device = device;
    try {
      sendDevice(device.opened, place);
    } catch {
      place.kill(); // it has ended, or cannot be reached: its exit says so
    }
  }

  #createMemory(source: number): WithDescriptors {
    const { session, headStart } = this.#sources.get(source);
    if (this.#memories.all().some((one) => one.session === session))
      throw new HostError("FAILED", "this session has memory already");
    const file = headStart?.takeMemory() ?? new MemoryFile();
    const memory = this.#memories.add({ file, session });
    const answer: Omit<MemoryAnswer, "descriptors"> = { memory, bytes: file.bytes };
    return new WithDescriptors(answer, [file.fd], (isSent) => {
      if (!isSent) this.#memories.remove(memory)?.file.close();
    });
  }

  async #takeUnit(className: string): Promise<UnitAnswer> {
    const taken = this.#lastUnit.then(async () => {
      const unit = await this.#context.takeUnit(className);
      try {
        if (this.#isOver) throw new HostError("FAILED", "no unit for a process that has ended");
        return { unit: this.#units.add(unit), name: unit.name };
      } catch (error) {
        unit.release();
        throw error;
      }
    });
    this.#lastUnit = taken.catch(() => {}); // told to who asked
    return await taken;
  }
}

/** It may be let go while something is waited for. */
function isLetGo({ released }: HeldDevice): boolean {
  return released !== undefined;
}

function letGo({ source }: HeldSource): HostError {
  return new HostError("DEVICE_GONE", `${source.key} was let go`);
}
