/**
 * One device from open to detach: the rump processes that serve it one after another, and what the host shows of it.
 *
 * A process that dies or hangs is replaced (restart-policy.ts) and a device that is pulled out may come back within a grace
 * time; nodes, sockets and requests wait meanwhile (pud/host.ts). A session ends once, for one reason, and everything it
 * acquired is undone in reverse order. A later session of the same device is a new object; whoever starts sessions decides
 * whether there is one (supervisor.ts).
 */
import createDebug from "debug";
import { createPudHost, type PudHost } from "../pud/host.js";
import type { Clock, LogEntry } from "../rumpuser/rumpuser.js";
import { DeviceNodes, type DeviceNodesContext } from "./device-nodes.js";
import { HostError, messageOf, reportedCode } from "./errors.js";
import { RestartPolicy } from "./restart-policy.js";
import { RumpLife, type Lost } from "./rump-life.js";
import type { Sandbox } from "./sandbox/sandbox.js";
import type { DeviceSource, OpenedDevice } from "./sources/source.js";
import { type Deferred, deferred, waitAtMost } from "./waits.js";

/** A disk may take its time to spin up; a device with many functions, to attach them all. */
const ATTACH_MS = 60_000;
/** The first process of a device has nobody waiting for its answers. */
const FIRST_ATTACH_SILENCE_MS = 5_000;
/** Flush and detach. */
const SHUTDOWN_MS = 10_000;
const MAX_EARLY_ERRORS = 16;
/** Acknowledged writes that a node may have unflushed before a flush is forced. */
const JOURNAL_BYTES = 64 * 1024 * 1024;
/** A rump process ends by itself when its device has gone. */
const NOTICE_MS = 1_000;
/** Between looks for a device that may have come back. */
const RETURN_POLL_MS = 250;

export interface SessionContext extends DeviceNodesContext {
  readonly clock: Clock;
  readonly sandbox: Sandbox;
  /** How long a device that was unplugged is waited for; 0 = not at all. */
  readonly graceMs: number;
  /** Script to run in place of the rump process; for tests. */
  readonly rumpScript?: string;
}

/** Why a session ends: on purpose or because the device went (no error), or by a failure. */
interface Ending {
  readonly reason: string;
  readonly error?: HostError;
}

export class DeviceSession {
  readonly #context: SessionContext;
  readonly #debug: (message: string) => undefined;
  readonly #ending = deferred<Ending>();
  readonly #nodes: DeviceNodes;
  readonly #key: string;
  #source: DeviceSource;
  #opened: OpenedDevice | undefined;
  #policy = new RestartPolicy();
  #pud: PudHost | undefined;
  #life: RumpLife | undefined;
  /** The next one, started before it is needed. */
  #spare: Promise<RumpLife> | undefined;
  /** What drivers reported before the session was attached. */
  readonly #earlyErrors: HostError[] = [];
  /** The last thing that went wrong before that, in the words of the log: with no driver, the reason. */
  #earlyWarning = "nothing matches";
  #attached = false;
  #killed = false;
  #restarts = 0;
  /** READY has come in this life; and then, with every node served, it is ready. */
  #explored = false;
  #ready = deferred<void>();
  /** While the device is away: resolves with where it came back. */
  #return: Deferred<DeviceSource> | undefined;
  #unplugged = false;
  /** Everything is being undone: what is still under way must not begin anything. */
  #over = false;
  #resume: Deferred<void> | undefined;

