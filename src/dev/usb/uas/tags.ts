/**
 * Tags: what joins an IU to its command. With streams they are the streams 1..n, the last of them kept for task management;
 * without, any 16-bit number but 0 and FFFFh. The first one is random, and one that was used comes back as late as it can,
 * so that what a device says of an earlier command, or to an earlier process, fits none.
 */
const MAX_TAG = 0xfffe;

export class TagSet {
  /** With streams: those that are free, the longest unused first. */
  readonly #free: number[];
  /** Of task management, with streams; 0: none. */
  readonly #reserved: number;
  #last: number;

  /** @param streams  0: tags are no streams. */
  constructor(streams: number, random: number) {
    const count = Math.max(0, streams - 1);
    this.#reserved = streams;
    this.#free = Array.from({ length: count }, (_, at) => 1 + ((at + (random >>> 0)) % count));
    this.#last = (random >>> 0) % MAX_TAG;
  }

  /** Commands that can have one at a time. */
  get commandTags(): number {
    return this.#reserved === 0 ? MAX_TAG : this.#free.length;
  }

  /** For a command. At most `commandTags` are out at a time. */
  take(isUsed: (tag: number) => boolean): number {
    if (this.#reserved !== 0) return this.#free.shift() ?? this.#reserved;
    do this.#last = (this.#last % MAX_TAG) + 1;
    while (isUsed(this.#last));
    return this.#last;
  }

  /** For a task management function. One at a time. */
  takeForManagement(isUsed: (tag: number) => boolean): number {
    return this.#reserved === 0 ? this.take(isUsed) : this.#reserved;
  }

  give(tag: number): void {
    if (this.#reserved !== 0 && tag !== this.#reserved) this.#free.push(tag);
  }
}
