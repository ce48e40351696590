/**
 * The requests of a disk that wait for their turn, in the order of their turns, so that reads which stand next to each other
 * in the line and on the medium go out as one command.
 *
 * Nothing is overtaken: a request that is no read ends the search for neighbours. What a read got with the one in front of
 * it is therefore as fresh as what it would have read itself.
 */
export interface ReadRange {
  readonly firstBlock: number;
  readonly blockCount: number;
}

/** A request in the line. */
export interface LineEntry {
  /** Undefined: no read. */
  readonly range: ReadRange | undefined;
  /** Came with the read in front of it; the reader's own. */
  data: Uint8Array | undefined;
}

export class ReadLine {
  readonly #entries: LineEntry[] = [];

  /** At the end of the line. */
  join(range: ReadRange | undefined): LineEntry {
    const entry: LineEntry = { range, data: undefined };
    this.#entries.push(entry);
    return entry;
  }

  /** Its turn is over, or it gave up. */
  leave(entry: LineEntry): void {
    const at = this.#entries.indexOf(entry);
    if (at >= 0) this.#entries.splice(at, 1);
  }

  /** The reads right behind `entry` that continue it on the medium, as many as fit into `maxBlocks` together with it. */
  followers(entry: LineEntry, maxBlocks: number): readonly LineEntry[] {
    const { range } = entry;
    if (range === undefined || this.#entries.length === 1) return [];
    const found: LineEntry[] = [];
    let end = range.firstBlock + range.blockCount;
    for (const next of this.#entries.slice(this.#entries.indexOf(entry) + 1)) {
      if (next.range === undefined || next.range.firstBlock !== end) break;
      end += next.range.blockCount;
      if (end - range.firstBlock > maxBlocks) break;
      found.push(next);
    }
    return found;
  }
}
