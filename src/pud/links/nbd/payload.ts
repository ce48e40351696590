import type { PayloadMemory } from "./export.js";

/**
 * The payload of one write: exactly one buffer for each part that will go to the disk, allocated when its first byte
 * has arrived, so a length alone costs nothing.
 */
export class PayloadCollector {
  readonly parts: Uint8Array[] = [];
  #isDropped = false;
  readonly #pool: PayloadMemory;
  readonly #partBytes: number;
  #missingBytes: number;
  #filled = 0;

  constructor(lengthBytes: number, partBytes: number, pool: PayloadMemory) {
    this.#missingBytes = lengthBytes;
    this.#partBytes = partBytes;
    this.#pool = pool;
  }

  get missingBytes(): number {
    return this.#missingBytes;
  }

  /** @returns how many bytes of the chunk it took. */
  fill(chunk: Uint8Array, at: number): number {
    const taken = Math.min(this.#missingBytes, chunk.length - at);
    const end = at + taken;
    while (at < end && !this.#isDropped) {
      const part = this.#currentPart();
      const bytes = Math.min(part.length - this.#filled, end - at);
      part.set(chunk.subarray(at, at + bytes), this.#filled);
      this.#filled += bytes;
      this.#missingBytes -= bytes;
      at += bytes;
    }
    this.#missingBytes -= end - at;
    return taken;
  }

  /** Nobody wants it any more: what is missing is read past. */
  drop(): void {
    this.#isDropped = true;
    for (const part of this.parts.splice(0)) this.#pool.give(part);
  }

  #currentPart(): Uint8Array {
    const last = this.parts.at(-1);
    if (last !== undefined && this.#filled < last.length) return last;
    // Every byte is written before the part is complete, and only then does anyone see it: old contents do not matter.
    const part = this.#pool.take(Math.min(this.#partBytes, this.#missingBytes));
    this.parts.push(part);
    this.#filled = 0;
    return part;
  }
}
