/**
 * Received bytes on their way to the reader: delivered as far as they are granted, kept beyond that.
 *
 * Whoever fills it reads no more while it holds anything, so that it never holds more than the reads that were in flight.
 */
export class Inbox {
  readonly #deliver: (data: Uint8Array) => void;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #granted = 0;
  #delivering = false;

  /** `deliver` may grant more while it is called. */
  constructor(deliver: (data: Uint8Array) => void) {
    this.#deliver = deliver;
  }

  /** Something is granted, and nothing waits. */
  get wantsMore(): boolean {
    return this.#granted > 0 && this.#heldBytes === 0;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Takes bytes over; `data` must not change afterwards. */
  put(data: Uint8Array): void {
    if (data.length === 0) return;
    this.#held.push(data);
    this.#heldBytes += data.length;
    this.#run();
  }

  /** @throws RangeError for what is no number of bytes. */
  grant(bytes: number): void {
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`granted are ${bytes} bytes: not a count`);
    this.#granted = Math.min(this.#granted + bytes, Number.MAX_SAFE_INTEGER);
    this.#run();
  }

  clear(): void {
    this.#held = [];
    this.#heldBytes = 0;
  }

  #run(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    try {
      for (let first = this.#held[0]; first !== undefined && this.#granted > 0; first = this.#held[0]) {
        const part = first.subarray(0, this.#granted);
        if (part.length === first.length) this.#held.shift();
        else this.#held[0] = first.subarray(part.length);
        this.#heldBytes -= part.length;
        this.#granted -= part.length;
        this.#deliver(part);
      }
    } finally {
      this.#delivering = false;
    }
  }
}
