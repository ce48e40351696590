/**
 * One end of a pud channel: frames in and out of a byte stream, and the one place where the stream is ended.
 *
 * Small frames that are sent within one turn leave as one write; a turn's worth of requests or replies costs one system
 * call instead of many.
 */
import { RecordError } from "../bytes.js";
import type { ByteStream } from "../rumpuser/rumpuser.js";
import { LinkError } from "./errors.js";
import { type FrameConsumer, FrameReader } from "./frame-reader.js";
import { frameHeader, HEADER_BYTES, type Kind, PUD_MAGIC, PUD_VERSION, type Side } from "./frames.js";

export const NO_BYTES: Uint8Array = new Uint8Array(0);

/** Gathered frames are written at once when they hold this much. */
const GATHER_BYTES = 64 * 1024;

export interface ChannelConsumer extends FrameConsumer {
  /** The channel has ended, for whatever reason but this side's own `close` or `destroy`. Called at most once. */
  lost(error: LinkError): void;
  /** The stream takes data again: `choked` has become false. */
  writable(): void;
}

/** A frame to send; what is left out is 0. */
export interface OutgoingFrame {
  readonly kind: Kind;
  readonly node?: number;
  readonly requestId?: number;
  readonly status?: number;
  /** READ, WRITE: in place of a status. */
  readonly slot?: number;
  readonly flags?: number;
  readonly offset?: number;
  readonly count?: number;
  /** Lent to the stream until it is sent. */
  readonly payload?: Uint8Array;
  /** Called when the payload is not needed any more; not when the channel ends before. */
  readonly sent?: ((payload: Uint8Array) => void) | undefined;
}

export class FrameChannel {
  readonly #stream: ByteStream;
  readonly #consumer: ChannelConsumer;
  readonly #reader: FrameReader;
  #gathered: Uint8Array[] = [];
  #gatheredBytes = 0;
  /** What to call when the gathered frames have left. */
  #gatheredSent: (() => void)[] = [];
  #choked = false;
  #ended = false;

  constructor(stream: ByteStream, peer: Side, consumer: ChannelConsumer) {
    this.#stream = stream;
    this.#consumer = consumer;
    this.#reader = new FrameReader(peer, consumer);
  }

  /** Begins to read. Apart from the constructor, so that the consumer is complete when the first frame comes. */
  start(): void {
    this.#stream.onClose((reason) => this.fail(new LinkError("PUD_CLOSED", `the channel was closed: ${reason}`)));
    this.#stream.onDrain(() => {
      if (!this.#choked || this.#ended) return;
      this.#choked = false;
      this.#consumer.writable();
    });
    this.#stream.onData((chunk) => this.#read(chunk));
  }

  /** More is buffered than is sensible: what can wait should wait for `writable`. */
  get choked(): boolean {
    return this.#choked;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Sends a frame; after the end it does nothing. Never blocks and never throws. */
  send(frame: OutgoingFrame): void {
    if (this.#ended) return;
    const payload = frame.payload ?? NO_BYTES;
    const header = new Uint8Array(HEADER_BYTES);
    frameHeader.encodeInto(header, 0, {
      magic: PUD_MAGIC,
      version: PUD_VERSION,
      kind: frame.kind.number,
      node: frame.node ?? 0,
      status: frame.status ?? frame.slot ?? 0,
      flags: frame.flags ?? 0,
      requestId: frame.requestId ?? 0,
      payloadBytes: payload.length,
      offset: frame.offset ?? 0,
      count: frame.count ?? 0,
    });
    if (this.#gathered.length === 0) queueMicrotask(() => this.#flush());
    this.#gathered.push(header);
    if (payload.length > 0) this.#gathered.push(payload);
    this.#gatheredBytes += HEADER_BYTES + payload.length;
    const { sent } = frame;
    if (sent !== undefined && payload.length > 0) this.#gatheredSent.push(() => sent(payload));
    if (this.#gatheredBytes >= GATHER_BYTES) this.#flush();
  }

  /** Sends what is buffered, then ends the stream. `lost` is not called. */
  close(): void {
    if (this.#ended) return;
    this.#flush();
    this.#end();
    this.#stream.close();
  }

  /** Ends the stream at once. `lost` is not called. */
  destroy(): void {
    if (this.#ended) return;
    this.#end();
    this.#stream.destroy();
  }

  /** Ends the stream at once and tells the consumer why. Only the first reason counts. */
  fail(error: LinkError): void {
    if (this.#ended) return;
    this.destroy();
    this.#consumer.lost(error);
  }

  #read(chunk: Uint8Array): void {
    try {
      this.#reader.push(chunk);
    } catch (error) {
      if (error instanceof LinkError) this.fail(error);
      else if (error instanceof RecordError) this.fail(new LinkError("PUD_LENGTH", error.message, { cause: error }));
      else throw error; // a bug of ours, or of a handler's
    }
  }

  #flush(): void {
    if (this.#gathered.length === 0) return;
    const parts = this.#gathered;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    const calls = this.#gatheredSent;
    const sent = calls.length === 0 ? undefined : (): void => calls.forEach((call) => call());
    if (sent !== undefined) this.#gatheredSent = [];
    if (!this.#stream.write(parts, sent)) this.#choked = true;
  }

  #end(): void {
    this.#ended = true;
    this.#gathered = [];
    this.#gatheredSent = [];
    this.#reader.stop();
  }
}
