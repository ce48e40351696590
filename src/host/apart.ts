/**
 * Sessions in a process of their own that has no rights: the pud process (pud-process.ts). It holds every request of a host program
 * and speaks with clients and drivers; this process opens devices and starts processes for it (pud-services.ts).
 */
import { fileURLToPath } from "node:url";
import createDebug from "debug";
import { Messenger, thrownError } from "../pud-process/messenger.js";
import { PUD_CONFIG_VERSION, type PudProcessConfig } from "../pud-process/protocol.js";
import { guardedRights } from "../pud/links/rights/guarded-rights.js";
import { LocalRights } from "../pud/links/rights/local-rights.js";
import { RateBound } from "../pud/rate-bound.js";
import type { Timer } from "../rumpuser/rumpuser.js";
import { streamOfSocket } from "../rumpuser/real/byte-stream.js";
import * as v from "valibot";
import { HostError, hostErrorOf } from "./errors.js";
import { driverOptionsOf } from "./modes.js";
import { describeExit } from "./process-exit.js";
import type { HeadStartOptions } from "./head-start.js";
import { linkCalls } from "./link-calls.js";
import { PudServices } from "./pud-services.js";
import { SERVING_LIMITS } from "./sandbox/sandbox.js";
import type { Launched, Sessions, SessionsOptions } from "./sessions.js";
import type { DeviceSource } from "./sources/source.js";
import { type StartedProcess, startProcess } from "./spawn.js";
import { checkedEvent, printableLines } from "./told-events.js";
import { type Deferred, deferred, waitAtMost } from "./waits.js";

/** As tools/bundle.mjs makes it. */
const PUD_PROCESS = fileURLToPath(new URL("../bundle/pud-process.cjs", import.meta.url));

/** Code is loaded and the process is locked; slow machines and slow profiles included. */
const LOCK_MS = 20_000;
/** Flush and detach, each bounded, and drivers that do not end. */
const STOP_MS = 45_000;
/** While an answer is waited for, and only then, the process must show that it lives. */
const BEAT_MS = 1000;
/** Unanswered beats in a row, however late this process looks: it may have been stopped itself. */
const SILENT_BEATS = 5;
const EXIT_MS = 2_000;
/** A hundred devices that come at once tell some five each. Who tells more floods whoever reads the events. */
const EVENT_BURST = 4096;
const EVENTS_PER_SECOND = 200;
/** A hundred devices that are busy ask so much, and who asks more keeps this process from all else. */
const MESSAGE_BURST = 16_384;
const MESSAGES_PER_SECOND = 4000;

/** @throws HostError LINK, SANDBOX_UNAVAILABLE, INSTALLATION, NO_RESOURCES, FAILED; nothing is left behind. */
export async function openApart(options: SessionsOptions): Promise<Sessions> {
  const sessions = await ApartSessions.start(options);
  const opened = sessions.openLinks();
  // Those that are opened by need cannot fail now: devices are looked for while the process starts.
  if (options.links === undefined) {
    sessions.tellsLoss = true;
    opened.catch(() => {}); // the process is lost, which is told
    return sessions;
  }
  try {
    await opened;
    sessions.tellsLoss = true;
    return sessions;
  } catch (error) {
    await sessions.stopAll("its links cannot be opened");
    const hasSaid = error instanceof HostError; // and has not just ended
    throw (hasSaid ? undefined : sessions.lost) ?? toldError(error);
  }
}

const SessionNumber = v.object({ session: v.number() });

/** A session as this process knows it. */
interface Known {
  readonly attached: Deferred<HostError | undefined>;
  readonly ended: Deferred<HostError | undefined>;
}

class ApartSessions implements Sessions {
  /** Its loss is an event; until then it is thrown. */
  tellsLoss = false;
  readonly #options: SessionsOptions;
  readonly #process: StartedProcess;
  readonly #messenger: Messenger;
  readonly #services: PudServices;
  readonly #known = new Map<number, Known>();
  /** What links of the pud process were given. */
  readonly #links = new LocalRights();
  /** What each session asks for first. */
  readonly #firstDemand: Pick<HeadStartOptions, "driverOptions" | "sharesMemory">;
  readonly #events: RateBound;
  readonly #locked: Promise<boolean>;
  readonly #released = deferred<undefined>();
  #lastSession = 0;
  #hasStopped = false;
  #lost: HostError | undefined;
  /** It can ask for something. */
  #isKnownLocked = false;
  /** Why the process was not taken for one that is kept. */
  #unlocked: HostError | undefined;

