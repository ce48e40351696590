/**
 * The transmission phase of one connection: requests in, answers out.
 *
 * Spec: "Transmission". Requests are answered as they finish, in any order. What is in flight is bounded: a request holds
 * its part of the window from its header until its answer has left, and no more bytes are taken while the window is full.
 * A client that does not read its answers therefore stops being read.
 */
import { viewOf } from "../../../bytes.js";
import { DeviceError } from "../../../rump/devsw.js";
import { messageOf } from "../errors.js";
import { refusalOf } from "./commands.js";
import type { Refusal } from "./commands.js";
import { MAX_REQUEST_BYTES } from "./export.js";
import type { NbdExport } from "./export.js";
import { Gatherer } from "../../gatherer.js";
import { PayloadCollector } from "./payload.js";
import { type AskedBy, perform } from "./perform.js";
import { COMMAND, NBD_ERROR_OF, REQUEST_BYTES, REQUEST_MAGIC, readRequest } from "./protocol.js";
import type { RequestHeader } from "./protocol.js";
import type { ReplyQueue } from "./replies.js";

/** Bytes of payload, both ways, that one connection may have in flight. */
export const WINDOW_BYTES = 2 * MAX_REQUEST_BYTES;
/**
 * What is at the disk and what a client has not fetched yet, together: beyond that nothing more is read for it, so that one
 * that asks and does not fetch keeps the disk from nobody else. Enough for every command that a device takes at a time.
 */
export const MAX_ENGAGED_BYTES = 8 * 1024 * 1024;
/** What a request takes of the window at least; so no more than 1024 are in flight. */
export const MIN_REQUEST_BYTES = 64 * 1024;

const NO_PAYLOAD: readonly Uint8Array[] = [];

/** A request between its header and its answer. */
interface Pending {
  readonly header: RequestHeader;
  readonly windowBytes: number;
  idle: boolean;
  answered: boolean;
}

/** A write whose payload is arriving. */
interface Arriving {
  readonly pending: Pending;
  readonly payload: PayloadCollector;
  /** It is answered with this once its payload has been read past. */
  refusal: Refusal | undefined;
}

export interface TransmissionEvents {
  /** The client broke the protocol and is to be dropped. */
  violation(message: string): void;
  /** NBD_CMD_DISC: nothing more will be taken. */
  disconnect(): void;
  /** A disk call failed with something that is no DeviceError. */
  fault(message: string): void;
  /** A disk call ended, or an answer left. */
  progress(): void;
}

export class Transmission {
  readonly #export: NbdExport;
  readonly #structured: boolean;
  readonly #replies: ReplyQueue;
  readonly #events: TransmissionEvents;
  readonly #gatherer = new Gatherer(REQUEST_BYTES);
  readonly #unanswered = new Set<Pending>();
  /** A request that waits for room in the window. */
  #waiting: RequestHeader | undefined;
  #arriving: Arriving | undefined;
  #windowBytes = 0;
  /** The part of it whose requests arrive or are held: no disk has them, and they have no answer. */
  #idleBytes = 0;
  /** Reads that wait until the client has fetched what there is. */
  #held: Pending[] = [];
  readonly #askedBy: AskedBy = { client: this, isWanted: () => !this.#clientGone, passesOn: true };
  #diskCalls = 0;
  #ended = false;
  #clientGone = false;
  /** What everything is answered with from now on. */
  #shutDown: Refusal | undefined;

  constructor(exported: NbdExport, structuredReplies: boolean, replies: ReplyQueue, events: TransmissionEvents) {
    this.#export = exported;
    this.#structured = structuredReplies;
    this.#replies = replies;
    this.#events = events;
  }

  /** Calls of the disk that have not ended. They end also when the client has gone, and count until then. */
  get diskCalls(): number {
    return this.#diskCalls;
  }

  /** It is only waited for the client, which has much to fetch and has asked for more. */
  get waitsForClient(): boolean {
    return this.#diskCalls === 0 && this.#held.length > 0;
  }

  /** Every request that was taken has been answered, and the answers have left. */
  get drained(): boolean {
    return this.#windowBytes === 0;
  }

  /** No byte can be taken before `progress`. */
  get blocked(): boolean {
    return this.#waiting !== undefined && this.#windowBytes + windowBytesOf(this.#waiting) > WINDOW_BYTES;
  }

  /** An answer has left. */
  release(windowBytes: number): void {
    this.#windowBytes -= windowBytes;
    while (!this.#isEngaged()) {
      const next = this.#held.shift();
      if (next === undefined) break;
      this.#perform(next, NO_PAYLOAD);
    }
    this.#events.progress();
  }

  /** No more bytes will come: a request that did not arrive in full was never made. */
  endInput(): void {
    this.#ended = true;
    this.#waiting = undefined;
    const arriving = this.#arriving;
    this.#arriving = undefined;
    if (arriving === undefined) return;
    arriving.payload.drop();
    this.#claim(arriving.pending);
    this.#windowBytes -= arriving.pending.windowBytes;
  }

  /** There is nobody to answer: reads that no driver has yet are not made. What was written is written. */
  clientGone(): void {
    this.#clientGone = true;
    this.#held = [];
    this.#ended = true;
    this.#arriving?.payload.drop();
    this.#replies.close();
  }

