/**
 * Memory for payloads that is used again: fresh memory costs a page fault for every 4 KiB and work for the garbage
 * collector, together more than copying into it.
 */

/** Less than this is not worth keeping. */
const MIN_POOLED_BYTES = 4 * 1024;

/** A stack of buffers for each power of two, so that the one which is still in the processor's cache goes first. */
export class BufferPool {
  readonly #maxIdleBytes: number;
  readonly #idle = new Map<number, ArrayBuffer[]>();
  #idleBytes = 0;

  /** @param maxIdleBytes  What is kept for later at most; buffers in use are not counted. */
  constructor(maxIdleBytes: number) {
    this.#maxIdleBytes = maxIdleBytes;
  }

  /** Bytes that are kept for later. */
  get idleBytes(): number {
    return this.#idleBytes;
  }

  /** @returns exactly `bytes` bytes with anything in them: write them all before anybody looks. */
  take(bytes: number): Uint8Array {
    if (bytes < MIN_POOLED_BYTES) return new Uint8Array(bytes);
    const size = 2 ** Math.ceil(Math.log2(bytes));
    const idle = this.#idle.get(size)?.pop();
    if (idle === undefined) return new Uint8Array(new ArrayBuffer(size), 0, bytes);
    this.#idleBytes -= size;
    return new Uint8Array(idle, 0, bytes);
  }

  /** Gives back what `take` returned, once. Nobody may look at it any more. What is small or too much is dropped. */
  give({ buffer }: Uint8Array): void {
    const size = buffer.byteLength;
    const isOurs = size >= MIN_POOLED_BYTES && Number.isInteger(Math.log2(size));
    if (!isOurs || !(buffer instanceof ArrayBuffer) || this.#idleBytes + size > this.#maxIdleBytes) return;
    const stack = this.#idle.get(size);
    if (stack === undefined) this.#idle.set(size, [buffer]);
    else stack.push(buffer);
    this.#idleBytes += size;
  }
}
