/** A command on its way: from the queue to its reply. Whoever ends it first wins: its status, a deadline, the caller, a reset. */
import type { Clock, Timer } from "../../../rumpuser/rumpuser.js";
import { type ScsiCommand, type ScsiReply, ScsiTransportError } from "../../scsipi/transport.js";
import type { DataStage } from "./pipes.js";

const NO_BYTES = new Uint8Array(0);

export type DataState =
  /** The command has none, or the device did not ask for it. */
  | "none"
  /** Without streams: the device has not said that it is ready. */
  | "waiting"
  /** The device is ready, and another command has the pipe. */
  | "ready"
  | "moving"
  | "ended";

export interface Sense {
  readonly status: number;
  readonly sense: Uint8Array;
}

export class Task {
  readonly command: ScsiCommand;
  readonly stage: DataStage | undefined;
  /** 0 while it is not in flight. */
  tag = 0;
  data: DataState = "none";
  movedBytes = 0;
  sense: Sense | undefined;
  /** What it ends with, whatever its status is. */
  failure: ScsiTransportError | undefined;
  /** While it is in flight. Aborted: its transfers are taken back; without streams that is its data alone. */
  stop: AbortController | undefined;
  /** Waits for data that should have come before the status, or that the caller does not want any more. */
  grace: Timer | undefined;
  #deadline: Timer | undefined;
  #over = false;
  readonly #resolve: (reply: ScsiReply) => void;
  readonly #reject: (error: Error) => void;
  readonly #ended: (task: Task) => void;

  /**
   * @param dataIn  Memory for data IN, exactly as much as is asked for.
   * @param ended   Called when it is over, before the caller is told.
   */
  constructor(
    command: ScsiCommand,
    dataIn: Uint8Array,
    settle: { readonly resolve: (reply: ScsiReply) => void; readonly reject: (error: Error) => void },
    ended: (task: Task) => void,
  ) {
    this.command = command;
    const data = command.direction === "out" ? command.data : dataIn;
    const direction = command.direction === "out" ? "out" : "in";
    this.stage = data.length === 0 ? undefined : { direction, data };
    this.#resolve = settle.resolve;
    this.#reject = settle.reject;
    this.#ended = ended;
  }

  /** The device has said the last of it. */
  get hasStatus(): boolean {
    return this.sense !== undefined || (this.failure !== undefined && this.failure.code !== "SCSI_CANCELLED");
  }

  get isOver(): boolean {
    return this.#over;
  }

  get requestedBytes(): number {
    return this.stage?.data.length ?? 0;
  }

  /** Its time begins when it is sent first. */
  startDeadline(clock: Clock, timeoutMs: number, passed: (task: Task) => void): void {
    this.#deadline ??= clock.startTimer(timeoutMs, () => passed(this));
  }

  /** Back in the queue, as if it had never been sent. Its deadline goes on. */
  rewind(): void {
    this.grace?.cancel();
    this.grace = undefined;
    this.tag = 0;
    this.data = "none";
    this.movedBytes = 0;
    this.sense = undefined;
    this.failure = undefined;
  }

  succeed(status: "good" | "check", sense: Uint8Array): void {
    if (!this.#end()) return;
    const isIn = this.stage?.direction === "in";
    this.#resolve({
      status,
      ...(sense.length > 0 ? { sense: sense.slice() } : {}),
      data: isIn ? this.stage.data.subarray(0, this.movedBytes) : NO_BYTES,
      residueBytes: this.requestedBytes - this.movedBytes,
    });
  }

  fail(error: Error): void {
    if (this.#end()) this.#reject(error);
  }

  #end(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#deadline?.cancel();
    this.grace?.cancel();
    this.#ended(this);
    return true;
  }
}
