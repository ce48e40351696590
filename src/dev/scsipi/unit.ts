/**
 * A logical unit: commands with their sense data, one at a time.
 *
 * A CHECK CONDITION is followed by REQUEST SENSE before anything else reaches the unit, since the next command would
 * clear the reason (SPC-4 §5.13). Whoever needs several commands in a row takes a turn with `exclusive`.
 */
import type { Clock } from "../../rumpuser/rumpuser.js";
import { type CommandBlock, requestSense } from "./cdb.js";
import { CommandQueue } from "./queue.js";
import { parseSense, SENSE_BYTES, type Sense, UNREADABLE_SENSE } from "./sense.js";
import {
  type ScsiCommand,
  type ScsiData,
  type ScsiReply,
  type ScsiTransport,
  ScsiTransportError,
} from "./transport.js";

export type Outcome =
  | { readonly status: "good"; readonly data: Uint8Array; readonly residueBytes: number }
  | {
      readonly status: "check";
      readonly sense: Sense;
      /** What arrived before the unit failed; with RECOVERED ERROR it is the answer. */
      readonly data: Uint8Array;
      readonly residueBytes: number;
    };

export const NO_DATA: ScsiData = { direction: "none" };

export class LogicalUnit {
  readonly lun: number;
  readonly #transport: ScsiTransport;
  readonly #queue = new CommandQueue();

  constructor(transport: ScsiTransport, lun: number) {
    this.#transport = transport;
    this.lun = lun;
  }

  get maxTransferBytes(): number {
    return this.#transport.maxTransferBytes;
  }

  get resetCount(): number {
    return this.#transport.resetCount;
  }

  /** Turns are taken in the order of the calls. @throws ScsiTransportError SCSI_CANCELLED while still waiting. */
  exclusive<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#queue.run(task, signal);
  }

  /** One command; to be called within a turn. @throws ScsiTransportError */
  async command(block: CommandBlock, data: ScsiData = NO_DATA, signal?: AbortSignal): Promise<Outcome> {
    const { status, data: received, residueBytes } = await this.#send(block, data, signal);
    if (status === "good") return { status, data: received, residueBytes };
    return { status, sense: await this.#sense(signal), data: received, residueBytes };
  }

  /** Takes back the data of an outcome. */
  recycle(data: Uint8Array): void {
    this.#transport.recycle?.(data);
  }

  async #sense(signal: AbortSignal | undefined): Promise<Sense> {
    try {
      const reply = await this.#send(requestSense(SENSE_BYTES), { direction: "in", bytes: SENSE_BYTES }, signal);
      return reply.status === "good" ? parseSense(reply.data) : UNREADABLE_SENSE;
    } catch (error) {
      // The target was recovered and the reason is lost; the command has failed all the same.
      if (error instanceof ScsiTransportError && error.code === "SCSI_TRANSPORT") return UNREADABLE_SENSE;
      throw error;
    }
  }

  #send(block: CommandBlock, data: ScsiData, signal: AbortSignal | undefined): Promise<ScsiReply> {
    return this.#transport.execute(commandOf(this.lun, block, data, signal));
  }
}

/** Written out: V8 makes a new map for each object that is spread and added to, and this one is made for each command. */
function commandOf(lun: number, { cdb, timeoutMs }: CommandBlock, data: ScsiData, signal?: AbortSignal): ScsiCommand {
  switch (data.direction) {
    case "none":
      return { direction: "none", lun, cdb, timeoutMs, signal };
    case "in":
      return { direction: "in", bytes: data.bytes, lun, cdb, timeoutMs, signal };
    case "out":
      return { direction: "out", data: data.data, lun, cdb, timeoutMs, signal };
  }
}

/** Waits; an abort ends it early. @throws ScsiTransportError SCSI_CANCELLED */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      timer.cancel();
      reject(new ScsiTransportError("SCSI_CANCELLED", "cancelled while waiting", { cause: signal.reason }));
    };
    const timer = clock.startTimer(delayMs, () => {
      signal.removeEventListener("abort", leave);
      resolve();
    });
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave, { once: true });
  });
}

/**
 * A signal that is aborted with the first of two: one that lasts and, from `link` to `release`, one of a request.
 *
 * Requests take turns and share it for as long as none was aborted: a controller for each would be a good part of what a
 * small command costs. Not `AbortSignal.any`: in Node 20 what that makes is remembered as long as its longest-lived source.
 */
export class LinkedSignal {
  readonly #lasting: AbortSignal;
  #controller = new AbortController();
  #request: AbortSignal | undefined;
  readonly #follow = (): void => {
    this.#controller.abort(this.#lasting.aborted ? this.#lasting.reason : this.#request?.reason);
  };

  constructor(lasting: AbortSignal) {
    this.#lasting = lasting;
    lasting.addEventListener("abort", this.#follow, { once: true });
  }

  /** To be released before the next `link`. */
  link(request: AbortSignal): AbortSignal {
    if (this.#controller.signal.aborted) this.#controller = new AbortController();
    this.#request = request;
    if (this.#lasting.aborted || request.aborted) this.#follow();
    request.addEventListener("abort", this.#follow);
    return this.#controller.signal;
  }

  release(): void {
    this.#request?.removeEventListener("abort", this.#follow);
    this.#request = undefined;
  }
}
