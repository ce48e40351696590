/**
 * Blocks that were read beyond what was asked, for a reader that goes through the medium from block to block.
 *
 * What is kept is given only while nothing but reads has been done since, and not for long: everything else drops it, and a
 * medium cannot be exchanged in that time. A reader that turns out to have stopped has cost no more than it has read itself:
 * what is read beyond grows from once what was asked, and doubles.
 */
import type { Clock } from "../../rumpuser/rumpuser.js";
import type { BlockRange } from "./request-line.js";

/** No more is read beyond a request; one that is as large needs none. */
const MAX_AHEAD_BYTES = 128 << 10;
const MAX_AGE_MS = 100;
/** Not read unless asked for: devices that count a block too many stumble there. */
const TAIL_BLOCKS = 8;

interface Kept extends BlockRange {
  readonly data: Uint8Array;
  readonly readMs: number;
}

export class ReadAhead {
  readonly #blockBytes: number;
  readonly #endBlock: number;
  readonly #release: (data: Uint8Array) => void;
  /** Where a reader would go on that goes from block to block; -1: nobody knows. */
  #nextBlock = -1;
  #windowBlocks = 0;
  #kept: Kept | undefined;
  /** Reading beyond into these has failed. */
  #bad: BlockRange | undefined;

  /** `release` takes memory back when its blocks are not kept any more. */
  constructor(blockBytes: number, blockCount: number, release: (data: Uint8Array) => void) {
    this.#release = release;
    this.#blockBytes = blockBytes;
    this.#endBlock = blockCount - TAIL_BLOCKS;
  }

  /** @returns a copy of the blocks, in `into` where it is given, if all of them are kept; else nothing is kept any more. */
  take({ firstBlock, blockCount }: BlockRange, clock: Clock, into?: Uint8Array): Uint8Array | undefined {
    const kept = this.#kept;
    if (kept === undefined) return undefined;
    const skipped = firstBlock - kept.firstBlock;
    const isHere = skipped >= 0 && skipped + blockCount <= kept.blockCount;
    if (!isHere || clock.nowMs() - kept.readMs > MAX_AGE_MS) {
      this.#letGo();
      return undefined;
    }
    this.#nextBlock = firstBlock + blockCount;
    return copyOf(kept.data, skipped * this.#blockBytes, (skipped + blockCount) * this.#blockBytes, into);
  }

  /** How many blocks to read beyond these, which are about to be read; at most `maxBlocks`. */
  blocksBeyond({ firstBlock, blockCount }: BlockRange, maxBlocks: number): number {
    const goesOn = firstBlock === this.#nextBlock;
    const end = firstBlock + blockCount;
    const mostBlocks = MAX_AHEAD_BYTES / this.#blockBytes;
    this.#nextBlock = end;
    this.#windowBlocks = goesOn ? Math.min(Math.max(blockCount, 2 * this.#windowBlocks), mostBlocks) : 0;
    if (blockCount >= mostBlocks || this.#isBad(firstBlock, blockCount + this.#windowBlocks)) return 0;
    return Math.max(0, Math.min(this.#windowBlocks, maxBlocks, this.#endBlock - end));
  }

  /** Takes what was read beyond; the memory is its own until it releases it. */
  keep({ firstBlock, blockCount }: BlockRange, data: Uint8Array, clock: Clock): void {
    this.#letGo();
    this.#kept = { firstBlock, blockCount, data, readMs: clock.nowMs() };
  }

  /** A read that went beyond what was asked has failed: not there again. */
  avoid(range: BlockRange): void {
    this.#bad = range;
  }

  /** Something was done that is no read, or went wrong. */
  drop(): void {
    this.#letGo();
    this.#nextBlock = -1;
  }

  #letGo(): void {
    const kept = this.#kept;
    this.#kept = undefined;
    if (kept !== undefined) this.#release(kept.data);
  }

  #isBad(firstBlock: number, blockCount: number): boolean {
    const bad = this.#bad;
    return (
      bad !== undefined && firstBlock < bad.firstBlock + bad.blockCount && bad.firstBlock < firstBlock + blockCount
    );
  }
}

/** Bytes `from` to before `to`, in the memory `into` where there is such. */
export function copyOf(data: Uint8Array, from: number, to: number, into: Uint8Array | undefined): Uint8Array {
  if (into === undefined) return data.slice(from, to);
  into.set(data.subarray(from, to));
  return into;
}
