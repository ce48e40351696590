/**
 * A logical unit: commands with their sense data, one at a time, or several where the transport takes them.
 *
 * A CHECK CONDITION is followed by REQUEST SENSE before anything else reaches the unit, since the next command would
 * clear the reason (SPC-4 §5.13); a transport that takes several brings the sense data with the status. Whoever needs
 * several commands in a row takes a turn with `exclusive`.
 */
import type { Clock } from "../../rumpuser/rumpuser.js";
import { type CommandBlock, requestSense } from "./cdb.js";
import { parseSense, SENSE_BYTES, type Sense, UNREADABLE_SENSE } from "./sense.js";
import { type Claim, TaskSet, type Turn } from "./task-set.js";
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
      /** The first reply since the transport has reset the target: a unit attention 29h is of our own making. */
      readonly afterOwnReset: boolean;
      /** What arrived before the unit failed; with RECOVERED ERROR it is the answer. */
      readonly data: Uint8Array;
      readonly residueBytes: number;
    };

export const NO_DATA: ScsiData = { direction: "none" };

export class LogicalUnit {
  readonly lun: number;
  /** A command was not answered in its time twice, and none of an attached disk was answered since: none is repeated. */
  isUnresponsive = false;
  readonly #transport: ScsiTransport;
  readonly #oneAtATime: boolean;
  readonly #tasks = new TaskSet(() => this.queueDepth);
  /** Of the transport's resets, those that a reply has come after. */
  #resetsAnswered: number;

  /** `oneAtATime`: each command is answered before the next is sent. */
  constructor(transport: ScsiTransport, lun: number, options: { readonly oneAtATime?: boolean } = {}) {
    this.#transport = transport;
    this.#oneAtATime = options.oneAtATime ?? false;
    this.#resetsAnswered = transport.resetCount;
    this.lun = lun;
  }

  /** Commands that it takes at a time now. */
  get queueDepth(): number {
    return this.#oneAtATime ? 1 : (this.#transport.queueDepth ?? 1);
  }

  get maxTransferBytes(): number {
    return this.#transport.maxTransferBytes;
  }

  /** Turns are taken in the order of the calls. @throws ScsiTransportError SCSI_CANCELLED while still waiting. */
  exclusive<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#tasks.run(task, undefined, signal);
  }

  /**
   * A turn beside others that the claim has nothing to do with (task-set.ts), without one alone; to be ended with `leave`.
   * @throws ScsiTransportError SCSI_CANCELLED while still waiting.
   */
  enter(claim: Claim | undefined, signal: AbortSignal | undefined): Turn | Promise<Turn> {
    return this.#tasks.enter(claim, signal);
  }

  leave(turn: Turn): void {
    this.#tasks.leave(turn);
  }

  /** One command; to be called within a turn. @throws ScsiTransportError */
  async command(block: CommandBlock, data: ScsiData = NO_DATA, signal?: AbortSignal): Promise<Outcome> {
    const resets = this.#transport.resetCount;
    const { status, data: received, residueBytes, sense } = await this.#send(block, data, signal);
    const afterOwnReset = resets > this.#resetsAnswered;
    if (afterOwnReset) this.#resetsAnswered = resets;
    if (status === "good") return { status, data: received, residueBytes };
    const reason = sense === undefined ? await this.#sense(signal) : parseSense(sense);
    return { status, sense: reason, afterOwnReset, data: received, residueBytes };
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
      return { direction: "in", bytes: data.bytes, into: data.into, lun, cdb, timeoutMs, signal };
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
 * Signals that are aborted with the first of two: one that lasts and, from `link` to `unlink`, one of a request.
 *
 * Requests share a few of them for as long as none was aborted: a controller for each would be a good part of what a small
 * command costs. Not `AbortSignal.any`: in Node 20 what that makes is remembered as long as its longest-lived source.
 */
export class SignalLinks {
  readonly #lasting: AbortSignal;
  readonly #free: Link[] = [];
  readonly #used = new Map<AbortSignal, Link>();

  constructor(lasting: AbortSignal) {
    this.#lasting = lasting;
    // One listener for them all: there may be as many as commands in flight.
    lasting.addEventListener("abort", () => this.#endAll(), { once: true });
  }

  /** To be given back with `unlink`. */
  link(request: AbortSignal): AbortSignal {
    const link = this.#free.pop() ?? new Link();
    this.#used.set(link.signal, link);
    link.follow(request);
    if (this.#lasting.aborted) link.abort(this.#lasting.reason);
    return link.signal;
  }

  unlink(linked: AbortSignal): void {
    const link = this.#used.get(linked);
    this.#used.delete(linked);
    link?.leave();
    if (link !== undefined && !linked.aborted) this.#free.push(link);
  }

  #endAll(): void {
    for (const link of this.#used.values()) link.abort(this.#lasting.reason);
  }
}

class Link {
  readonly #controller = new AbortController();
  #request: AbortSignal | undefined;
  readonly #follow = (): void => this.abort(this.#request?.reason);

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  follow(request: AbortSignal): void {
    this.#request = request;
    if (request.aborted) this.#follow();
    else request.addEventListener("abort", this.#follow);
  }

  leave(): void {
    this.#request?.removeEventListener("abort", this.#follow);
    this.#request = undefined;
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }
}
