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
import { Gatherer, PayloadCollector } from "./payload.js";
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
interface Collecting {
  readonly pending: Pending;
  readonly payload: PayloadCollector;
}

/** A write that was refused: its payload is read past before it is answered. */
interface Skipping {
  readonly pending: Pending;
  readonly refusal: Refusal;
  missingBytes: number;
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
  #collecting: Collecting | undefined;
  #skipping: Skipping | undefined;
  #windowBytes = 0;
  /** The part of it whose requests arrive or are held: no disk has them, and they have no answer. */
  #idleBytes = 0;
  /** Reads that wait until the client has fetched what there is. */
  #held: Pending[] = [];
  readonly #askedBy: AskedBy = { client: this, isWanted: () => !this.#clientGone, passesOn: true };
  #diskCalls = 0;
  #ended = false;
  #clientGone = false;
  #shutDownReason: string | undefined;

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
    return this.#waiting !== undefined && !this.#hasRoom(windowBytesOf(this.#waiting));
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
    const arriving = this.#collecting?.pending ?? this.#skipping?.pending;
    this.#dropPayload();
    this.#skipping = undefined;
    if (arriving === undefined) return;
    this.#claim(arriving);
    this.#windowBytes -= arriving.windowBytes;
  }

  /** There is nobody to answer: reads that no driver has yet are not made. What was written is written. */
  clientGone(): void {
    this.#clientGone = true;
    this.#held = [];
    this.#ended = true;
    this.#dropPayload();
    this.#replies.close();
  }

  /** "Terminating the transmission phase": answers all requests, now and from now on, with ESHUTDOWN. */
  shutDown(reason: string): void {
    this.#shutDownReason = reason;
    this.#held = [];
    if (this.#collecting !== undefined) {
      const { pending, payload } = this.#collecting;
      this.#dropPayload();
      this.#skipping = {
        pending,
        refusal: { error: "ESHUTDOWN", message: reason },
        missingBytes: payload.missingBytes,
      };
    }
    const arriving = this.#skipping?.pending;
    for (const pending of this.#unanswered) {
      if (pending !== arriving) this.#refuse(pending, { error: "ESHUTDOWN", message: reason });
    }
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
      if (this.#collecting !== undefined) at += this.#collect(chunk, at, this.#collecting);
      else if (this.#skipping !== undefined) at += this.#skip(chunk.length - at, this.#skipping);
      else if (this.#gatherer.empty && chunk.length - at >= REQUEST_BYTES) {
        this.#receive(readRequest(view, at));
        at += REQUEST_BYTES;
      } else {
        at += this.#gatherer.fill(chunk, at);
        if (this.#gatherer.complete) this.#receive(readRequest(viewOf(this.#gatherer.take()), 0));
      }
    }
  }

  #hasRoom(windowBytes: number): boolean {
    return this.#windowBytes + windowBytes <= WINDOW_BYTES;
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
    const refusal: Refusal | undefined =
      this.#shutDownReason === undefined
        ? refusalOf(header, this.#export, this.#structured)
        : { error: "ESHUTDOWN", message: this.#shutDownReason };
    if (refusal === undefined) {
      if (payloadBytes === 0) this.#start(pending, NO_PAYLOAD);
      else
        this.#collecting = {
          pending,
          payload: new PayloadCollector(payloadBytes, this.#export.partBytes, this.#export.buffers),
        };
    } else if (payloadBytes === 0) this.#refuse(pending, refusal);
    else this.#skipping = { pending, refusal, missingBytes: payloadBytes };
  }

  #collect(chunk: Uint8Array, at: number, collecting: Collecting): number {
    const taken = collecting.payload.fill(chunk, at);
    if (collecting.payload.missingBytes === 0) {
      this.#collecting = undefined;
      this.#start(collecting.pending, collecting.payload.parts);
    }
    return taken;
  }

  #skip(availableBytes: number, skipping: Skipping): number {
    const taken = Math.min(skipping.missingBytes, availableBytes);
    skipping.missingBytes -= taken;
    if (skipping.missingBytes === 0) {
      this.#skipping = undefined;
      this.#refuse(skipping.pending, skipping.refusal);
    }
    return taken;
  }

  #start(pending: Pending, payload: readonly Uint8Array[]): void {
    if (pending.header.type === COMMAND.READ && this.#isEngaged()) this.#held.push(pending);
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

  /** Of the write that is arriving. */
  #dropPayload(): void {
    for (const part of this.#collecting?.payload.parts ?? []) this.#export.buffers.give(part);
    this.#collecting = undefined;
  }

  #diskCallEnded(payload: readonly Uint8Array[]): void {
    this.#diskCalls -= 1;
    for (const part of payload) this.#export.buffers.give(part);
  }

  #refusalFrom(error: unknown): Refusal {
    if (error instanceof DeviceError) return { error: NBD_ERROR_OF[error.code], message: error.message };
    this.#events.fault(`export "${this.#export.name}": ${messageOf(error)}`);
    return { error: "EIO", message: "internal error" };
  }

  #succeed(pending: Pending, data: readonly Uint8Array[]): void {
    if (!this.#claim(pending)) {
      for (const part of data) this.#export.disk.recycle?.(part);
      return;
    }
    const { header, windowBytes } = pending;
    if (header.type !== COMMAND.READ) this.#replies.simple(header, "OK", windowBytes);
    else if (this.#structured)
      this.#replies.structuredData(header, header.offset, header.lengthBytes, data, windowBytes);
    else this.#replies.simpleData(header, data, windowBytes);
  }

  #refuse(pending: Pending, { error, message }: Refusal): void {
    if (!this.#claim(pending)) return;
    if (this.#structured) this.#replies.structuredError(pending.header, error, message, pending.windowBytes);
    else this.#replies.simple(pending.header, error, pending.windowBytes);
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
