/** The buffer of a UART: a ring of bytes with a fixed size. */
export class ByteQueue {
  readonly capacity: number;
  readonly #bytes: Uint8Array;
  #first = 0;
  #length = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  get room(): number {
    return this.capacity - this.#length;
  }

  /** @returns how many bytes had room. */
  push(data: Uint8Array): number {
    const count = Math.min(data.length, this.room);
    for (let at = 0; at < count; at++) this.#bytes[(this.#first + this.#length + at) % this.capacity] = data[at] ?? 0;
    this.#length += count;
    return count;
  }

  /** Takes up to so many bytes out; a fresh array. */
  shift(maxBytes: number): Uint8Array {
    const data = new Uint8Array(Math.min(maxBytes, this.#length));
    for (let at = 0; at < data.length; at++) data[at] = this.#bytes[(this.#first + at) % this.capacity] ?? 0;
    this.#first = (this.#first + data.length) % this.capacity;
    this.#length -= data.length;
    return data;
  }

  clear(): void {
    this.#length = 0;
  }
}
