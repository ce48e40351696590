/**
 * What comes after a rump process that has ended: the next one, a device that is waited for, or a quarantine.
 *
 * Nodes and requests wait meanwhile (pud/host.ts). `recover` is called once for each life, one after another; whoever calls
 * it races it with the end of the session.
 */
import type { Clock } from "../rumpuser/rumpuser.js";
import { HostError, isOutOfResources, messageOf } from "../host/errors.js";
import type { EmitEvent } from "../host/events.js";
import { RestartPolicy } from "./restart-policy.js";
import type { Lost, RumpLife } from "./rump-life.js";
import type { RumpSupply } from "./rump-supply.js";
import type { SessionDevice, SessionSource } from "./rights.js";
import { type Deferred, deferred, waitAtMost } from "../host/waits.js";

/** Between looks for a device that may have come back. */
const RETURN_POLL_MS = 250;
/** Processes that died so often in a row are not shared: the device that is to blame shows, and the others are rid of it. */
const FAILURES_TOGETHER = 2;

/** Why a session ends: on purpose or because the device went (no error), or by a failure. */
export interface Ending {
  readonly reason: string;
  readonly error?: HostError;
}

/** What a session does for it. */
export interface SurvivalCalls {
  /** Connects the life to what waits for it and hands it the device. @returns how it ends. */
  begin(life: RumpLife, deviceKept: boolean): Promise<Lost>;
  /** Resolves when the life that began last serves every node again, or the session is over. */
  serving(): Promise<void>;
  hasNodes(): boolean;
  /** Fails what waits, with EIO. */
  abandon(reason: string): void;
  /** The next life starts with nothing that waited for the ones before. */
  forget(): void;
  debug(message: string): void;
}

export interface SurvivalContext {
  readonly key: string;
  readonly clock: Clock;
  readonly emit: EmitEvent;
  readonly graceMs: number;
  /** Resolves when the session is to end. */
  readonly ending: Promise<Ending>;
}

export class Survival {
  readonly #context: SurvivalContext;
  readonly #supply: RumpSupply;
  readonly #calls: SurvivalCalls;
  #policy = new RestartPolicy();
  #restarts = 0;
  /** While the device is away: resolves with where it came back. */
  #return: Deferred<SessionSource> | undefined;
  #unplugged = false;
  #resume: Deferred<void> | undefined;

  constructor(context: SurvivalContext, supply: RumpSupply, calls: SurvivalCalls) {
    this.#context = context;
    this.#supply = supply;
    this.#calls = calls;
  }

  /** For the next process. */
  get heartbeatMs(): number {
    return this.#policy.heartbeatMs;
  }

  get isAwaitingReturn(): boolean {
    return this.#return !== undefined;
  }

  /** The OS says that the device has gone: the next life to end ends for that. */
  unplugged(): void {
    this.#unplugged = true;
  }