  /** "Terminating the transmission phase": answers all requests, now and from now on, with ESHUTDOWN. */
  shutDown(reason: string): void {
    const refusal: Refusal = { error: "ESHUTDOWN", message: reason };
    this.#shutDown = refusal;
    this.#held = [];
    const arriving = this.#arriving;
    arriving?.payload.drop();
    if (arriving !== undefined) arriving.refusal ??= refusal;
    for (const pending of this.#unanswered) if (pending !== arriving?.pending) this.#refuse(pending, refusal);
  }

  /**
   * Takes bytes of the stream. The chunk is lent for the call.
   * @returns where it stopped; before the end of the chunk only when `blocked`.
   */
  feed(chunk: Uint8Array, from: number): number {
    const view = viewOf(chunk);
    let at = from;
    for (;;) {
      if (this.#ended) return chunk.length;
      if (this.#waiting !== undefined) {
        if (this.blocked) return at;
        const header = this.#waiting;
        this.#waiting = undefined;
        this.#admit(header);
        continue;
      }
      if (at >= chunk.length) return at;
      if (this.#arriving !== undefined) at += this.#arrive(chunk, at, this.#arriving);
      else if (this.#gatherer.empty && chunk.length - at >= REQUEST_BYTES) {
        this.#receive(readRequest(view, at));
        at += REQUEST_BYTES;
      } else {
        at += this.#gatherer.fill(chunk, at);
        if (this.#gatherer.complete) this.#receive(readRequest(viewOf(this.#gatherer.take()), 0));
      }
    }
  }

  #receive(header: RequestHeader): void {
    if (header.magic !== REQUEST_MAGIC) {
      this.#ended = true;
      this.#events.violation(
        `request magic 0x${header.magic.toString(16)}, 0x${REQUEST_MAGIC.toString(16)} needed (NBD Request message)`,
      );
    } else if (header.type === COMMAND.DISC) {
      this.#ended = true;
      this.#events.disconnect();
    } else this.#waiting = header;
  }

  #admit(header: RequestHeader): void {
    const pending: Pending = { header, windowBytes: windowBytesOf(header), idle: true, answered: false };
    this.#windowBytes += pending.windowBytes;
    this.#idleBytes += pending.windowBytes;
    this.#unanswered.add(pending);
    const payloadBytes = header.type === COMMAND.WRITE ? header.lengthBytes : 0;
    const refusal = this.#shutDown ?? refusalOf(header, this.#export, this.#structured);
    if (payloadBytes === 0) return this.#start(pending, NO_PAYLOAD, refusal);
    const payload = new PayloadCollector(payloadBytes, this.#export.partBytes, this.#export.buffers);
    if (refusal !== undefined) payload.drop();
    this.#arriving = { pending, payload, refusal };
  }

  #arrive(chunk: Uint8Array, at: number, { pending, payload, refusal }: Arriving): number {
    const taken = payload.fill(chunk, at);
    if (payload.missingBytes === 0) {
      this.#arriving = undefined;
      this.#start(pending, payload.parts, refusal);
    }
    return taken;
  }

  #start(pending: Pending, payload: readonly Uint8Array[], refusal: Refusal | undefined): void {
    if (refusal !== undefined) this.#refuse(pending, refusal);
    else if (pending.header.type === COMMAND.READ && this.#isEngaged()) this.#held.push(pending);
    else this.#perform(pending, payload);
  }

  #isEngaged(): boolean {
    return this.#windowBytes - this.#idleBytes >= MAX_ENGAGED_BYTES;
  }

  #perform(pending: Pending, payload: readonly Uint8Array[]): void {
    this.#engage(pending);
    this.#diskCalls += 1;
    perform(this.#export, pending.header, payload, this.#askedBy).then(
      (data) => {
        this.#diskCallEnded(payload);
        this.#succeed(pending, data);
        this.#events.progress();
      },
      (error: unknown) => {
        this.#diskCallEnded(payload);
        this.#refuse(pending, this.#refusalFrom(error));
        this.#events.progress();
      },
    );
  }

  #diskCallEnded(payload: readonly Uint8Array[]): void {
    this.#diskCalls -= 1;
    for (const part of payload) this.#export.buffers.give(part);
  }

  #refusalFrom(error: unknown): Refusal {
    if (error instanceof DeviceError) return { error: NBD_ERROR_OF[error.code] ?? "EIO", message: error.message };
    this.#events.fault(`export "${this.#export.name}": ${messageOf(error)}`);
    return { error: "EIO", message: "internal error" };
  }

  #succeed(pending: Pending, data: readonly Uint8Array[]): void {
    if (!this.#claim(pending)) {
      for (const part of data) this.#export.disk.recycle?.(part);
      return;
    }
    const { header, windowBytes } = pending;
    if (header.type === COMMAND.READ) this.#replies.data(header, data, windowBytes);
    else this.#replies.done(header, windowBytes);
  }

  #refuse(pending: Pending, { error, message }: Refusal): void {
    if (this.#claim(pending)) this.#replies.error(pending.header, error, message, pending.windowBytes);
  }

  #engage(pending: Pending): void {
    if (!pending.idle) return;
    pending.idle = false;
    this.#idleBytes -= pending.windowBytes;
  }

  /** True for the first answer only: a shutdown does not wait for the disk. */
  #claim(pending: Pending): boolean {
    if (pending.answered) return false;
    pending.answered = true;
    this.#unanswered.delete(pending);
    this.#engage(pending);
    return true;
  }
}

/** Only READ and WRITE carry bytes; a length beyond the limit is refused and never held. */
function windowBytesOf({ type, lengthBytes }: RequestHeader): number {
  const carried = type === COMMAND.READ || type === COMMAND.WRITE ? lengthBytes : 0;
  return Math.max(MIN_REQUEST_BYTES, carried > MAX_REQUEST_BYTES ? 0 : carried);
}
