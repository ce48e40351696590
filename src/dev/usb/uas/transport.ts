/**
 * USB Attached SCSI: many commands in flight, each with a tag, over four pipes.
 *
 * Specs: UAS r04 (T10/2095-D), clauses "Information units" and "Information unit sequences"; SAM-5 §5 (status), §7 (task
 * management). With bulk streams the tag is the stream on which data and status move, so that everything of a command is
 * queued at once. Without, the device says on the shared status pipe whose data comes next; data moves for one command in
 * each direction at a time. Whatever is a surprise ends in recovery.ts. The transport does not look inside the CDB.
 */
import { BufferPool } from "../../../buffers.js";
import { PendingSet } from "../../../pending.js";
import type { Timer } from "../../../rumpuser/rumpuser.js";
import {
  DEFAULT_COMMAND_TIMEOUT_MS,
  type ScsiCommand,
  type ScsiReply,
  type ScsiTransport,
  ScsiTransportError,
} from "../../scsipi/transport.js";
import { ProtocolError, TransferError } from "../errors.js";
import type { Attachment } from "../usbdi.js";
import { encodeCommand, parseStatusIu, RESPONSE_CODE, responseName, SCSI_STATUS, type StatusIu } from "./iu.js";
import { Callers } from "./callers.js";
import { isStopped, UasPipes, type UasPipeSet } from "./pipes.js";
import { asError, isOfTheDevice, Recovery } from "./recovery.js";
import { TagSet } from "./tags.js";
import { type Sense, Task } from "./task.js";

/** One command moves at most so much, unless a quirk says less. */
const MAX_TRANSFER_BYTES = 1 << 20;
/** Commands in flight at most, and what they move together: usbfs has 16 MiB for all of its users by default. */
export const MAX_COMMANDS = 32;
const MAX_BYTES_IN_FLIGHT = 8 << 20;
/** Reads of the status pipe that wait together, where it is shared. */
const MAX_STATUS_READS = 4;
/** Data that should have come before a GOOD status. */
const DATA_GRACE_MS = 1_000;
/** A target that takes no command at all is asked again so often. */
const BUSY_PAUSE_MS = 100;
/** Memory kept for the data of the next commands. */
const MAX_IDLE_BYTES = 8 << 20;
const NO_BYTES = new Uint8Array(0);

export interface UasTransportOptions {
  readonly lunCount: number;
  readonly maxTransferBytes?: number;
  /** Commands at a time at most. */
  readonly maxCommands?: number;
  /** Recoveries, with hardly a good command between them, after which it gives up; left out: never for that reason. */
  readonly maxTroubles?: number;
}

export class UasTransport implements ScsiTransport {
  readonly maxTransferBytes: number;
  readonly lunCount: number;
  readonly lunsByReport = true;
  readonly #at: Attachment<UasPipeSet>;
  readonly #pipes: UasPipes;
  readonly #recovery: Recovery;
  readonly #maxCommands: number;
  readonly #buffers = new BufferPool(MAX_IDLE_BYTES);
  readonly #waiting: Task[] = [];
  readonly #flying = new PendingSet<Task>();
  /** Not aborted, for the next commands: one for each would cost as much as a small command. */
  readonly #stops: AbortController[] = [];
  readonly #tags: TagSet;
  readonly #callers = new Callers((task) => this.#cancelled(task));
  #bytesInFlight = 0;
  /** Commands at a time, as the target was seen to take them. */
  #depth: number;
  #statusReads = 0;
  #pause: Timer | undefined;
  #dead: Error | undefined;

