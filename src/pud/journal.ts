/**
 * Writes that a device has acknowledged and may still hold in a volatile cache, kept until a flush has covered them.
 *
 * When the device loses power, what is in here is written again in its order, so that nothing acknowledged is lost. It is
 * bounded: whoever sends writes reserves room first, and where there is none a flush makes some.
 */

/** What an entry costs beyond its data, so that many small ones are bounded too. */
const ENTRY_BYTES = 128;

export interface JournalEntry {
  readonly firstBlock: number;
  readonly blockCount: number;
  /** The journal's own copy; undefined = the blocks were zeroed. */
  readonly data: Uint8Array | undefined;
}

export class WriteJournal {
  readonly #maxBytes: number;
  #entries: JournalEntry[] = [];
  /** Entries dropped since the beginning: the position of the first one that is kept. */
  #dropped = 0;
  #recordedBytes = 0;
  #reservedBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** In the order in which the device acknowledged them. */
  get entries(): readonly JournalEntry[] {
    return this.#entries;
  }

  /** Bytes that it counts for: entries and reservations. */
  get bytes(): number {
    return this.#recordedBytes + this.#reservedBytes;
  }

  /** A flush would make room. */
  get canShrink(): boolean {
    return this.#entries.length > 0;
  }

  /** Takes room for a write that is about to be sent. An empty journal takes one of any size. */
  reserve(dataBytes: number): boolean {
    const bytes = ENTRY_BYTES + dataBytes;
    if (this.bytes > 0 && this.bytes + bytes > this.#maxBytes) return false;
    this.#reservedBytes += bytes;
    return true;
  }

  /** The write was not acknowledged: gives its room back. */
  release(dataBytes: number): void {
    this.#reservedBytes -= ENTRY_BYTES + dataBytes;
  }

  /** The write was acknowledged: its reservation becomes an entry. Copies the data. */
  record(firstBlock: number, blockCount: number, data: Uint8Array | undefined): void {
    const bytes = ENTRY_BYTES + (data?.length ?? 0);
    this.#reservedBytes -= bytes;
    this.#recordedBytes += bytes;
    this.#entries.push({ firstBlock, blockCount, data: data?.slice() });
  }

  /** Stands for everything acknowledged up to now; for `dropUntil` when a flush that is sent now has been answered. */
  mark(): number {
    return this.#dropped + this.#entries.length;
  }

  /** What was acknowledged before the mark is on the medium. */
  dropUntil(mark: number): void {
    const gone = this.#entries.splice(0, Math.max(0, mark - this.#dropped));
    this.#dropped += gone.length;
    for (const { data } of gone) this.#recordedBytes -= ENTRY_BYTES + (data?.length ?? 0);
  }

  /** An entry has a block of this range. */
  touches(firstBlock: number, blockCount: number): boolean {
    return this.#entries.some(
      (entry) => entry.firstBlock < firstBlock + blockCount && firstBlock < entry.firstBlock + entry.blockCount,
    );
  }
}
