/** Received bytes in the order of their arrival. Its bound is what was granted. */
export class Inbox {
  #parts: Uint8Array[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps a copy. */
  add(data: Uint8Array): void {
    if (data.length === 0) return;
    this.#parts.push(data.slice());
    this.#bytes += data.length;
  }

  /** Takes out at most so many bytes; they are the caller's. */
  take(maxBytes: number): Uint8Array {
    const taken = new Uint8Array(Math.min(maxBytes, this.#bytes));
    let at = 0;
    while (at < taken.length) {
      const [first] = this.#parts;
      if (first === undefined) break;
      const part = first.subarray(0, taken.length - at);
      taken.set(part, at);
      at += part.length;
      if (part.length === first.length) this.#parts.shift();
      else this.#parts[0] = first.subarray(part.length);
    }
    this.#bytes -= taken.length;
    return taken;
  }

  /** @returns how many bytes are gone */
  clear(): number {
    const bytes = this.#bytes;
    this.#parts = [];
    this.#bytes = 0;
    return bytes;
  }
}
