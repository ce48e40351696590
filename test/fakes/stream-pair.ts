/**
 * Two ByteStreams joined in memory. Bytes arrive in a later turn (setImmediate), cut as the test asks.
 */
import type { ByteStream } from "../../src/rumpuser/rumpuser.js";

export interface StreamPairOptions {
  /** Chunks are cut to this many bytes. Default: as written. */
  readonly fragmentBytes?: number;
  /** `write` says false above this many undelivered bytes. Default 1 MiB. */
  readonly highWaterBytes?: number;
}

/** One end, and what a test may do to it. */
export class MemoryStream implements ByteStream {
  /** Bytes written here that the peer has not taken yet. */
  bufferedBytes = 0;
  /** Bytes delivered to this end's reader. */
  deliveredBytes = 0;
  /** Sees and may replace every chunk that is delivered to this end; an empty array swallows it. */
  tamper: ((chunk: Uint8Array) => Uint8Array) | undefined;
  readonly #options: StreamPairOptions;
  #peer: MemoryStream | undefined;
  #inbox: Uint8Array[] = [];
  #read: ((chunk: Uint8Array) => void) | undefined;
  #closed: ((reason: string) => void) | undefined;
  #drained: (() => void) | undefined;
  #full = false;
  #paused = false;
  #ended = false;
  #peerEnded = false;
  #scheduled = false;

  constructor(options: StreamPairOptions) {
    this.#options = options;
  }

  static join(a: MemoryStream, b: MemoryStream): void {
    a.#peer = b;
    b.#peer = a;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get paused(): boolean {
    return this.#paused;
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
    if (this.#ended || peer === undefined || peer.#ended) return false;
    for (const part of parts) {
      this.bufferedBytes += part.length;
      peer.#inbox.push(part);
    }
    peer.#schedule();
    this.#full = this.bufferedBytes > (this.#options.highWaterBytes ?? 1024 * 1024);
    return !this.#full;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  close(): void {
    this.#end("closed by this side");
    const peer = this.#peer;
    if (peer === undefined) return;
    peer.#peerEnded = true;
    peer.#schedule();
  }

  destroy(): void {
    this.#end("destroyed by this side");
    const peer = this.#peer;
    if (peer !== undefined) peer.#end("the peer has gone");
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#inbox = [];
    setImmediate(() => this.#closed?.(reason));
  }

  #schedule(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const read = this.#read;
    if (this.#ended || this.#paused || read === undefined) return;
    const fragmentBytes = this.#options.fragmentBytes ?? Number.POSITIVE_INFINITY;
    // What is there now; what is written meanwhile comes in a later turn.
    for (let turns = this.#inbox.length; turns > 0 && !this.#paused && !this.#ended; turns--) {
      const part = this.#inbox.shift() ?? new Uint8Array(0);
      for (let at = 0; at < part.length && !this.#ended; at += fragmentBytes) {
        // A copy that is wiped afterwards: whoever keeps a lent chunk is found out.
        const lent = new Uint8Array(part.subarray(at, Math.min(part.length, at + fragmentBytes)));
        const chunk = this.tamper === undefined ? lent : this.tamper(lent);
        this.deliveredBytes += chunk.length;
        if (chunk.length > 0) read(chunk);
        chunk.fill(0xdd);
      }
      const peer = this.#peer;
      if (peer !== undefined) peer.#delivered(part.length);
    }
    if (this.#inbox.length > 0) this.#schedule();
    else if (this.#peerEnded) this.#end("the peer closed the stream");
  }

  #delivered(bytes: number): void {
    this.bufferedBytes -= bytes;
    if (!this.#full || this.bufferedBytes > (this.#options.highWaterBytes ?? 1024 * 1024) / 2) return;
    this.#full = false;
    this.#drained?.();
  }
}

export function streamPair(options: StreamPairOptions = {}): [MemoryStream, MemoryStream] {
  const pair: [MemoryStream, MemoryStream] = [new MemoryStream(options), new MemoryStream(options)];
  MemoryStream.join(...pair);
  return pair;
}