  static async start(options: SessionsOptions): Promise<ApartSessions> {
    const { clock, sandbox, links, runtimeDir, readOnly, latencyMs, graceMs, mode, sharesMemory, group } = options;
    const debug = process.env["DEBUG"];
    const config: PudProcessConfig = {
      version: PUD_CONFIG_VERSION,
      runtimeDir,
      readOnly,
      graceMs,
      mode,
      sharesMemory,
      shares: group !== undefined,
      ...(latencyMs === undefined ? {} : { latencyMs }),
      ...(links === undefined ? {} : { links }),
      ...(debug === undefined ? {} : { debug }),
    };
    // With DEBUG its lines say themselves what they are.
    const say =
      debug === undefined ? createDebug("rumpusb:pud") : (line: string): void => void process.stderr.write(`${line}\n`);
    const started = await startProcess(
      {
        clock,
        sandbox,
        what: "pud process",
        script: options.pudScript ?? PUD_PROCESS,
        onLine: say,
        limits: SERVING_LIMITS,
        extras: false,
      },
      config,
    );
    return new ApartSessions(options, started);
  }

  private constructor(options: SessionsOptions, started: StartedProcess) {
    const [channel] = started.channels;
    if (channel === undefined) throw new Error("spawn made no channel");
    this.#options = options;
    this.#process = started;
    this.#firstDemand = { driverOptions: driverOptionsOf(options.mode), sharesMemory: options.sharesMemory };
    this.#events = new RateBound(options.clock, EVENT_BURST, EVENTS_PER_SECOND);
    this.#services = new PudServices({
      ...options,
      notify: (name, told) => this.#messenger.notify(name, told),
      failed: (error) => this.#failed(error),
    });
    const rights = guardedRights(this.#links, { runtimeDir: options.runtimeDir, specs: options.links });
    const locked = this.#isLocked();
    this.#locked = locked;
    const messages = new RateBound(options.clock, MESSAGE_BURST, MESSAGES_PER_SECOND);
    this.#messenger = new Messenger(streamOfSocket(channel), {
      heard: () => {
        if (!messages.take()) throw new Error(`more than ${MESSAGES_PER_SECOND} messages a second`);
      },
      sendDescriptor: (fd) => started.sendDevice(fd),
      ended: (reason, isFault) => void this.#end(reason, isFault),
      calls: onceLocked({ ...this.#services.calls, ...linkCalls(rights) }, locked, () => this.#services.isOver),
      notices: {
        ...this.#services.notices,
        event: (told) => this.#tell(told),
        attached: (told) => this.#known.get(v.parse(SessionNumber, told).session)?.attached.resolve(undefined),
        ended: (told) => this.#sessionEnded(told),
      },
    });
  }

  /** Why no session goes on. */
  get lost(): HostError | undefined {
    return this.#lost;
  }

  async openLinks(): Promise<void> {
    await this.#ask("openLinks", {});
  }

  launch(source: DeviceSource): Launched {
    const session = ++this.#lastSession;
    const number = this.#services.addSource(session, source);
    const known: Known = { attached: deferred(), ended: deferred() };
    void known.ended.promise.then((error) => {
      this.#known.delete(session);
      this.#services.endSession(session);
      known.attached.resolve(error ?? new HostError("FAILED", `${source.key}: stopped before it attached`));
    });
    if (this.#services.isOver) known.ended.resolve(this.#lost);
    else {
      this.#known.set(session, known);
      if (!this.#isKnownLocked) this.#services.begin(number, this.#firstDemand);
    }
    const told = (one: number, { key, mayReturn }: DeviceSource): object => ({ session, source: one, key, mayReturn });
    this.#messenger.notify("launch", told(number, source));
    return {
      attached: known.attached.promise,
      ended: known.ended.promise,
      session: {
        lost: (reason) => this.#messenger.notify("lost", { session, reason }),
        unplugged: () => this.#messenger.notify("unplugged", { session }),
        replugged: async (back) => {
          if (!this.#known.has(session)) return false;
          const again = this.#services.addSource(session, back);
          const isTaken = await this.#ask("replugged", told(again, back)).then(
            (answer) => answer === true,
            () => false,
          );
          if (isTaken) this.#services.keepSource(session, again);
          else this.#services.dropSource(again);
          return isTaken;
        },
      },
    };
  }

  async stopAll(reason: string): Promise<HostError | undefined> {
    const stopped = this.#ask("stopAll", { reason }).then(
      () => true,
      () => false,
    );
    this.#hasStopped = (await waitAtMost(this.#options.clock, STOP_MS, stopped))?.value === true;
    this.#messenger.end(this.#hasStopped ? "every session has ended" : "it does not end its sessions", true);
    await this.#released.promise;
    return this.#lost;
  }

  resumeAll(): void {
    this.#messenger.notify("resume", {});
  }

  async killAll(): Promise<void> {
    this.#hasStopped = true;
    this.#services.killAll();
    this.#process.kill();
    this.#messenger.end("it was killed", true);
    await this.#released.promise;
  }

  /** @throws what went wrong there; Error the conversation has ended, also because the process does not answer at all. */
  async #ask(name: string, argument: object): Promise<unknown> {
    const { clock } = this.#options;
    let unanswered = 0;
    let timer: Timer | undefined;
    let isOver = false;
    const beat = (): void => {
      if (isOver) return;
      if (unanswered++ >= SILENT_BEATS)
        return this.#messenger.end(`it has been silent for ${(SILENT_BEATS * BEAT_MS) / 1000} s`, true);
      this.#messenger.call("beat", {}, () => (unanswered = 0)).catch(() => {}); // it has ended: told to who asked
      timer = clock.startTimer(BEAT_MS, beat);
    };
    void this.#locked.then(beat); // it hears nothing before
    try {
      return await this.#messenger.call(name, argument, (answer) => answer);
    } finally {
      isOver = true;
      timer?.cancel();
    }
  }

  /** @returns whether the kernel says that the process is kept as it must be; where it is not, it is ended. Never rejects. */
  async #isLocked(): Promise<boolean> {
    try {
      if ((await waitAtMost(this.#options.clock, LOCK_MS, this.#process.locked)) !== undefined) {
        this.#isKnownLocked = true;
        return true;
      }
      throw new HostError("FAILED", `not locked after ${LOCK_MS / 1000} s`);
    } catch (error) {
      const why = hostErrorOf(error);
      const hasEnded = why.code === "RUMP_LOST";
      if (!hasEnded) this.#unlocked = why;
      this.#messenger.end(why.message, !hasEnded);
      return false;
    }
  }

  /** The conversation is over: nothing is left of what it was about. */
  async #end(reason: string, isFault: boolean): Promise<void> {
    const { clock, onLost } = this.#options;
    const isWanted = this.#hasStopped;
    // One that ended by itself says how.
    const exit = isFault || isWanted ? undefined : await waitAtMost(clock, EXIT_MS, this.#process.exited);
    this.#process.kill();
    if (!isWanted) {
      const how = exit === undefined ? printableLines(reason) : describeExit(exit.value);
      this.#lost = new HostError(
        this.#unlocked?.code ?? "FAILED",
        [`the pud process is lost: ${how}`, ...this.#process.lastWords()].join("\n  "),
      );
      if (this.tellsLoss) this.#failed(this.#lost);
    }
    for (const outcome of await Promise.allSettled([this.#services.releaseAll(), this.#links.releaseAll()])) {
      if (outcome.status === "rejected") this.#failed(outcome.reason);
    }
    await waitAtMost(clock, EXIT_MS, this.#process.exited);
    for (const { ended } of this.#known.values()) ended.resolve(this.#lost);
    if (this.#lost !== undefined) onLost(this.#lost);
    this.#released.resolve(undefined);
  }

  #failed(error: unknown): void {
    const { code, message } = hostErrorOf(error);
    this.#options.emit({ event: "error", code, message });
  }

  #tell(told: unknown): void {
    if (!this.#events.take()) throw new Error(`more than ${EVENTS_PER_SECOND} events a second`);
    const event = checkedEvent(told);
    // How a process is kept is for this process to say.
    if (event.event !== "sandbox") return this.#options.emit(event);
    if (this.#services.report !== undefined) this.#options.emit({ ...event, ...this.#services.report });
  }

  #sessionEnded(told: unknown): void {
    const { session, error } = v.parse(v.object({ session: v.number(), error: v.optional(v.unknown()) }), told);
    this.#known.get(session)?.ended.resolve(error === undefined ? undefined : toldError(thrownError(error)));
  }
}

/** What it says went wrong, made printable. */
function toldError(error: unknown): HostError {
  const { code, message, cause } = hostErrorOf(error);
  return new HostError(code, printableLines(message), { cause });
}

/** What the process asks is answered when it is known to be locked; before that it has nothing to ask. */
function onceLocked(
  calls: Readonly<Record<string, (told: unknown) => unknown>>,
  locked: Promise<boolean>,
  isOver: () => boolean,
): Record<string, (told: unknown) => Promise<unknown>> {
  return Object.fromEntries(
    Object.entries(calls).map(([name, call]) => [
      name,
      async (told: unknown) => {
        if (!(await locked)) throw new HostError("SANDBOX_UNAVAILABLE", "the pud process is not locked");
        if (isOver()) throw new HostError("FAILED", "the pud process has ended");
        return await call(told);
      },
    ]),
  );
}
