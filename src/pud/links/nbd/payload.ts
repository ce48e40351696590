/** Bytes that arrive in pieces: a fixed number of them in one buffer, or the payload of a write in its parts. */

/** Collects a structure of `size` bytes over any number of chunks. */
export class Gatherer {
  readonly #bytes: Uint8Array;
  #have = 0;

  constructor(size: number) {
    this.#bytes = new Uint8Array(size);
  }

  get empty(): boolean {
    return this.#have === 0;
  }

  get complete(): boolean {
    return this.#have === this.#bytes.length;
  }

  /** @returns how many bytes of the chunk it took. */
  fill(chunk: Uint8Array, at: number): number {
    const taken = Math.min(this.#bytes.length - this.#have, chunk.length - at);
    this.#bytes.set(chunk.subarray(at, at + taken), this.#have);
    this.#have += taken;
    return taken;
  }

  /** The gathered bytes, lent until the next `fill`; starts over. */
  take(): Uint8Array {
    this.#have = 0;
    return this.#bytes;
  }
}

/**
 * Buffers for the parts of writes, used again: fresh memory costs a page fault for every 4 KiB, which is more than
 * copying into it. One for each export; what its connections hold beyond it goes back to the garbage collector.
 */
export class PartPool {
  readonly partBytes: number;
  readonly #maxIdle: number;
  readonly #idle: Uint8Array[] = [];

  constructor(partBytes: number, maxIdleBytes: number) {
    this.partBytes = partBytes;
    this.#maxIdle = Math.floor(maxIdleBytes / partBytes);
  }

  /** @returns a part of `bytes` bytes, at most `partBytes`, with anything in it. Small ones are not worth keeping. */
  take(bytes: number): Uint8Array {
    const wanted = bytes * 2 > this.partBytes ? this.partBytes : bytes;
    const whole = (wanted === this.partBytes ? this.#idle.pop() : undefined) ?? Buffer.allocUnsafeSlow(wanted);
    return whole.length === bytes ? whole : whole.subarray(0, bytes);
  }

  /** Nobody looks at the part any more. */
  give(part: Uint8Array): void {
    if (part.buffer.byteLength === this.partBytes && this.#idle.length < this.#maxIdle)
      this.#idle.push(part.length === this.partBytes ? part : new Uint8Array(part.buffer));
  }
}

/**
 * The payload of one write: exactly one buffer for each part that will go to the disk, allocated when its first byte
 * has arrived, so a length alone costs nothing.
 */
export class PayloadCollector {
  readonly parts: Uint8Array[] = [];
  readonly #pool: PartPool;
  #missingBytes: number;
  #filled = 0;

  constructor(lengthBytes: number, pool: PartPool) {
    this.#missingBytes = lengthBytes;
    this.#pool = pool;
  }

  get missingBytes(): number {
    return this.#missingBytes;
  }

  /** @returns how many bytes of the chunk it took. */
  fill(chunk: Uint8Array, at: number): number {
    const from = at;
    while (at < chunk.length && this.#missingBytes > 0) {
      const part = this.#currentPart();
      const take = Math.min(part.length - this.#filled, chunk.length - at);
      part.set(chunk.subarray(at, at + take), this.#filled);
      this.#filled += take;
      this.#missingBytes -= take;
      at += take;
    }
    return at - from;
  }

  #currentPart(): Uint8Array {
    const last = this.parts.at(-1);
    if (last !== undefined && this.#filled < last.length) return last;
    // Every byte is written before the part is complete, and only then does anyone see it: old contents do not matter.
    const part = this.#pool.take(Math.min(this.#pool.partBytes, this.#missingBytes));
    this.parts.push(part);
    this.#filled = 0;
    return part;
  }
}
