/**
 * Getting a target back, from the mildest means to the hardest; nothing is sent meanwhile.
 *
 * | step                                                | ends                            | when                            |
 * | ABORT TASK (SAM-5 §7.2)                             | the one command                 | its time is up, or its caller's |
 * | LOGICAL UNIT RESET (SAM-5 §7.7) of the units in use | what is in flight               | a surprise; the step before failed |
 * | port reset                                          | what is in flight               | the step before failed          |
 * | giving up                                           | everything, for good            | the step before failed, or these come too often |
 *
 * Port resets are bounded: after three of them without a good command in between the target is given up. Where data of a command was on its way over pipes
 * without streams, what is left of it could be taken for the data of another: only a port reset is sure then.
 */
import type { Timer } from "../../../rumpuser/rumpuser.js";
import { ScsiTransportError } from "../../scsipi/transport.js";
import { RecordError } from "../../../bytes.js";
import { DescriptorError, ProtocolError, TransferError, UnsupportedError } from "../errors.js";
import type { Attachment } from "../usbdi.js";
import { encodeTaskManagement, isDone, parseStatusIu, responseName, type StatusIu, type TaskFunction } from "./iu.js";
import { isStopped, type UasPipes, type UasPipeSet } from "./pipes.js";
import type { TagSet } from "./tags.js";
import type { Task } from "./task.js";

/** For the answer to a task management function. */
const MANAGEMENT_TIMEOUT_MS = 5_000;
const MAX_PORT_RESETS = 3;
/** Good commands after which earlier troubles are forgotten. */
const FORGETFUL_AFTER = 256;

/** What recovery needs of the transport. */
export interface RecoveryTarget {
  flying(): readonly Task[];
  /** Takes the task out of flight, and fails it. */
  land(task: Task, error: ScsiTransportError): void;
  /** Keeps the shared status pipe read. */
  readStatus(): void;
  take(iu: StatusIu): void;
  giveUp(cause: Error): void;
  goOn(): void;
}

interface PendingAnswer {
  readonly tag: number;
  readonly answered: (responseCode: number | undefined) => void;
}

interface Trouble {
  /** Undefined: it concerns them all. */
  readonly task: Task | undefined;
  readonly error: Error;
}

export class Recovery {
  readonly #at: Attachment<UasPipeSet>;
  readonly #pipes: UasPipes;
  readonly #tags: TagSet;
  readonly #maxTroubles: number;
  readonly #target: RecoveryTarget;
  readonly #troubles: Trouble[] = [];
  #answer: PendingAnswer | undefined;
  #isRunning = false;
  /** Since the last good command. */
  #portResets = 0;
  #resetCount = 0;
  #recentTroubles = 0;
  #goodCommands = 0;

