/**
 * Writes that a device has acknowledged and may still hold in a volatile cache, kept until a flush has covered them.
 *
 * When the device loses power, what is in here is written again in its order, so that nothing acknowledged is lost. Nothing
 * in here is older than what is on the medium for sure: were such an entry written again, and the power lost once more, an
 * old value would stay. It is bounded: whoever sends writes reserves room first, and where there is none a flush makes some.
 */

/** What an entry costs beyond its data, so that many small ones are bounded too. */
const ENTRY_BYTES = 128;

export interface JournalEntry {
  readonly firstBlock: number;
  readonly blockCount: number;
  /** The journal's own copy; undefined = the blocks were zeroed. */
  readonly data: Uint8Array | undefined;
}

interface NumberedEntry extends JournalEntry {
  /** Counts the writes that were recorded. */
  readonly number: number;
}

export class WriteJournal {
  readonly #maxBytes: number;
  readonly #blockBytes: number;
  #entries: NumberedEntry[] = [];
  #lastNumber = 0;
  #recordedBytes = 0;
  #reservedBytes = 0;

  constructor(maxBytes: number, blockBytes: number) {
    this.#maxBytes = maxBytes;
    this.#blockBytes = blockBytes;
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

  /** The write was not acknowledged, or is not recorded: gives its room back. */
  release(dataBytes: number): void {
    this.#reservedBytes -= ENTRY_BYTES + dataBytes;
  }

  /** The write was acknowledged: its reservation becomes an entry. Copies the data. */
  record(firstBlock: number, blockCount: number, data: Uint8Array | undefined): void {
    this.release(data?.length ?? 0);
    this.#add({ firstBlock, blockCount, data: data?.slice(), number: ++this.#lastNumber });
  }

  /** The blocks were written past the cache: what is older than that is not kept. */
  supersede(firstBlock: number, blockCount: number): void {
    if (!this.touches(firstBlock, blockCount)) return;
    const before = this.#entries;
    this.#entries = [];
    this.#recordedBytes = 0;
    for (const entry of before)
      for (const rest of without(entry, firstBlock, firstBlock + blockCount, this.#blockBytes)) this.#add(rest);
  }

  /** Stands for everything recorded up to now; for `dropUntil` when a flush that is sent now has been answered. */
  mark(): number {
    return this.#lastNumber;
  }

  /** What was recorded up to the mark is on the medium. */
  dropUntil(mark: number): void {
    const keepFrom = this.#entries.findIndex((entry) => entry.number > mark);
    for (const entry of this.#entries.splice(0, keepFrom < 0 ? this.#entries.length : keepFrom))
      this.#recordedBytes -= costOf(entry);
  }

  /** The entries that have been here longest, up to `dataBytes` and one more; with the mark that stands for them. */
  oldest(dataBytes: number): { readonly entries: readonly JournalEntry[]; readonly mark: number } {
    let bytes = 0;
    const end = this.#entries.findIndex((entry, at) => {
      const isNext = bytes >= dataBytes && entry.number !== this.#entries[at - 1]?.number;
      bytes += costOf(entry);
      return isNext;
    });
    const entries = end < 0 ? [...this.#entries] : this.#entries.slice(0, end);
    return { entries, mark: entries.at(-1)?.number ?? 0 };
  }

  /** An entry has a block of this range. */
  touches(firstBlock: number, blockCount: number): boolean {
    return this.#entries.some(
      (entry) => entry.firstBlock < firstBlock + blockCount && firstBlock < entry.firstBlock + entry.blockCount,
    );
  }

  #add(entry: NumberedEntry): void {
    this.#entries.push(entry);
    this.#recordedBytes += costOf(entry);
  }
}

function costOf({ data }: JournalEntry): number {
  return ENTRY_BYTES + (data?.length ?? 0);
}

/** The entry without the blocks from `from` to before `to`: itself, or what is left before and behind them. */
function* without(entry: NumberedEntry, from: number, to: number, blockBytes: number): Generator<NumberedEntry> {
  const { firstBlock, blockCount, data, number } = entry;
  const end = firstBlock + blockCount;
  if (to <= firstBlock || end <= from) {
    yield entry;
    return;
  }
  for (const [first, last] of [
    [firstBlock, from],
    [to, end],
  ] as const) {
    if (last <= first) continue;
    // A copy, or the whole buffer would stay for a part of it.
    const part = data?.slice((first - firstBlock) * blockBytes, (last - firstBlock) * blockBytes);
    yield { firstBlock: first, blockCount: last - first, data: part, number };
  }
}
