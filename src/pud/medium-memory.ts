/** What the host knows of a medium, learned from the requests that pass: enough to take it back after an unplug. */
import type { DiskInfo } from "../rump/devsw.js";
import { FLAG_FUA, KINDS } from "./frames.js";
import type { DiskRequest } from "./host-disk-request.js";
import { WriteJournal } from "./journal.js";
import { type EdgeRange, MediumEdges } from "./medium-edges.js";

const CHANGES_BLOCKS: ReadonlySet<number> = new Set(
  [KINDS.write, KINDS.trim, KINDS.writeZeroes].map((kind) => kind.number),
);

export class MediumMemory {
  readonly edges: MediumEdges;
  /** Undefined: what the device acknowledges is on its medium. */
  readonly journal: WriteJournal | undefined;

  constructor(info: DiskInfo, journalBytes: number) {
    this.edges = new MediumEdges(info);
    this.journal = info.volatileCache ? new WriteJournal(journalBytes, info.blockBytes) : undefined;
  }

  /** Before a request is sent. @returns false when a write needs room first, which `journal.canShrink` may give. */
  admit(request: DiskRequest): boolean {
    const { journal } = this;
    if (journal === undefined) return true;
    if (isJournalled(request)) return journal.reserve(request.payload.length);
    if (request.kind === KINDS.flush) request.journalMark = journal.mark();
    return true;
  }

  /** It was done. Called before the request settles, while its payload is there. */
  done(request: DiskRequest, reply: Uint8Array): void {
    const { kind, firstBlock, blockCount, payload } = request;
    switch (kind) {
      case KINDS.read:
        this.edges.note(firstBlock, blockCount, reply);
        return;
      case KINDS.flush:
        this.journal?.dropUntil(request.journalMark);
        return;
      case KINDS.trim:
        this.edges.forget(firstBlock, blockCount);
        return;
      default: {
        const data = kind === KINDS.write ? payload : undefined;
        this.edges.note(firstBlock, blockCount, data);
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
    if (CHANGES_BLOCKS.has(request.kind.number)) this.edges.forget(request.firstBlock, request.blockCount);
    this.returned(request);
  }

  /** It was sent and not answered, and waits to be sent again. */
  returned(request: DiskRequest): void {
    if (isJournalled(request)) this.journal?.release(request.payload.length);
  }

  /** What a range held when it was read, where nothing is known of it. `unanswered`: what may have changed it since. */
  learn(range: EdgeRange, data: Uint8Array, unanswered: readonly DiskRequest[]): void {
    this.edges.learn(range, data, this.#unsure(unanswered));
  }

  /**
   * The first block of the range that shows another medium; undefined when there is none.
   * @param unanswered  What was sent or waits: its blocks may hold anything.
   */
  difference(range: EdgeRange, data: Uint8Array, unanswered: readonly DiskRequest[]): number | undefined {
    return this.edges.difference(range, data, this.#unsure(unanswered));
  }

  #unsure(unanswered: readonly DiskRequest[]): (block: number) => boolean {
    return (block) => this.journal?.touches(block, 1) === true || unanswered.some((request) => changes(request, block));
  }
}

function isJournalled({ kind }: DiskRequest): boolean {
  return kind === KINDS.write || kind === KINDS.writeZeroes;
}

function changes({ kind, firstBlock, blockCount }: DiskRequest, block: number): boolean {
  return CHANGES_BLOCKS.has(kind.number) && block >= firstBlock && block < firstBlock + blockCount;
}
