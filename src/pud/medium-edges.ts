/**
 * The first and the last 4 KiB of a medium as the host has seen them last: with medium-witnesses.ts, to tell whether a medium that comes back is the
 * one that went.
 *
 * There lie partition tables, boot sectors and backup tables, in which two media of one size differ. The bytes themselves
 * are kept: they are few, and no two contents look alike.
 */
import type { DiskInfo } from "../rump/devsw.js";

export const EDGE_BYTES = 4096;

export interface EdgeRange {
  readonly firstBlock: number;
  readonly blockCount: number;
}

export class MediumEdges {
  /** One range on media that are too small for two. */
  readonly ranges: readonly EdgeRange[];
  readonly #blockBytes: number;
  /** What is known, by block. */
  readonly #blocks = new Map<number, Uint8Array>();

  constructor({ blockBytes, blockCount }: Pick<DiskInfo, "blockBytes" | "blockCount">) {
    this.#blockBytes = blockBytes;
    const count = Math.min(blockCount, EDGE_BYTES / blockBytes);
    const last = Math.max(count, blockCount - count);
    this.ranges = [
      { firstBlock: 0, blockCount: count },
      { firstBlock: last, blockCount: blockCount - last },
    ].filter((range) => range.blockCount > 0);
  }

  covers(block: number): boolean {
    return this.ranges.some(({ firstBlock, blockCount }) => block >= firstBlock && block < firstBlock + blockCount);
  }

  /** The blocks hold this now; `undefined` = zeroes. Copies what it keeps. */
  note(firstBlock: number, blockCount: number, data: Uint8Array | undefined): void {
    for (const block of this.#within(firstBlock, blockCount)) {
      const at = (block - firstBlock) * this.#blockBytes;
      this.#blocks.set(block, data?.slice(at, at + this.#blockBytes) ?? new Uint8Array(this.#blockBytes));
    }
  }

  /** As `note` for a range that was read; not for blocks that are known already or may have been changed since. */
  learn({ firstBlock }: EdgeRange, data: Uint8Array, isUnsure: (block: number) => boolean): void {
    for (let at = 0; at < data.length; at += this.#blockBytes) {
      const block = firstBlock + at / this.#blockBytes;
      if (!this.#blocks.has(block) && !isUnsure(block)) this.#blocks.set(block, data.slice(at, at + this.#blockBytes));
    }
  }

  /** Nobody knows what the blocks hold. */
  forget(firstBlock: number, blockCount: number): void {
    for (const block of this.#within(firstBlock, blockCount)) this.#blocks.delete(block);
  }

  /**
   * The first block of the range that holds something else than it should; undefined when there is none.
   * @param data      What the range holds now.
   * @param isUnsure  The block was being written: it may hold anything.
   */
  difference({ firstBlock }: EdgeRange, data: Uint8Array, isUnsure: (block: number) => boolean): number | undefined {
    for (let at = 0; at < data.length; at += this.#blockBytes) {
      const block = firstBlock + at / this.#blockBytes;
      const known = this.#blocks.get(block);
      if (known === undefined || isUnsure(block)) continue;
      if (known.some((byte, offset) => byte !== data[at + offset])) return block;
    }
    return undefined;
  }

  *#within(firstBlock: number, blockCount: number): Generator<number> {
    for (const range of this.ranges) {
      const end = Math.min(firstBlock + blockCount, range.firstBlock + range.blockCount);
      for (let block = Math.max(firstBlock, range.firstBlock); block < end; block++) yield block;
    }
  }
}
