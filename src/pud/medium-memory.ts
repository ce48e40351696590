/** What the host knows of a medium, learned from the requests that pass: enough to take it back after an unplug. */
import type { DiskInfo } from "../rump/devsw.js";
import { FLAG_FUA, KINDS } from "./frames.js";
import type { DiskRequest } from "./host-disk-request.js";
import { WriteJournal } from "./journal.js";
import { type IsUnsure, MediumBlocks } from "./medium-blocks.js";

const CHANGES_BLOCKS: ReadonlySet<number> = new Set(
  [KINDS.write, KINDS.trim, KINDS.writeZeroes].map((kind) => kind.number),
);

export class MediumMemory {
  readonly blocks: MediumBlocks;
  /** Counts what may have changed blocks. */
  #changes = 0;
  /** Undefined: what the device acknowledges is on its medium. */
  readonly journal: WriteJournal | undefined;

  constructor(info: DiskInfo, journalBytes: number) {
    this.blocks = new MediumBlocks(info);
    this.journal = info.volatileCache ? new WriteJournal(journalBytes, info.blockBytes) : undefined;
  }

  /** Before a request is sent. @returns false when a write needs room first, which `journal.canShrink` may give. */
  admit(request: DiskRequest): boolean {
    const { journal } = this;
    request.changesBefore = this.#changes;
    if (journal === undefined) return true;
    if (isJournalled(request)) return journal.reserve(request.payload.length);
    if (request.kind === KINDS.flush) request.journalMark = journal.mark();
    return true;
  }

  /** It was done. Called before the request settles, while its payload is there. */
  done(request: DiskRequest, reply: Uint8Array): void {
    const { kind, offset: firstBlock, count: blockCount, payload, changesBefore } = request;
    switch (kind) {
      case KINDS.read:
        // What was answered while a write was may be older than that.
        this.blocks.note(firstBlock, blockCount, reply, changesBefore === this.#changes);
        return;
      case KINDS.flush:
        this.journal?.dropUntil(request.journalMark);
        return;
      case KINDS.trim:
        this.forget(firstBlock, blockCount);
        return;
      default: {
        const data = kind === KINDS.write ? payload : undefined;
        this.#changes++;
        this.blocks.note(firstBlock, blockCount, data);
        if ((request.flags & FLAG_FUA) === 0) this.journal?.record(firstBlock, blockCount, data);
        else {
          this.journal?.release(payload.length);
          this.journal?.supersede(firstBlock, blockCount);
        }
      }
    }
  }

  /** It failed: what it changes may be changed or not. */
  failed(request: DiskRequest): void {
    if (CHANGES_BLOCKS.has(request.kind.number)) this.forget(request.offset, request.count);
    this.returned(request);
  }

  /** Nobody knows what the blocks hold. */
  forget(firstBlock: number, blockCount: number): void {
    this.#changes++;
    this.blocks.forget(firstBlock, blockCount);
  }

  /** It was sent and not answered, and waits to be sent again. */
  returned(request: DiskRequest): void {
    if (isJournalled(request)) this.journal?.release(request.payload.length);
  }

  /** Which blocks may hold anything. `unanswered`: what was sent or waits. */
  unsure(unanswered: readonly DiskRequest[]): IsUnsure {
    return (block) => this.journal?.touches(block, 1) === true || unanswered.some((request) => changes(request, block));
  }
}

function isJournalled({ kind }: DiskRequest): boolean {
  return kind === KINDS.write || kind === KINDS.writeZeroes;
}

function changes({ kind, offset, count }: DiskRequest, block: number): boolean {
  return CHANGES_BLOCKS.has(kind.number) && block >= offset && block < offset + count;
}