  /** `pipes`: with its streams open, or none. */
  constructor(at: Attachment<UasPipeSet>, pipes: UasPipes, options: UasTransportOptions) {
    this.#at = at;
    this.#pipes = pipes;
    this.lunCount = options.lunCount;
    this.maxTransferBytes = Math.min(MAX_TRANSFER_BYTES, options.maxTransferBytes ?? MAX_TRANSFER_BYTES);
    this.#tags = new TagSet(pipes.streams, at.random32());
    this.#maxCommands = Math.min(options.maxCommands ?? MAX_COMMANDS, this.#tags.commandTags);
    this.#depth = this.#maxCommands;
    this.#recovery = new Recovery(at, pipes, this.#tags, options.maxTroubles ?? Number.POSITIVE_INFINITY, {
      flying: () => this.#flying.items.slice(),
      land: (task, error) => {
        this.#land(task);
        // The target may have had no room for it in the meantime.
        this.#drop(task, error);
      },
      readStatus: () => this.#readStatus(),
      take: (iu) => this.#take(iu),
      giveUp: (cause) => this.#giveUp(cause),
      goOn: () => this.#pump(),
    });
  }

  get resetCount(): number {
    return this.#recovery.resetCount;
  }

  get queueDepth(): number {
    return this.#depth;
  }

  /** The device has gone wrong lately. */
  get isTroubled(): boolean {
    return this.#recovery.isTroubled;
  }

  /** It has given up a device that is still there. */
  get hasGivenUp(): boolean {
    return this.#dead !== undefined && isOfTheDevice(this.#dead) && !isGone(this.#dead);
  }

  execute(command: ScsiCommand): Promise<ScsiReply> {
    return new Promise((resolve, reject) => {
      if (this.#dead !== undefined) return reject(goneError(this.#dead));
      if (command.signal?.aborted === true) return reject(cancelledError("before it was sent"));
      const dataIn = command.direction === "in" ? (command.into ?? this.#buffers.take(command.bytes)) : NO_BYTES;
      const task = new Task(command, dataIn, { resolve, reject }, (over) => this.#callers.leave(over));
      this.#callers.join(task);
      this.#waiting.push(task);
      this.#pump();
    });
  }

  recycle(data: Uint8Array): void {
    this.#buffers.give(data);
  }

  /**
   * Before the first command to a device that may have tasks of another process: they are ended.
   * @throws ScsiTransportError SCSI_GONE: it cannot be brought to order.
   */
  async takeOver(): Promise<void> {
    await this.#recovery.takeOver();
    if (this.#dead !== undefined) throw goneError(this.#dead);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Sending

  #pump(): void {
    while (this.#waiting.length > 0 && this.#maySend()) {
      const task = this.#waiting.shift();
      if (task !== undefined) this.#send(task);
    }
  }

  #maySend(): boolean {
    const { size } = this.#flying;
    if (this.#dead !== undefined || this.#recovery.isRunning || this.#pause !== undefined) return false;
    const bytes = this.#waiting[0]?.requestedBytes ?? 0;
    return size === 0 || (size < this.#depth && this.#bytesInFlight + bytes <= MAX_BYTES_IN_FLIGHT);
  }

  #send(task: Task): void {
    const { command, stage } = task;
    task.tag = this.#tags.take((tag) => this.#byTag(tag) !== undefined);
    const stop = this.#stops.pop() ?? new AbortController();
    task.stop = stop;
    this.#flying.add(task);
    this.#bytesInFlight += task.requestedBytes;
    task.startDeadline(this.#at.clock, command.timeoutMs ?? DEFAULT_COMMAND_TIMEOUT_MS, (late) => this.#late(late));
    const iu = encodeCommand(task.tag, command.lun, command.cdb);
    if (this.#pipes.streams === 0) {
      if (stage !== undefined) task.data = "waiting";
      // An answer says that it was taken, whatever becomes of the transfer.
      this.#watch(this.#pipes.send(iu, stop.signal), () => {});
      this.#readStatus();
      return;
    }
    const stream = task.tag;
    if (stage !== undefined) this.#moveData(task, stream);
    this.#watch(this.#pipes.sendForStatus(iu, stream, stop.signal), (bytes) => {
      const status = parseStatusIu(bytes);
      if (status.tag !== stream)
        throw new ProtocolError(`tag ${status.tag} on stream ${stream}`, "UAS r04, information unit sequences", bytes);
      this.#take(status);
    });
  }

  /** Without streams: as many reads as answers are owed, so that none is left over. */
  #readStatus(): void {
    if (this.#pipes.streams !== 0) return;
    let owed = this.#recovery.answersOwed;
    for (const task of this.#flying.items) if (!task.hasStatus && task.stop?.signal.aborted === false) owed++;
    while (this.#statusReads < Math.min(owed, MAX_STATUS_READS)) {
      this.#statusReads++;
      const reading = this.#pipes.readStatus().finally(() => this.#statusReads--);
      this.#watch(reading, (bytes) => {
        this.#take(parseStatusIu(bytes));
        this.#readStatus();
      });
    }
  }

  #moveData(task: Task, stream?: number): void {
    const { stage, stop } = task;
    if (stage === undefined || stop === undefined) return;
    task.data = "moving";
    this.#watch(this.#pipes.moveData(stage, stream, stop.signal), (bytes) => {
      task.movedBytes = bytes;
      task.data = "ended";
      this.#progress(task);
      this.#nextData(stage.direction);
    });
  }

  /** Without streams: the pipe is free for the command that the device named next. */
  #nextData(direction: "in" | "out"): void {
    if (this.#pipes.streams !== 0) return;
    const inDirection = this.#flying.items.filter(({ stage }) => stage?.direction === direction);
    if (inDirection.some(({ data }) => data === "moving")) return;
    const next = inDirection.find(({ data }) => data === "ready");
    if (next !== undefined) this.#moveData(next);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Status

  /** @throws ProtocolError for what cannot be, while all is well; during recovery it is ignored. */
  #take(iu: StatusIu): void {
    if (iu.kind === "response" && this.#recovery.takeResponse(iu.tag, iu.responseCode)) return;
    const task = this.#byTag(iu.tag);
    if (task === undefined || task.hasStatus) {
      if (this.#recovery.isRunning) return;
      const what = task === undefined ? "for no command" : "for a command that has its status";
      throw new ProtocolError(`${iu.kind} ${what}, tag ${iu.tag}`, "UAS r04, information unit sequences");
    }
    switch (iu.kind) {
      case "readReady":
      case "writeReady":
        return this.#ready(task, iu.kind === "readReady" ? "in" : "out");
      case "response":
        return this.#refused(task, iu.responseCode);
      case "sense":
        task.sense = { status: iu.status, sense: iu.sense };
        return this.#statusCame(task);
    }
  }

  /** The device takes the IU for invalid or the unit for missing: the command is not carried out. */
  #refused(task: Task, responseCode: number): void {
    const message = `COMMAND IU, tag ${task.tag}: ${responseName(responseCode)}`;
    // What the device thinks of all its tags then is not known (SAM-5 §5.9.2).
    if (responseCode === RESPONSE_CODE.overlappedTag) throw new ProtocolError(message, "UAS r04, RESPONSE IU");
    task.failure = new ScsiTransportError("SCSI_TRANSPORT", message);
    this.#statusCame(task);
  }

  #ready(task: Task, direction: "in" | "out"): void {
    if (task.data !== "waiting" || task.stage?.direction !== direction)
      throw new ProtocolError(
        `ready for data ${direction} of tag ${task.tag}, which ${task.data === "waiting" ? "has none" : "has it already"}`,
        "UAS r04, READ READY IU",
      );
    task.data = "ready";
    this.#nextData(direction);
  }

  /** Of a command that failed no more data is to come; that of another is on its way at most. */
  #statusCame(task: Task): void {
    if (task.data === "waiting" || task.data === "ready") task.data = "ended";
    if (task.data === "moving") {
      if (task.sense?.status === SCSI_STATUS.good) this.#awaitData(task);
      else task.stop?.abort();
    }
    this.#progress(task);
  }

  #awaitData(task: Task): void {
    task.grace = this.#at.clock.startTimer(DATA_GRACE_MS, () => {
      if (this.#pipes.streams !== 0) return task.stop?.abort();
      // What comes late would be taken for the data of the next command.
      this.#recovery.reset(
        new ProtocolError(`GOOD for tag ${task.tag}, and its data did not come`, "UAS r04, SENSE IU"),
      );
    });
  }

  /** Ends a command that has all it needs. */
  #progress(task: Task): void {
    if (!task.hasStatus || task.data === "moving" || !this.#flying.has(task)) return;
    this.#land(task);
    if (task.failure !== undefined) task.fail(task.failure);
    else if (task.sense !== undefined) this.#reply(task, task.sense);
    this.#pump();
  }

  #reply(task: Task, sense: Sense): void {
    switch (sense.status) {
      case SCSI_STATUS.good:
        this.#recovery.commandSucceeded();
        task.succeed("good", NO_BYTES);
        break;
      case SCSI_STATUS.checkCondition:
        task.succeed("check", sense.sense);
        break;
      case SCSI_STATUS.busy:
      case SCSI_STATUS.taskSetFull:
        this.#sendLater(task);
        break;
      default:
        task.fail(
          new ScsiTransportError("SCSI_TRANSPORT", `SCSI status ${sense.status.toString(16).padStart(2, "0")}h`),
        );
    }
  }

  /** The target has no room for it: as many as it had room for, from now on. */
  #sendLater(task: Task): void {
    const room = Math.max(1, this.#flying.size);
    if (room < this.#depth) {
      this.#at.log("info", `${room} commands at a time from now on: the target took no more (SAM-5 §5.3.1)`);
      this.#depth = room;
    }
    if (this.#flying.size === 0) {
      this.#pause ??= this.#at.clock.startTimer(BUSY_PAUSE_MS, () => {
        this.#pause = undefined;
        this.#pump();
      });
    }
    task.rewind();
    if (!task.isOver) this.#waiting.unshift(task);
  }

  #byTag(tag: number): Task | undefined {
    return this.#flying.items.find((task) => task.tag === tag);
  }

  /** It is not in flight any more. */
  #land(task: Task): void {
    if (!this.#flying.delete(task)) return;
    if (task.stop?.signal.aborted === false) this.#stops.push(task.stop);
    task.stop = undefined;
    this.#tags.give(task.tag);
    this.#bytesInFlight -= task.requestedBytes;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Trouble

  /** Goes on with what a transfer brings; what goes wrong concerns the whole transport. */
  #watch<T>(transfer: Promise<T>, then: (result: T) => void): void {
    transfer.then(then).catch((error: unknown) => {
      if (isStopped(error)) return;
      if (isGone(error) || !isOfTheDevice(error)) return this.#giveUp(asError(error));
      // During recovery every transfer is ended; what one of them had to say does not matter.
      if (!this.#recovery.isRunning) this.#recovery.reset(asError(error));
    });
  }

  #late(task: Task): void {
    if (this.#flying.has(task))
      return this.#recovery.abort(task, new ScsiTransportError("SCSI_TIMED_OUT", "the command's time is up"));
    this.#drop(
      task,
      new ScsiTransportError("SCSI_TIMED_OUT", "the target was busy for the whole of the command's time"),
    );
  }

  #cancelled(task: Task): void {
    if (!this.#flying.has(task)) return this.#drop(task, cancelledError("before it was sent"));
    task.failure = cancelledError("in flight");
    const abort = (): void => this.#recovery.abort(task, cancelledError("in flight"));
    // Data on its way over a shared pipe is best let through; to stop it takes a port reset.
    if (this.#pipes.streams !== 0 || task.data !== "moving") return abort();
    task.grace?.cancel();
    task.grace = this.#at.clock.startTimer(DATA_GRACE_MS, abort);
  }

  /** Out of the queue. */
  #drop(task: Task, error: ScsiTransportError): void {
    const at = this.#waiting.indexOf(task);
    if (at >= 0) this.#waiting.splice(at, 1);
    task.fail(error);
  }

  /** Takes back what is in flight of a transport that has given up. */
  close(): Promise<void> {
    return this.#pipes.stop();
  }

  /** Nothing can be sent any more: everything ends. */
  #giveUp(cause: Error): void {
    if (this.#dead !== undefined) return;
    this.#dead = cause;
    this.#pause?.cancel();
    void this.#pipes.stop();
    for (const task of this.#flying.take()) {
      task.stop?.abort();
      task.fail(goneError(cause));
    }
    for (const task of this.#waiting.splice(0)) task.fail(goneError(cause));
  }
}

/** The device is not there any more, or not ours. */
function isGone(error: unknown): boolean {
  return error instanceof TransferError && error.code === "USB_DISCONNECTED";
}

/** A bug of ours goes to whoever asked, who ends the process. */
function goneError(cause: Error): Error {
  if (!isOfTheDevice(cause)) return cause;
  return new ScsiTransportError("SCSI_GONE", cause.message, { cause });
}

function cancelledError(when: string): ScsiTransportError {
  return new ScsiTransportError("SCSI_CANCELLED", `cancelled ${when}`);
}
