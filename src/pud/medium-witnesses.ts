/**
 * Some blocks of a medium as the host has seen them last, wherever they lie: witnesses, beside the edges (medium-edges.ts), of
 * which medium it was.
 *
 * Two copies of one image, or two media that were formatted alike and say the same serial number, have equal edges. What
 * was read and written since tells them apart, and so does a medium that has lost what it had said to be safe. The block
 * with which a request begins is a witness until newer ones replace it.
 */
const MAX_WITNESSES = 16;

export class MediumWitnesses {
  readonly #blockBytes: number;
  /** What each holds; the oldest first. */
  readonly #blocks = new Map<number, Uint8Array>();

  constructor(blockBytes: number) {
    this.#blockBytes = blockBytes;
  }

  get blocks(): readonly number[] {
    return [...this.#blocks.keys()];
  }

  /** The blocks hold this now; `undefined` = zeroes. Copies what it keeps. */
  note(firstBlock: number, blockCount: number, data: Uint8Array | undefined): void {
    this.forget(firstBlock, blockCount);
    this.#blocks.set(firstBlock, data?.slice(0, this.#blockBytes) ?? new Uint8Array(this.#blockBytes));
    const [oldest] = this.#blocks.keys();
    if (this.#blocks.size > MAX_WITNESSES && oldest !== undefined) this.#blocks.delete(oldest);
  }

  /** Nobody knows what the blocks hold. */
  forget(firstBlock: number, blockCount: number): void {
    for (const block of this.#blocks.keys())
      if (block >= firstBlock && block < firstBlock + blockCount) this.#blocks.delete(block);
  }

  /** Whether the block holds something else than it should; false also when it is no witness. */
  differs(block: number, data: Uint8Array): boolean {
    return this.#blocks.get(block)?.some((byte, at) => byte !== data[at]) === true;
  }
}
