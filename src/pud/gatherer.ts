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
