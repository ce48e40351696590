/**
 * Reads and writes of a disk, each in its turn, with those that wait behind it and continue it on the medium.
 *
 * When a block is bad only the request whose it is fails: the others then go out by themselves, each in its own turn. Any other
 * failure may mean that it is another medium, and nothing is sent again.
 */
import { BufferPool } from "../../buffers.js";
import type { DiskInfo } from "../../rump/devsw.js";
import type { Clock } from "../../rumpuser/rumpuser.js";
import { type CommandBlock, read } from "./cdb.js";
import { copyOf, ReadAhead } from "./read-ahead.js";
import type { LineEntry, RequestLine } from "./request-line.js";
import { type RetryContext, runCommand } from "./retry.js";
import { ScsiError } from "./sd-errors.js";

/** Memory kept for the next writes that become one. */
const MAX_IDLE_BYTES = 1 << 20;

export class BlockTransfers {
  readonly #line: RequestLine;
  readonly #blockBytes: number;
  /** Of one command for several requests. */
  readonly #maxBlocks: number;
  readonly #ahead: ReadAhead;
  readonly #release: (data: Uint8Array) => void;
  readonly #buffers = new BufferPool(MAX_IDLE_BYTES);

  /**
   * `release` takes back the memory of reads that were shared out.
   *
   * @param isAlone  Each request has the unit for itself in its turn, now and later. Otherwise those behind it are on their way
   *   as well, and nothing is joined or read ahead.
   */
  constructor(line: RequestLine, info: DiskInfo, isAlone: boolean, release: (data: Uint8Array) => void) {
    this.#line = line;
    this.#blockBytes = info.blockBytes;
    this.#maxBlocks = isAlone ? info.maxTransferBytes / info.blockBytes : 0;
    this.#ahead = new ReadAhead(info.blockBytes, info.blockCount, release);
    this.#release = release;
  }

  /** What was read and not asked for is not to be given any more. */
  forget(): void {
    this.#ahead.drop();
  }

  /** @param block  the command for this request alone. @returns its blocks. @throws as `runCommand`. */
  async read(context: RetryContext, block: CommandBlock, entry: LineEntry): Promise<Uint8Array> {
    const { range } = entry;
    const early = entry.data ?? this.#ahead.take(range, context.clock, entry.into);
    if (early !== undefined) return early;
    const followers = this.#line.followers(entry, this.#maxBlocks);
    const askedBlocks = blocksOf(entry, followers);
    const asked = { firstBlock: range.firstBlock, blockCount: askedBlocks };
    const blocks = askedBlocks + this.#ahead.blocksBeyond(asked, this.#maxBlocks - askedBlocks);
    if (blocks === range.blockCount) return this.#readBlocks(context, block, blocks, entry.into);
    let data: Uint8Array;
    try {
      data = await this.#readBlocks(context, read(range.firstBlock, blocks), blocks);
    } catch (error) {
      if (!isBadBlock(error)) throw error;
      this.#ahead.avoid({ firstBlock: range.firstBlock, blockCount: blocks });
      return this.#readBlocks(context, block, range.blockCount, entry.into);
    }
    this.#share(data, entry, followers, context.clock);
    return entry.data ?? data;
  }

  /** @param send  writes the blocks as the request wants them written. @throws what `send` throws. */
  async write(entry: LineEntry, send: (firstBlock: number, data: Uint8Array) => Promise<void>): Promise<void> {
    const { range, data, isDone } = entry;
    if (isDone || data === undefined) return;
    const followers = this.#line.followers(entry, this.#maxBlocks);
    if (followers.length === 0) return send(range.firstBlock, data);
    const together = this.#buffers.take(blocksOf(entry, followers) * this.#blockBytes);
    let at = 0;
    for (const { data: part } of [entry, ...followers]) {
      if (part === undefined) continue;
      together.set(part, at);
      at += part.length;
    }
    try {
      await send(range.firstBlock, together);
    } catch (error) {
      if (!isBadBlock(error)) throw error;
      return send(range.firstBlock, data);
    } finally {
      this.#buffers.give(together);
    }
    for (const follower of followers) follower.isDone = true;
  }

  #readBlocks(context: RetryContext, block: CommandBlock, blockCount: number, into?: Uint8Array): Promise<Uint8Array> {
    const data = { direction: "in", bytes: blockCount * this.#blockBytes, into } as const;
    return runCommand(context, { block, data, whole: true });
  }

  /** Each reader gets memory of its own; what nobody asked for is kept. */
  #share(data: Uint8Array, entry: LineEntry, followers: readonly LineEntry[], clock: Clock): void {
    let at = 0;
    for (const reader of [entry, ...followers])
      reader.data = copyOf(data, at, (at += reader.range.blockCount * this.#blockBytes), reader.into);
    if (at === data.length) return this.#release(data);
    const firstBlock = entry.range.firstBlock + at / this.#blockBytes;
    const blockCount = (data.length - at) / this.#blockBytes;
    this.#ahead.keep({ firstBlock, blockCount }, data.subarray(at), clock);
  }
}

function blocksOf(entry: LineEntry, followers: readonly LineEntry[]): number {
  return followers.reduce((sum, next) => sum + next.range.blockCount, entry.range.blockCount);
}

function isBadBlock(error: unknown): boolean {
  return error instanceof ScsiError && error.sense.meaning === "mediumError";
}
