/**
 * The requests of a disk that wait for their turn, in the order of their turns, so that reads, or writes, which stand next to
 * each other in the line and on the medium go out as one command.
 *
 * Nothing is overtaken: a request of another kind ends the search for neighbours. What a read got with the one in front of
 * it is therefore as fresh as what it would have read itself, and of two writes the later one wins.
 */
export interface BlockRange {
  readonly firstBlock: number;
  readonly blockCount: number;
}

/** Requests of one kind may be one command. */
export type RequestKind = "read" | "write" | "writeThrough";

/** A request in the line. */
export interface LineEntry {
  /** Undefined: it stays alone. */
  readonly kind: RequestKind | undefined;
  readonly range: BlockRange;
  /** WRITE: what is to be written. READ: what came with the read in front of it; the reader's own. */
  data: Uint8Array | undefined;
  /** READ: where the reader wants it. */
  readonly into: Uint8Array | undefined;
  /** It was done with the one in front of it. */
  isDone: boolean;
}

const NO_BLOCKS: BlockRange = { firstBlock: 0, blockCount: 0 };

export class RequestLine {
  readonly #entries: LineEntry[] = [];

  /** At the end of the line. */
  join(kind?: RequestKind, range: BlockRange = NO_BLOCKS, data?: Uint8Array, into?: Uint8Array): LineEntry {
    const entry: LineEntry = { kind, range, data, into, isDone: false };
    this.#entries.push(entry);
    return entry;
  }

  /** Its turn is over, or it gave up. */
  leave(entry: LineEntry): void {
    const at = this.#entries.indexOf(entry);
    if (at >= 0) this.#entries.splice(at, 1);
  }

  /** The requests right behind `entry` that continue it on the medium, as many as fit into `maxBlocks` together with it. */
  followers(entry: LineEntry, maxBlocks: number): readonly LineEntry[] {
    const { kind, range } = entry;
    if (kind === undefined || this.#entries.length === 1) return [];
    const found: LineEntry[] = [];
    let end = range.firstBlock + range.blockCount;
    for (const next of this.#entries.slice(this.#entries.indexOf(entry) + 1)) {
      if (next.kind !== kind || next.range.firstBlock !== end) break;
      end += next.range.blockCount;
      if (end - range.firstBlock > maxBlocks) break;
      found.push(next);
    }
    return found;
  }
}