  constructor(at: Attachment<UasPipeSet>, pipes: UasPipes, tags: TagSet, maxTroubles: number, target: RecoveryTarget) {
    this.#at = at;
    this.#pipes = pipes;
    this.#tags = tags;
    this.#maxTroubles = maxTroubles;
    this.#target = target;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** There was something to recover from, lately. */
  get isTroubled(): boolean {
    return this.#recentTroubles > 0;
  }

  /** Resets of units and of the port that the target has been through. */
  get resetCount(): number {
    return this.#resetCount;
  }

  /** Answers on the status pipe that are waited for here. */
  get answersOwed(): number {
    return this.#answer === undefined ? 0 : 1;
  }

  commandSucceeded(): void {
    this.#portResets = 0;
    if (++this.#goodCommands < FORGETFUL_AFTER) return;
    this.#goodCommands = 0;
    this.#recentTroubles = 0;
  }

  /** @returns true when it is the answer to a task management function. */
  takeResponse(tag: number, responseCode: number): boolean {
    if (this.#answer?.tag !== tag) return false;
    this.#answer.answered(responseCode);
    return true;
  }

  /** Ends one command, which then fails with `error`; if it must be, others fail with it. */
  abort(task: Task, error: ScsiTransportError): void {
    this.#begin({ task, error });
  }

  /** Nobody knows any more which command is where. What is in flight fails. */
  reset(error: Error): void {
    this.#begin({ task: undefined, error });
  }

  /** Ends what another process may have in flight. Resolves also when that was the end of the transport. */
  async takeOver(): Promise<void> {
    this.#isRunning = true;
    this.#at.log("info", "the tasks of another process are ended: I_T NEXUS RESET (SAM-5 §7.6)");
    try {
      this.#resetCount++;
      if (!(await this.#manage("nexusReset", 0, 0))) await this.#resetPort();
    } catch (error) {
      this.#giveUp(asError(error));
    } finally {
      this.#isRunning = false;
    }
  }

  #begin(trouble: Trouble): void {
    this.#troubles.push(trouble);
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#run().finally(() => {
      this.#isRunning = false;
      this.#target.goOn();
    });
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    try {
      for (let trouble = this.#troubles.shift(); trouble !== undefined; trouble = this.#troubles.shift())
        await this.#deal(trouble);
    } catch (error) {
      this.#giveUp(asError(error));
    }
  }

  async #deal({ task, error }: Trouble): Promise<void> {
    if (task?.isOver === true) return;
    const isCancel = error instanceof ScsiTransportError && error.code === "SCSI_CANCELLED";
    if (!isCancel) {
      this.#at.log("warn", `recovery: ${error.message}`);
      this.#goodCommands = 0;
      if (++this.#recentTroubles > this.#maxTroubles)
        throw new TransferError("USB_IO", `${error.message}; that is too often`, { cause: error });
    }
    const isOnPipe = (one: Task): boolean =>
      this.#pipes.streams === 0 && (one.data === "moving" || (one.data === "ended" && !one.hasStatus));
    if (task !== undefined && !isOnPipe(task) && (await this.#abortTask(task, error))) return;
    await this.#resetAll(task, error, this.#target.flying().some(isOnPipe));
  }

  /** @returns true when the target says that it has done so, or the command has ended by itself. */
  async #abortTask(task: Task, error: Error): Promise<boolean> {
    const isDone = await this.#manage("abortTask", task.tag, task.command.lun);
    if (!isDone || task.isOver) return task.isOver;
    // Its stream must have nothing of it when it is used again.
    if (task.stop !== undefined) {
      task.stop.abort();
      await this.#pipes.ended(task.stop.signal);
    }
    if (!task.isOver) this.#target.land(task, asTransportError(error));
    return true;
  }

  async #resetAll(task: Task | undefined, error: Error, portOnly: boolean): Promise<void> {
    const flying = this.#target.flying();
    for (const one of flying) one.stop?.abort();
    await this.#pipes.stop();
    this.#resetCount++;
    if (portOnly || !(await this.#resetUnits(new Set(flying.map(({ command }) => command.lun)))))
      await this.#resetPort();
    for (const one of flying) {
      const own =
        one === task
          ? asTransportError(error)
          : new ScsiTransportError("SCSI_TRANSPORT", error.message, { cause: error });
      this.#target.land(one, own);
    }
  }

  /** @returns false when the target has not done so. @throws TransferError USB_DISCONNECTED */
  async #resetUnits(luns: ReadonlySet<number>): Promise<boolean> {
    try {
      await this.#pipes.clearHalts();
    } catch (error) {
      return this.#unlessGone(error, "the pipes cannot be cleared");
    }
    for (const lun of luns) if (!(await this.#manage("logicalUnitReset", 0, lun))) return false;
    return true;
  }

  /** @throws TransferError when it does not come back, or has been reset in vain too often; what `resetDevice` throws. */
  async #resetPort(): Promise<void> {
    if (++this.#portResets > MAX_PORT_RESETS)
      throw new TransferError("USB_IO", `${MAX_PORT_RESETS} port resets did not help`);
    this.#at.log(this.#target.flying().length > 0 ? "warn" : "info", "resetting the port");
    const { streams } = this.#pipes;
    await this.#pipes.stop();
    await this.#at.resetDevice();
    if (streams !== 0 && (await this.#pipes.openStreams(streams)) < streams)
      throw new TransferError("USB_IO", `no ${streams} bulk streams any more after the reset`);
  }

  /** @returns true when the target says that it is done. @throws TransferError USB_DISCONNECTED */
  async #manage(what: TaskFunction, taskTag: number, lun: number): Promise<boolean> {
    const flying = this.#target.flying();
    const tag = this.#tags.takeForManagement((used) => flying.some((task) => task.tag === used));
    const iu = encodeTaskManagement(tag, what, taskTag, lun);
    let timer: Timer | undefined;
    const answered = new Promise<number | undefined>((resolve) => {
      this.#answer = { tag, answered: resolve };
      timer = this.#at.clock.startTimer(MANAGEMENT_TIMEOUT_MS, () => resolve(undefined));
    });
    try {
      const code = await Promise.race([answered, this.#sendManagement(iu, tag)]);
      if (code !== undefined && isDone(code)) return true;
      // Few devices have this one (SAM-5 §7.6): it is tried because it is the mildest.
      const level = what === "nexusReset" ? "info" : "warn";
      this.#at.log(level, `${what}: ${code === undefined ? "no answer" : responseName(code)}`);
      return false;
    } catch (error) {
      return this.#unlessGone(error, what);
    } finally {
      timer?.cancel();
      this.#answer = undefined;
    }
  }

  /** Settles when the sending failed, or, with streams, with the answer; else never. */
  async #sendManagement(iu: Uint8Array, tag: number): Promise<number | undefined> {
    if (this.#pipes.streams === 0) {
      this.#target.readStatus();
      await this.#pipes.send(iu);
    } else {
      this.#target.take(parseStatusIu(await this.#pipes.sendForStatus(iu, tag)));
    }
    return new Promise(() => {});
  }

  #unlessGone(error: unknown, what: string): false {
    if (error instanceof TransferError && error.code === "USB_DISCONNECTED") throw error;
    if (!isStopped(error)) this.#at.log("warn", `${what}: ${asError(error).message}`);
    return false;
  }

  #giveUp(cause: Error): void {
    const isUnplug = cause instanceof TransferError && cause.code === "USB_DISCONNECTED";
    if (!isUnplug && !this.#at.signal.aborted) this.#at.log("error", `the target is given up: ${cause.message}`);
    this.#troubles.length = 0;
    this.#target.giveUp(cause);
  }
}

const DEVICE_ERRORS = [TransferError, ProtocolError, DescriptorError, UnsupportedError, RecordError];

/** The device did it, and not a bug of ours. */
export function isOfTheDevice(error: unknown): boolean {
  return DEVICE_ERRORS.some((kind) => error instanceof kind);
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

function asTransportError(error: Error): ScsiTransportError {
  return error instanceof ScsiTransportError
    ? error
    : new ScsiTransportError("SCSI_TRANSPORT", error.message, { cause: error });
}
