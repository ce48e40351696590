/**
 * Cuts a stream of bytes into frames.
 *
 * Works on chunks that are lent for the call and cut anywhere. Nothing is allocated for a frame before its header has
 * passed every check; then its payload is copied once, out of the chunk into memory that the consumer gives.
 */
import { LinkError } from "./errors.js";
import {
  type FrameHeader,
  frameHeader,
  HEADER_BYTES,
  KIND_BY_NUMBER,
  PUD_MAGIC,
  PUD_VERSION,
  type Side,
} from "./frames.js";
import { Gatherer } from "./gatherer.js";

const NOTHING = new Uint8Array(0);

/** Whoever takes frames off a channel. Both methods may throw a LinkError, which ends the reading. */
export interface FrameConsumer {
  /**
   * A header has arrived whose kind, direction and length are right. Checks what only the consumer can (ids, states).
   * @returns memory of exactly `header.payloadBytes` bytes for the payload.
   */
  admit(header: FrameHeader): Uint8Array;
  /** The frame is whole; `payload` is the memory that `admit` gave. */
  take(header: FrameHeader, payload: Uint8Array): void;
}

export class FrameReader {
  readonly #peer: Side;
  readonly #consumer: FrameConsumer;
  /** A header that a chunk's end has cut. */
  readonly #partial = new Gatherer(HEADER_BYTES);
  /** The frame whose payload is arriving. */
  #header: FrameHeader | undefined;
  #payload: Uint8Array = NOTHING;
  #payloadBytes = 0;
  #stopped = false;

  /** @param peer  The side that writes what is read here: it may send only its own kinds. */
  constructor(peer: Side, consumer: FrameConsumer) {
    this.#peer = peer;
    this.#consumer = consumer;
  }

  /** Nothing is delivered any more, not even what the chunk in hand still holds. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * Delivers every frame that this chunk completes.
   * @throws LinkError PUD_MAGIC, PUD_VERSION, PUD_KIND, PUD_LENGTH, or what the consumer throws; the reader has stopped.
   */
  push(chunk: Uint8Array): void {
    let at = 0;
    try {
      while (at < chunk.length && !this.#stopped)
        at = this.#header === undefined ? this.#takeHeader(chunk, at) : this.#takePayload(this.#header, chunk, at);
    } catch (error) {
      this.#stopped = true;
      throw error;
    }
  }

  #takeHeader(chunk: Uint8Array, at: number): number {
    if (this.#partial.empty && chunk.length - at >= HEADER_BYTES) {
      this.#begin(frameHeader.decode(chunk, at));
      return at + HEADER_BYTES;
    }
    const taken = this.#partial.fill(chunk, at);
    if (this.#partial.complete) this.#begin(frameHeader.decode(this.#partial.take()));
    return at + taken;
  }

  #begin(header: FrameHeader): void {
    checkHeader(header, this.#peer);
    const payload = this.#consumer.admit(header);
    if (header.payloadBytes === 0) {
      this.#consumer.take(header, payload);
      return;
    }
    this.#header = header;
    this.#payload = payload;
    this.#payloadBytes = 0;
  }

  #takePayload(header: FrameHeader, chunk: Uint8Array, at: number): number {
    const end = Math.min(chunk.length, at + header.payloadBytes - this.#payloadBytes);
    this.#payload.set(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end), this.#payloadBytes);
    this.#payloadBytes += end - at;
    if (this.#payloadBytes === header.payloadBytes) {
      const payload = this.#payload;
      this.#header = undefined;
      this.#payload = NOTHING;
      this.#consumer.take(header, payload);
    }
    return end;
  }
}

function checkHeader(header: FrameHeader, peer: Side): void {
  if (header.magic !== PUD_MAGIC)
    throw new LinkError(
      "PUD_MAGIC",
      `frame from the ${peer}: magic ${header.magic.toString(16)}h, not ${PUD_MAGIC.toString(16)}h`,
    );
  if (header.version !== PUD_VERSION)
    throw new LinkError(
      "PUD_VERSION",
      `frame from the ${peer}: version ${header.version}; this side speaks ${PUD_VERSION}`,
    );
  const kind = KIND_BY_NUMBER.get(header.kind);
  if (kind === undefined)
    throw new LinkError("PUD_KIND", `frame from the ${peer}: no kind ${header.kind.toString(16)}h`);
  if (kind.from !== peer)
    throw new LinkError("PUD_KIND", `${kind.name} comes from the ${kind.from}, not from the ${peer}`);
  if (header.payloadBytes < kind.minPayloadBytes || header.payloadBytes > kind.maxPayloadBytes)
    throw new LinkError(
      "PUD_LENGTH",
      `${kind.name}: ${header.payloadBytes} bytes of payload; ${kind.minPayloadBytes} to ${kind.maxPayloadBytes} are allowed`,
    );
}
