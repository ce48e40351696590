/**
 * Blocks of a medium as the host has seen them last: to tell whether a medium that comes back is the one that went.
 *
 * The edges, which are its first and its last 4 KiB: there lie partition tables, boot sectors and backup tables, in which two
 * media of one size differ. And witnesses, wherever they lie: two copies of one image, or two media that were formatted alike
 * and say the same serial number, have equal edges. What was read and written since tells them apart, and so does a medium
 * that has lost what it had said to be safe. The block with which a request begins is a witness until newer ones replace it.
 *
 * The bytes themselves are kept: they are few, and no two contents look alike.
 */
import type { DiskInfo } from "../rump/devsw.js";

export const EDGE_BYTES = 4096;
const MAX_WITNESSES = 16;

export interface BlockRange {
  readonly firstBlock: number;
  readonly blockCount: number;
}

/** The block was being written: it may hold anything. */
export type IsUnsure = (block: number) => boolean;

export class MediumBlocks {
  /** One range on media that are too small for two. */
  readonly edges: readonly BlockRange[];
  readonly #blockBytes: number;
  /** What is known of the edges, by block. */
  readonly #atEdges = new Map<number, Uint8Array>();
  /** What each witness holds, by block; the oldest first. */
  readonly #witnesses = new Map<number, Uint8Array>();

  constructor({ blockBytes, blockCount }: Pick<DiskInfo, "blockBytes" | "blockCount">) {
    this.#blockBytes = blockBytes;
    const count = Math.min(blockCount, EDGE_BYTES / blockBytes);
    const last = Math.max(count, blockCount - count);
    this.edges = [
      { firstBlock: 0, blockCount: count },
      { firstBlock: last, blockCount: blockCount - last },
    ].filter((range) => range.blockCount > 0);
  }

  /** What to read of a medium that comes back: its edges, and the witnesses elsewhere. */
  ranges(isUnsure: IsUnsure): readonly BlockRange[] {
    const blocks = [...this.#witnesses.keys()].filter(
      (block) => !isUnsure(block) && !this.edges.some((edge) => isIn(edge, block)),
    );
    return [...this.edges, ...blocks.map((firstBlock) => ({ firstBlock, blockCount: 1 }))];
  }

  /**
   * The blocks hold this; `undefined` = zeroes. Copies what it keeps.
   * @param isNewest  Nothing has changed them since, so that the first of them is a witness.
   */
  note(firstBlock: number, blockCount: number, data: Uint8Array | undefined, isNewest = true): void {
    for (const block of this.#edgesWithin(firstBlock, blockCount))
      this.#atEdges.set(block, this.#copyOf(data, block - firstBlock));
    if (!isNewest) return;
    this.#forgetWitnesses({ firstBlock, blockCount });
    this.#witnesses.set(firstBlock, this.#copyOf(data, 0));
    const [oldest] = this.#witnesses.keys();
    if (this.#witnesses.size > MAX_WITNESSES && oldest !== undefined) this.#witnesses.delete(oldest);
  }

  /** As `note` for an edge that was read; not for blocks that are known already or may have been changed since. */
  learn({ firstBlock, blockCount }: BlockRange, data: Uint8Array, isUnsure: IsUnsure): void {
    for (const block of this.#edgesWithin(firstBlock, blockCount))
      if (!this.#atEdges.has(block) && !isUnsure(block))
        this.#atEdges.set(block, this.#copyOf(data, block - firstBlock));
  }

  /** Nobody knows what the blocks hold. */
  forget(firstBlock: number, blockCount: number): void {
    for (const block of this.#edgesWithin(firstBlock, blockCount)) this.#atEdges.delete(block);
    this.#forgetWitnesses({ firstBlock, blockCount });
  }

  /**
   * The first block of the range that holds something else than it should; undefined when there is none.
   * @param data  What the range holds now.
   */
  difference({ firstBlock }: BlockRange, data: Uint8Array, isUnsure: IsUnsure): number | undefined {
    for (let at = 0; at < data.length; at += this.#blockBytes) {
      const block = firstBlock + at / this.#blockBytes;
      const known = this.#atEdges.get(block) ?? this.#witnesses.get(block);
      if (known === undefined || isUnsure(block)) continue;
      if (known.some((byte, offset) => byte !== data[at + offset])) return block;
    }
    return undefined;
  }

  #forgetWitnesses(range: BlockRange): void {
    for (const block of this.#witnesses.keys()) if (isIn(range, block)) this.#witnesses.delete(block);
  }

  /** @param index  Of the block in the data. */
  #copyOf(data: Uint8Array | undefined, index: number): Uint8Array {
    const at = index * this.#blockBytes;
    return data?.slice(at, at + this.#blockBytes) ?? new Uint8Array(this.#blockBytes);
  }

  *#edgesWithin(firstBlock: number, blockCount: number): Generator<number> {
    for (const edge of this.edges) {
      const end = Math.min(firstBlock + blockCount, edge.firstBlock + edge.blockCount);
      for (let block = Math.max(firstBlock, edge.firstBlock); block < end; block++) yield block;
    }
  }
}

function isIn({ firstBlock, blockCount }: BlockRange, block: number): boolean {
  return block >= firstBlock && block < firstBlock + blockCount;
}
