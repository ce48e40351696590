/**
 * Takes a byte stream apart into headers and payloads. Both ends of a USB/IP connection read through this.
 *
 * A header is gathered in one small buffer that is used again; a payload is copied once, from the chunk that the stream
 * lends to where the consumer wants it. Nothing is ever allocated from a length on the wire: where a payload goes, and
 * whether it is taken at all, the consumer says after it has checked the header.
 */
import { viewOf } from "../../bytes.js";

/** Where the payload of a header goes: nowhere (there is none), into memory, or that many bytes past everyone. */
export type PayloadTarget = undefined | Uint8Array | { readonly skipBytes: number };

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
  #have = 0;
  /** Where the payload goes on; undefined while it is skipped. */
  #target: Uint8Array | undefined;
  #payloadLeft = 0;
  #inPayload = false;
  #stopped = false;

  /** `maxHeaderBytes` is the largest size that `expect` will be asked for. */
  constructor(headerBytes: number, maxHeaderBytes: number, consumer: RecordConsumer) {
    this.#header = new Uint8Array(maxHeaderBytes);
    this.#view = viewOf(this.#header);
    this.#headerBytes = headerBytes;
    this.#consumer = consumer;
  }

  /** The next header has this size. Called from the consumer. */
  expect(headerBytes: number): void {
    if (headerBytes < 1 || headerBytes > this.#header.length)
      throw new RangeError(`a header of ${headerBytes} bytes; 1 to ${this.#header.length} fit`);
    this.#headerBytes = headerBytes;
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
    const target = this.#consumer.onHeader(this.#view, header.subarray(0, this.#headerBytes));
    if (target === undefined || this.#stopped) return at;
    this.#target = target instanceof Uint8Array ? target : undefined;
    this.#payloadLeft = target instanceof Uint8Array ? target.length : target.skipBytes;
    if (this.#payloadLeft > 0) this.#inPayload = true;
    else this.#consumer.onPayload();
    return at;
  }

  #takePayload(chunk: Uint8Array, from: number): number {
    const count = Math.min(this.#payloadLeft, chunk.length - from);
    const target = this.#target;
    if (target !== undefined)
      target.set(
        from === 0 && count === chunk.length ? chunk : chunk.subarray(from, from + count),
        target.length - this.#payloadLeft,
      );
    this.#payloadLeft -= count;
    if (this.#payloadLeft === 0) {
      this.#inPayload = false;
      this.#target = undefined;
      this.#consumer.onPayload();
    }
    return from + count;
  }
}
