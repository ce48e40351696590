/**
 * Takes a byte stream apart into headers and payloads. Both ends of a USB/IP connection read through this.
 *
 * A header is gathered in one small buffer that is used again; a payload is copied once, from the chunk that the stream
 * lends to where the consumer wants it. Nothing is ever allocated from a length on the wire: where a payload goes, and
 * whether it is taken at all, the consumer says after it has checked the header.
 */
import { viewOf } from "../../bytes.js";

/** So many bytes from its beginning. */
interface PartOfMemory {
  readonly into: Uint8Array;
  readonly bytes: number;
}

/** Where the payload of a header goes: nowhere (there is none), into memory, or that many bytes past everyone. */
export type PayloadTarget = undefined | Uint8Array | PartOfMemory | { readonly skipBytes: number };

/** To copy so few one by one costs less than to make an array of them. */
const FEW_BYTES = 64;

export interface RecordConsumer {
  /** A header of the expected size stands in `bytes`, which are lent for the call. */
  onHeader(view: DataView, bytes: Uint8Array): PayloadTarget;
  /** The payload that the last header announced has arrived or has been skipped. */
  onPayload(): void;
}

export class RecordReader {
  readonly #header: Uint8Array;
  readonly #view: DataView;
  readonly #consumer: RecordConsumer;
  #headerBytes: number;
  /** So many bytes of the buffer. */
  #lent: Uint8Array;
  #have = 0;
  /** Where the payload goes on; undefined while it is skipped. */
  #target: Uint8Array | undefined;
  #targetAt = 0;
  #payloadLeft = 0;
  #inPayload = false;
  #stopped = false;

  /** `maxHeaderBytes` is the largest size that `expect` will be asked for. */
  constructor(headerBytes: number, maxHeaderBytes: number, consumer: RecordConsumer) {
    this.#header = new Uint8Array(maxHeaderBytes);
    this.#view = viewOf(this.#header);
    this.#headerBytes = headerBytes;
    this.#lent = this.#header.subarray(0, headerBytes);
    this.#consumer = consumer;
  }

  /** The next header has this size. Called from the consumer. */
  expect(headerBytes: number): void {
    if (headerBytes < 1 || headerBytes > this.#header.length)
      throw new RangeError(`a header of ${headerBytes} bytes; 1 to ${this.#header.length} fit`);
    this.#headerBytes = headerBytes;
    this.#lent = this.#header.subarray(0, headerBytes);
  }

  /** Nothing is given to the consumer any more. */
  stop(): void {
    this.#stopped = true;
    this.#target = undefined;
  }

  /** The next bytes of the stream. The chunk is not kept. */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length && !this.#stopped)
      at = this.#inPayload ? this.#takePayload(chunk, at) : this.#takeHeader(chunk, at);
  }

  #takeHeader(chunk: Uint8Array, from: number): number {
    const header = this.#header;
    let at = from;
    while (this.#have < this.#headerBytes && at < chunk.length) header[this.#have++] = chunk[at++] ?? 0;
    if (this.#have < this.#headerBytes) return at;
    this.#have = 0;
    const target = this.#consumer.onHeader(this.#view, this.#lent);
    if (target === undefined || this.#stopped) return at;
    this.#setTarget(target);
    if (this.#payloadLeft > 0) this.#inPayload = true;
    else this.#consumer.onPayload();
    return at;
  }

  #setTarget(target: NonNullable<PayloadTarget>): void {
    this.#targetAt = 0;
    if (target instanceof Uint8Array) {
      this.#target = target;
      this.#payloadLeft = target.length;
    } else if ("into" in target) {
      this.#target = target.into;
      this.#payloadLeft = target.bytes;
    } else {
      this.#target = undefined;
      this.#payloadLeft = target.skipBytes;
    }
  }

  #takePayload(chunk: Uint8Array, from: number): number {
    const count = Math.min(this.#payloadLeft, chunk.length - from);
    const target = this.#target;
    if (target !== undefined) copy(chunk, from, count, target, this.#targetAt);
    this.#targetAt += count;
    this.#payloadLeft -= count;
    if (this.#payloadLeft === 0) {
      this.#inPayload = false;
      this.#target = undefined;
      this.#consumer.onPayload();
    }
    return from + count;
  }
}

function copy(chunk: Uint8Array, from: number, count: number, target: Uint8Array, to: number): void {
  if (count <= FEW_BYTES) for (let n = 0; n < count; n++) target[to + n] = chunk[from + n] ?? 0;
  else target.set(from === 0 && count === chunk.length ? chunk : chunk.subarray(from, from + count), to);
}