  /** A device that may be this one was plugged in. @returns false when it is not waited for. */
  replugged(source: SessionSource): boolean {
    if (this.#return === undefined) return false;
    this.#return.resolve(source);
    return true;
  }

  /** Ends a quarantine. */
  resume(): void {
    this.#resume?.resolve();
  }

  /** A life has ended: brings the next one up. @returns how that one ended, or why there is none. */
  async recover(lost: Lost): Promise<Ending | Lost> {
    if (lost.deviceGone || this.#unplugged) return await this.#awaitReturn(lost);
    const decision = this.#policy.ended(lost);
    if (this.#policy.shortages === 1) this.#tellShortage(lost);
    if (decision.kind === "quarantine") return await this.#quarantine(decision.failures, lost);
    await this.#delay(decision.delayMs);
    return await this.#restart(lost, this.#policy.failures >= FAILURES_TOGETHER);
  }

  async #restart(lost: Lost, alone = false): Promise<Ending | Lost> {
    const { key, emit, clock } = this.#context;
    let life: RumpLife | undefined;
    let deviceKept: boolean;
    try {
      life = await this.#supply.takeSpare(alone);
      deviceKept = (await this.#supply.opened?.reopen()) ?? false;
    } catch (error) {
      life?.discard();
      if (isOutOfResources(error)) return neverBegan(error, clock);
      if (!(error instanceof HostError)) throw error;
      if (error.code === "DEVICE_GONE") return await this.#awaitReturn(lost);
      if (error.code !== "FAILED") throw error;
      return neverBegan(error, clock);
    }
    const next = this.#calls.begin(life, deviceKept);
    if (!(await this.#serves(next))) return await next;
    this.#restarts++;
    const downMs = clock.nowMs() - lost.atMs;
    emit({ event: "restart", device: key, pid: life.pid, reason: lost.why, downMs, count: this.#restarts });
    this.#supply.prepareSpare();
    return await next;
  }

  /** The device has gone: what is asked waits until it is back, or the time is over. */
  async #awaitReturn(lost: Lost): Promise<Ending | Lost> {
    const { key, clock, emit, graceMs } = this.#context;
    if (graceMs === 0 || !this.#calls.hasNodes()) return { reason: "the device has gone" };
    emit({ event: "unplug", device: key, graceMs });
    await this.#supply.opened?.release();
    const until = clock.nowMs() + graceMs;
    let back: SessionSource | undefined;
    for (;;) {
      const leftMs = until - clock.nowMs();
      if (leftMs <= 0) break;
      if (back === undefined) back = await this.#returned(leftMs);
      else await this.#delay(Math.min(leftMs, RETURN_POLL_MS));
      if (back === undefined || this.#supply.isOver) break;
      const next = await this.#tryReturned(back, lost);
      if (typeof next === "object") return next;
      if (next === "gone") back = undefined;
    }
    const reason = `the device has gone and was not back within ${graceMs / 1000} s`;
    this.#calls.abandon(reason);
    return { reason };
  }

  /** Where the device may be again; undefined when the time is over. */
  async #returned(leftMs: number): Promise<SessionSource | undefined> {
    const { source } = this.#supply;
    if (source.mayReturn) {
      await this.#delay(Math.min(leftMs, RETURN_POLL_MS));
      return source;
    }
    this.#return = deferred();
    const back = await waitAtMost(this.#context.clock, leftMs, this.#return.promise);
    this.#return = undefined;
    return back?.value;
  }

  /** @returns how the life with it ended. "gone": it is not there; "unserved": it is, and no process could serve it. */
  async #tryReturned(source: SessionSource, lost: Lost): Promise<Lost | "gone" | "unserved"> {
    const { key, emit, clock } = this.#context;
    let opened: SessionDevice;
    try {
      opened = await source.open();
    } catch (error) {
      this.#calls.debug(`not back: ${messageOf(error)}`);
      // A new node may not be ours yet, and the machine may be out of descriptors for a while.
      const isThere = isOutOfResources(error) || (error instanceof HostError && error.code !== "DEVICE_GONE");
      return isThere ? "unserved" : "gone";
    }
    this.#supply.moveTo(source, opened);
    let life: RumpLife;
    try {
      life = await this.#supply.takeSpare();
    } catch (error) {
      await opened.release();
      if (!isOutOfResources(error) && !(error instanceof HostError && error.code === "FAILED")) throw error;
      this.#calls.debug(`back, and not served: ${messageOf(error)}`);
      return "unserved";
    }
    this.#unplugged = false;
    const next = this.#calls.begin(life, false);
    if (!(await this.#serves(next))) {
      const { deviceGone } = await next;
      await opened.release();
      return deviceGone ? "gone" : "unserved";
    }
    emit({ event: "replug", device: key, pid: life.pid, downMs: clock.nowMs() - lost.atMs });
    this.#supply.prepareSpare();
    return await next;
  }

  /** Everything fails, and nothing is tried until the user says so. */
  async #quarantine(failures: number, lost: Lost): Promise<Ending | Lost> {
    const { key, emit } = this.#context;
    emit({ event: "quarantine", device: key, failures, reason: lost.why });
    this.#calls.abandon(`its driver died ${failures} times in a row without doing anything`);
    this.#calls.forget();
    this.#resume = deferred();
    await this.#resume.promise;
    this.#resume = undefined;
    this.#policy = new RestartPolicy();
    return await this.#restart(lost);
  }

  /** Once for a time in which no process can be started: until it is over, what is asked waits. */
  #tellShortage({ why }: Lost): void {
    const { key, emit } = this.#context;
    const message = `${key}: no process can be started for it; tried again until one can: ${why}`;
    emit({ event: "error", code: "NO_RESOURCES", message, device: key });
  }

  /** False when the life that began last ended before it served. */
  async #serves(lost: Promise<Lost>): Promise<boolean> {
    return await Promise.race([this.#calls.serving().then(() => true), lost.then(() => false)]);
  }

  async #delay(ms: number): Promise<void> {
    if (ms > 0) await waitAtMost(this.#context.clock, ms, this.#context.ending);
  }
}

/** A life like one that did nothing. */
function neverBegan(error: unknown, clock: Clock): Lost {
  const nothing = { lastWords: [], deviceGone: false, wasSilent: false, completedRequests: 0, livedMs: 0 };
  const outOfResources = isOutOfResources(error);
  return { ...nothing, pid: 0, atMs: clock.nowMs(), why: messageOf(error), error: undefined, outOfResources };
}
