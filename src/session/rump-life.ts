/** One rump process, from its start to the knowledge of how it ended. */
import type { LinkError } from "../pud/errors.js";
import type { PudHost } from "../pud/host.js";
import { HostError, isOutOfResources, messageOf } from "../host/errors.js";
import type { SandboxReport } from "../host/sandbox/verify.js";
import { describeExit, type ProcessExit } from "../host/process-exit.js";
import { deferred, waitAtMost } from "../host/waits.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import type { EndedLife } from "./restart-policy.js";
import type { RumpProcess, SessionDevice } from "./rights.js";

/** Between the last word on the channel and the end of the process, and between SIGKILL and its effect. */
const EXIT_MS = 1_000;
/** Code is loaded and the process is locked; slow machines and slow profiles included. */
const LOCK_MS = 20_000;
/** A machine on which a process takes its time to start gets longer beats: what is slow there does not hang. */
const BEATS_PER_START = 10;
const MAX_SLOW_BEAT_MS = 1_000;

/** How a life ended. */
export interface Lost extends EndedLife {
  readonly pid: number;
  /** Clock time at which it was seen. */
  readonly atMs: number;
  /** `signal SIGKILL`, `no frame in 180 ms …`. */
  readonly why: string;
  readonly lastWords: readonly string[];
  /** It said so: the process ends with status 0 when its device has. */
  readonly deviceGone: boolean;
  /** It never began, and this is what the host has to say about it. */
  readonly error: HostError | undefined;
}

export interface Beginning {
  readonly pud: PudHost;
  readonly deviceKept: boolean;
  readonly heartbeatMs: number;
  /** How long it may be silent while it attaches; undefined: no longer than at other times. */
  readonly attachSilenceMs: number | undefined;
  readonly opened: SessionDevice | undefined;
  /** How the process is kept; before it gets its device. */
  readonly onSandbox: (report: SandboxReport) => void;
}

export class RumpLife {
  readonly #process: RumpProcess;
  readonly #clock: Clock;
  readonly #lost = deferred<Lost>();
  #begunAtMs = 0;
  /** From the start of the process until it was seen to be locked. */
  #startMs = 0;
  #pud: PudHost | undefined;
  #answeredBefore = 0;
  #hasEnded = false;
  #isOver = false;

  /** @param process  Started: it loads its code, locks itself and waits for a device. */
  constructor(process: RumpProcess, clock: Clock) {
    this.#process = process;
    this.#clock = clock;
    const spawnedAtMs = clock.nowMs();
    process.locked.then(
      () => {
        this.#startMs = clock.nowMs() - spawnedAtMs;
      },
      () => {}, // said where it is waited for
    );
    void process.exited.then(() => {
      this.#hasEnded = true;
    });
  }

  get process(): RumpProcess {
    return this.#process;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** The process is not there any more. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Gives it its channel and its device as soon as it is seen to be locked. Never rejects. @returns how it ends. */
  begin(beginning: Beginning): Promise<Lost> {
    this.#pud = beginning.pud;
    this.#answeredBefore = beginning.pud.answeredRequests;
    this.#begunAtMs = this.#clock.nowMs();
    void this.#begin(beginning);
    return this.#lost.promise;
  }

  /** The channel has ended: because the process has, or because of what came over it, or because nothing did. */
  channelLost(error: LinkError): void {
    void this.#end(error.message, error.code, undefined);
  }

  /** SIGKILL. Does nothing when it has ended. */
  kill(): void {
    this.#process.kill();
  }

  /** It will not be begun, or is not needed any more: ends it, or its part of a process that serves others as well. */
  discard(): void {
    this.#process.discard();
  }

  /** Waits for the process, not for long, and ends it. @returns false when it is still there. */
  async end(orderly: boolean): Promise<boolean> {
    const { exited, pud } = this.#process;
    if (!orderly) this.discard();
    if ((await waitAtMost(this.#clock, EXIT_MS, exited)) === undefined) this.kill();
    const ended = await waitAtMost(this.#clock, EXIT_MS, exited);
    pud.destroy();
    return ended !== undefined;
  }

  async #begin({ pud, deviceKept, heartbeatMs, attachSilenceMs, opened, onSandbox }: Beginning): Promise<void> {
    try {
      const locked = await waitAtMost(this.#clock, LOCK_MS, this.#process.locked);
      if (locked === undefined)
        throw new HostError("RUMP_LOST", `process ${this.pid} is not locked after ${LOCK_MS / 1000} s`);
      onSandbox(locked.value);
      if (this.#isOver || opened === undefined) return;
      pud.connect(this.#process.pud, {
        deviceKept,
        askProcessorWait: (told) => this.#process.askProcessorWait(told),
        ...(this.#process.memory === undefined ? {} : { memory: this.#process.memory.slots }),
        heartbeatMs: Math.max(heartbeatMs, Math.min(MAX_SLOW_BEAT_MS, this.#startMs / BEATS_PER_START)),
        ...(attachSilenceMs === undefined ? {} : { attachSilenceMs }),
      });
      opened.sendTo(this.#process);
    } catch (error) {
      // A process that ended says more by its exit and its last words.
      const known = error instanceof HostError && error.code !== "RUMP_LOST" ? error : undefined;
      await this.#end(messageOf(error), undefined, known);
    }
  }

  /** The process is not to be used any more: it is gone when this is told. */
  async #end(message: string, code: LinkError["code"] | undefined, error: HostError | undefined): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    const atMs = this.#clock.nowMs();
    const wasSilent = code === "PUD_SILENT";
    // A closed channel is followed by the exit; one that broke a rule is not.
    const exit = code === undefined || code === "PUD_CLOSED" ? await this.#exit() : undefined;
    if (exit === undefined) {
      this.kill();
      await this.#exit();
    }
    this.#lost.resolve({
      pid: this.pid,
      atMs,
      why: exit === undefined ? message : describeExit(exit),
      lastWords: this.#process.lastWords(),
      deviceGone: exit?.code === 0,
      error,
      wasSilent,
      outOfResources: isOutOfResources(error),
      completedRequests: (this.#pud?.answeredRequests ?? 0) - this.#answeredBefore,
      livedMs: atMs - this.#begunAtMs,
    });
  }

  async #exit(): Promise<ProcessExit | undefined> {
    return (await waitAtMost(this.#clock, EXIT_MS, this.#process.exited))?.value;
  }
}