  constructor(source: DeviceSource, context: SessionContext) {
    this.#source = source;
    this.#key = source.key;
    this.#context = context;
    this.#nodes = new DeviceNodes(source.key, context);
    const debug = createDebug(`rumpusb:${source.key}`);
    this.#debug = (message) => {
      debug(message);
      return undefined;
    };
  }

  get key(): string {
    return this.#key;
  }

  /**
   * Runs the device until it ends: `attached` is called when every driver has attached and the links are up.
   *
   * Resolves, with everything undone, when the device went away for good or `stop` was called.
   * @throws HostError why it failed, with everything undone.
   */
  async run(attached: () => void): Promise<void> {
    this.#opened = await this.#source.open();
    let ending: Ending;
    try {
      ending = await this.#live(attached);
    } catch (error) {
      ending = { reason: messageOf(error), error: asHostError(error) };
    }
    await this.#undo(ending);
    if (ending.error !== undefined) throw ending.error;
  }

  /** Flush, detach, end; `run` resolves when it is done, in bounded time. */
  stop(reason: string): void {
    this.#ending.resolve({ reason });
  }

  /** The device is not there any more and cannot come back. Before a driver has attached that is a failure. */
  lost(reason: string): void {
    if (this.#attached) return this.stop(reason);
    const error = new HostError("DEVICE_GONE", `${this.key}: ${reason} before a driver had attached`);
    this.#ending.resolve({ reason, error });
  }

  /** Ends the process now; `run` then undoes the rest. */
  kill(): void {
    this.#killed = true;
    this.stop("killed");
    this.#life?.kill();
  }

  /** The OS says that the device has gone. It is waited for, if it ever attached and there is a grace time. */
  unplugged(): void {
    if (!this.#attached || this.#context.graceMs === 0) return this.lost("unplugged");
    this.#unplugged = true;
    const life = this.#life;
    // It notices by itself and ends in order; if it cannot, it is ended.
    this.#context.clock.startTimer(NOTICE_MS, () => life?.kill());
  }

  /** A device that may be this one was plugged in. @returns false when this session does not wait for one. */
  replugged(source: DeviceSource): boolean {
    if (this.#return === undefined) return false;
    this.#return.resolve(source);
    return true;
  }

  /** Ends a quarantine. */
  resume(): void {
    this.#resume?.resolve();
  }

  /** Life after life, until there is a reason to end. */
  async #live(attached: () => void): Promise<Ending> {
    const first = await this.#firstLife(attached);
    if ("reason" in first) return first;
    let lost = first;
    for (;;) {
      const ending = await Promise.race([this.#recover(lost), this.#ending.promise]);
      if ("reason" in ending) return ending;
      lost = ending;
    }
  }

  /** The first process, from its start to its end. @throws HostError when nothing attaches. */
  async #firstLife(attached: () => void): Promise<Ending | Lost> {
    const life = await this.#spawn(false);
    const lost = this.#begin(life, true);
    const early = await Promise.race([this.#untilAttached(), lost, this.#ending.promise]);
    if (early !== undefined) return "reason" in early ? early : this.#whyEarly(early);
    this.#attached = true;
    for (const { code, message } of this.#earlyErrors) this.#report(code, message);
    attached();
    this.#prepareSpare();
    return await Promise.race([lost, this.#ending.promise]);
  }

  /** Undefined when at least one driver has attached and its links are up. @throws HostError */
  async #untilAttached(): Promise<undefined> {
    const done = await waitAtMost(this.#context.clock, ATTACH_MS, this.#ready.promise);
    if (done === undefined)
      throw new HostError("ATTACH_TIMED_OUT", `${this.key}: no driver has attached within ${ATTACH_MS / 1000} s`);
    await this.#nodes.served();
    if (this.#nodes.hasDriver) return undefined;
    const message = `${this.key}: no driver has attached; ${this.#earlyWarning}`;
    throw this.#whyNotAttached() ?? new HostError("NO_DRIVER", message);
  }

  /** A life has ended: brings the next one up. @returns how that one ended, or why there is none. */
  async #recover(lost: Lost): Promise<Ending | Lost> {
    if (lost.deviceGone || this.#unplugged) return await this.#awaitReturn(lost);
    const decision = this.#policy.ended(lost);
    if (decision.kind === "quarantine") return await this.#quarantine(decision.failures, lost);
    await this.#delay(decision.delayMs);
    return await this.#restart(lost);
  }

  async #restart(lost: Lost): Promise<Ending | Lost> {
    const { emit, clock } = this.#context;
    const life = await this.#takeSpare();
    let deviceKept: boolean;
    try {
      deviceKept = (await this.#opened?.reopen()) ?? false;
    } catch (error) {
      life.kill();
      if (!(error instanceof HostError) || error.code !== "DEVICE_GONE") throw error;
      return await this.#awaitReturn(lost);
    }
    const next = this.#begin(life, deviceKept);
    if ((await Promise.race([this.#ready.promise.then(() => true), next.then(() => false)])) === false)
      return await next;
    this.#restarts++;
    const downMs = clock.nowMs() - lost.atMs;
    emit({ event: "restart", device: this.key, pid: life.pid, reason: lost.why, downMs, count: this.#restarts });
    this.#prepareSpare();
    return await next;
  }

  /** The device has gone: what is asked waits until it is back, or the time is over. */
  async #awaitReturn(lost: Lost): Promise<Ending | Lost> {
    const { clock, emit, graceMs } = this.#context;
    if (graceMs === 0 || this.#pud?.nodes.length === 0) return { reason: "the device has gone" };
    emit({ event: "unplug", device: this.key, graceMs });
    await this.#opened?.release();
    const until = clock.nowMs() + graceMs;
    for (;;) {
      const leftMs = until - clock.nowMs();
      const source = leftMs > 0 ? await this.#returned(leftMs) : undefined;
      if (source === undefined || this.#over) break;
      const next = await this.#tryReturned(source, lost);
      if (next !== undefined) return next;
    }
    const reason = `the device has gone and was not back within ${graceMs / 1000} s`;
    this.#pud?.abandon(reason, "EIO");
    return { reason };
  }

  /** Where the device may be again; undefined when the time is over. */
  async #returned(leftMs: number): Promise<DeviceSource | undefined> {
    if (this.#source.mayReturn) {
      await this.#delay(Math.min(leftMs, RETURN_POLL_MS));
      return this.#source;
    }
    this.#return = deferred();
    const back = await waitAtMost(this.#context.clock, leftMs, this.#return.promise);
    this.#return = undefined;
    return back?.value;
  }

  /** @returns how the life with it ended; undefined when it is not there. */
  async #tryReturned(source: DeviceSource, lost: Lost): Promise<Lost | undefined> {
    const { emit, clock } = this.#context;
    const opened = await source.open().catch((error: unknown) => this.#debug(`not back: ${messageOf(error)}`));
    if (opened === undefined) return undefined;
    const life = await this.#takeSpare();
    this.#source = source;
    this.#opened = opened;
    this.#unplugged = false;
    const next = this.#begin(life, false);
    if ((await Promise.race([this.#ready.promise.then(() => true), next.then(() => false)])) === false) {
      await next;
      await opened.release();
      return undefined;
    }
    emit({ event: "replug", device: this.key, pid: life.pid, downMs: clock.nowMs() - lost.atMs });
    this.#prepareSpare();
    return await next;
  }

  /** Everything fails, and nothing is tried until the user says so. */
  async #quarantine(failures: number, lost: Lost): Promise<Ending | Lost> {
    this.#context.emit({ event: "quarantine", device: this.key, failures, reason: lost.why });
    this.#pud?.abandon(`its driver died ${failures} times in a row without doing anything`, "EIO");
    this.#pud = undefined;
    this.#resume = deferred();
    await this.#resume.promise;
    this.#resume = undefined;
    this.#policy = new RestartPolicy();
    return await this.#restart(lost);
  }

  /** Connects the life to what waits for it and hands it the device. @returns how it ends. */
  #begin(life: RumpLife, deviceKept: boolean): Promise<Lost> {
    this.#life = life;
    this.#explored = false;
    this.#ready = deferred();
    this.#pud ??= this.#createPud();
    return life.begin({
      pud: this.#pud,
      deviceKept,
      heartbeatMs: this.#policy.heartbeatMs,
      attachSilenceMs: this.#attached ? undefined : FIRST_ATTACH_SILENCE_MS,
      opened: this.#opened,
      onSandbox: (report) => {
        if (!this.#attached) this.#context.emit({ event: "sandbox", device: this.key, ...report });
      },
    });
  }

  #createPud(): PudHost {
    const { clock, graceMs } = this.#context;
    return createPudHost({
      clock,
      lossPolicy: "hold",
      ...(graceMs > 0 ? { replug: { journalBytes: JOURNAL_BYTES } } : {}),
      handlers: {
        onDevice: (device) => this.#nodes.attached(device, this.#life?.pid ?? 0),
        onNode: (node) => this.#nodes.add(node),
        onNodeGone: (node, reason) => {
          this.#nodes.remove(node, reason);
          this.#checkReady();
        },
        onNodeBack: () => this.#checkReady(),
        onLog: (entry) => this.#onLog(entry),
        onError: (code, message) => this.#onError(code, message),
        onReady: () => {
          this.#explored = true;
          this.#checkReady();
        },
        onLost: (error) => {
          if (this.#over) this.#pud?.abandon(error.message);
          this.#life?.channelLost(error);
        },
      },
    });
  }

  #checkReady(): void {
    if (this.#explored && this.#pud?.isServing === true) this.#ready.resolve();
  }

  async #spawn(interrupted: boolean): Promise<RumpLife> {
    const { clock, sandbox, rumpScript } = this.#context;
    const opened = this.#opened;
    if (opened === undefined || this.#over)
      throw new Error("a rump process is started for a device that was not opened");
    const { bus, drivers, interfaces } = opened;
    // Through usbfs a device comes as whoever had it before left it, and nobody knows how that was.
    const mayBeInterrupted = interrupted || bus.kind === "usbfs";
    return await RumpLife.spawn({
      config: {
        version: 1,
        bus,
        drivers,
        interrupted: mayBeInterrupted,
        ...(interfaces === undefined ? {} : { interfaces }),
      },
      sandbox,
      clock,
      onLine: (line) => this.#debug(line),
      ...(rumpScript === undefined ? {} : { script: rumpScript }),
    });
  }

  /** So that the next one has its code loaded and is locked when it is needed. It waits without a wake-up. */
  #prepareSpare(): void {
    this.#spare ??= this.#spawn(true);
    this.#spare.catch((error: unknown) => this.#debug(`no spare process: ${messageOf(error)}`)); // taken: thrown there
  }

  async #takeSpare(): Promise<RumpLife> {
    const spare = this.#spare;
    this.#spare = undefined;
    let life = await spare?.catch(() => undefined);
    if (life === undefined || life.hasEnded) life = await this.#spawn(true);
    if (!this.#over) return life;
    life.kill();
    throw new Error(`${this.key}: the session has ended`);
  }

  async #delay(ms: number): Promise<void> {
    if (ms > 0) await waitAtMost(this.#context.clock, ms, this.#ending.promise);
  }

  #onLog(entry: LogEntry): void {
    this.#debug(`${entry.source}: ${entry.message}`);
    if (entry.level !== "debug" && entry.level !== "info") {
      const { level, source, message } = entry;
      if (!this.#attached) this.#earlyWarning = `${source}: ${message}`;
      this.#context.emit({ event: "log", level, source: `${this.key} ${source}`, message });
    }
  }

  /** `code` is the rump process's own word; what it means for the exit status is ours to say. */
  #onError(code: string, message: string): void {
    const text = `${this.key}: ${message} (${code})`;
    if (!this.#attached) {
      if (this.#earlyErrors.length < MAX_EARLY_ERRORS) this.#earlyErrors.push(new HostError(reportedCode(code), text));
    } else if (this.#return === undefined) this.#debug(text);
  }

  /** What the drivers said about a device that none of them attached to. */
  #whyNotAttached(): HostError | undefined {
    const [first] = this.#earlyErrors;
    if (this.#attached || first === undefined) return undefined;
    return new HostError(first.code, this.#earlyErrors.map((error) => error.message).join("\n  "));
  }

  /** Why a device that never attached ends. */
  #whyEarly(lost: Lost): Ending {
    const error =
      lost.error ??
      this.#whyNotAttached() ??
      (lost.deviceGone
        ? new HostError("DEVICE_GONE", `${this.key}: the device has gone`)
        : new HostError(
            "RUMP_LOST",
            [`${this.key}: rump process ${lost.pid}: ${lost.why}`, ...lost.lastWords].join("\n  "),
          ));
    return { reason: error.message, error };
  }

  async #undo(ending: Ending): Promise<void> {
    this.#over = true;
    this.#ready.resolve(); // nobody waits for it any more
    const orderly = ending.error === undefined && !this.#killed;
    if (!orderly || this.#pud?.connected !== true) this.#pud?.abandon(ending.reason);
    // Links let their clients' requests end first.
    const removed = this.#nodes.removeAll(ending.reason);
    if ((await waitAtMost(this.#context.clock, SHUTDOWN_MS, removed)) === undefined) this.#pud?.abandon(ending.reason);
    await removed;
    const spare = await this.#spare?.catch(() => undefined);
    spare?.kill();
    if (orderly) await this.#pud?.shutdown(SHUTDOWN_MS);
    if (this.#life !== undefined && !(await this.#life.end(orderly)))
      this.#report("RUMP_LOST", `${this.key}: rump process ${this.#life.pid} does not end after SIGKILL`);
    this.#pud?.abandon(ending.reason);
    try {
      this.#opened?.closeDescriptor();
      await this.#opened?.release();
    } catch (error) {
      this.#report("KERNEL_DRIVER", messageOf(error));
    }
    this.#nodes.detach();
  }

  #report(code: string, message: string): undefined {
    this.#context.emit({ event: "error", code, message, device: this.key });
  }
}

function asHostError(error: unknown): HostError {
  return error instanceof HostError ? error : new HostError("FAILED", messageOf(error), { cause: error });
}
