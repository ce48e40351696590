/**
 * A pair of byte streams in memory: what one end writes the other reads, in turns of a clock.
 *
 * For tests and for the simulated host. With a virtual clock every delivery happens at a repeatable place.
 */
import type { ByteStream, Clock } from "./rumpuser.js";

export interface MemoryStreamOptions {
  readonly clock: Clock;
  /** Cuts what is written into pieces of at most so many bytes. Without it a part is delivered as it was written. */
  readonly maxChunkBytes?: number;
  /** Bytes that may wait before `write` says false. Default 1 MiB. */
  readonly highWaterBytes?: number;
}

/** @returns the two ends. Whatever one end has written before its `close` reaches the other before its `onClose`. */
export function createMemoryStreamPair(options: MemoryStreamOptions): [ByteStream, ByteStream] {
  const a = new MemoryEnd(options);
  const b = new MemoryEnd(options);
  a.connect(b);
  b.connect(a);
  return [a, b];
}

class MemoryEnd implements ByteStream {
  readonly #clock: Clock;
  readonly #maxChunkBytes: number;
  readonly #highWaterBytes: number;
  #peer: MemoryEnd | undefined;
  #read: ((chunk: Uint8Array) => void) | undefined;
  #closed: ((reason: string) => void) | undefined;
  #drained: (() => void) | undefined;
  /** What the peer has written and this end has not delivered. */
  #inbox: Uint8Array[] = [];
  /** How many of the inbox have been delivered. */
  #delivered = 0;
  #inboxBytes = 0;
  #paused = false;
  #scheduled = false;
  /** The peer has finished writing: why. */
  #ending: string | undefined;
  #over = false;
  #writable = true;
  #needsDrain = false;

  constructor(options: MemoryStreamOptions) {
    this.#clock = options.clock;
    this.#maxChunkBytes = options.maxChunkBytes ?? Number.MAX_SAFE_INTEGER;
    this.#highWaterBytes = options.highWaterBytes ?? 1 << 20;
  }

  connect(peer: MemoryEnd): void {
    this.#peer = peer;
  }

  onData(read: (chunk: Uint8Array) => void): void {
    this.#read = read;
    this.#schedule();
  }

  onClose(closed: (reason: string) => void): void {
    this.#closed = closed;
  }

  onDrain(drained: () => void): void {
    this.#drained = drained;
  }

  write(parts: readonly Uint8Array[]): boolean {
    const peer = this.#peer;
    if (!this.#writable || peer === undefined || peer.#over) return true;
    for (const part of parts) peer.#accept(part);
    if (peer.#inboxBytes <= this.#highWaterBytes) return true;
    this.#needsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  close(): void {
    if (!this.#writable) return;
    this.#writable = false;
    const peer = this.#peer;
    if (peer !== undefined) peer.#end("the peer closed the stream");
    this.#finish("closed");
  }

  destroy(): void {
    this.#writable = false;
    const peer = this.#peer;
    if (peer !== undefined) {
      peer.#discard();
      peer.#end("the peer closed the stream");
    }
    this.#finish("closed");
  }

  #accept(part: Uint8Array): void {
    if (part.length === 0) return;
    for (let at = 0; at < part.length; at += this.#maxChunkBytes)
      this.#inbox.push(part.subarray(at, Math.min(part.length, at + this.#maxChunkBytes)));
    this.#inboxBytes += part.length;
    this.#schedule();
  }

  #discard(): void {
    this.#inbox = [];
    this.#delivered = 0;
    this.#inboxBytes = 0;
  }

  #end(reason: string): void {
    this.#ending ??= reason;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#over) return;
    this.#scheduled = true;
    this.#clock.startTimer(0, () => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    while (!this.#over && !this.#paused && this.#read !== undefined) {
      const chunk = this.#inbox[this.#delivered];
      if (chunk === undefined) break;
      this.#delivered++;
      this.#inboxBytes -= chunk.length;
      this.#read(chunk);
    }
    this.#inbox = this.#inbox.slice(this.#delivered);
    this.#delivered = 0;
    const peer = this.#peer;
    if (peer !== undefined) peer.#noteDelivered(this.#inboxBytes);
    if (this.#ending !== undefined && this.#inbox.length === 0) {
      this.#writable = false;
      this.#finish(this.#ending);
    }
  }

  #noteDelivered(waitingBytes: number): void {
    if (!this.#needsDrain || waitingBytes > this.#highWaterBytes) return;
    this.#needsDrain = false;
    this.#drained?.();
  }

  /** Nothing is delivered from here on; the reason is told once, in a turn of its own. */
  #finish(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#discard();
    this.#clock.startTimer(0, () => this.#closed?.(reason));
  }
}
