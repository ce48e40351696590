/**
 * A volatile write-back cache in front of a store: what SBC-3 §4.15 lets a disk do with an acknowledged write until it is
 * synchronized. A power cut loses some of it.
 *
 * Dirty data lives in pages with a mark per 512-byte sector, so a cut can tear a write between any two sectors.
 */
import type { ImageStore } from "./image.js";

const SECTOR_BYTES = 512;
const PAGE_SECTORS = 128;
const PAGE_BYTES = SECTOR_BYTES * PAGE_SECTORS;
const DEFAULT_CAPACITY_BYTES = 16 << 20;

interface Page {
  readonly data: Uint8Array;
  /** 1 for each sector that the store does not have yet. */
  readonly dirty: Uint8Array;
}

export class VolatileCache implements ImageStore {
  readonly #store: ImageStore;
  readonly #maxPages: number;
  /** By page number, oldest first. */
  readonly #pages = new Map<number, Page>();

  /** `capacityBytes` bounds the dirty data: beyond it the oldest page is written. */
  constructor(store: ImageStore, options: { readonly capacityBytes?: number } = {}) {
    this.#store = store;
    this.#maxPages = Math.max(1, Math.floor((options.capacityBytes ?? DEFAULT_CAPACITY_BYTES) / PAGE_BYTES));
  }

  get bytes(): number {
    return this.#store.bytes;
  }

  get readOnly(): boolean {
    return this.#store.readOnly;
  }

  /** Sectors of 512 bytes that a power cut may lose now. */
  get dirtySectors(): number {
    let count = 0;
    for (const page of this.#pages.values()) for (const mark of page.dirty) count += mark;
    return count;
  }

  read(at: number, count: number): Uint8Array {
    const pages = [...this.#dirtyPages(at, count)];
    if (pages.length === 0) return this.#store.read(at, count);
    const data = this.#store.read(at, count).slice();
    for (const [number, page] of pages) {
      forEachDirtySector(page, (sector, bytes) => {
        const from = number * PAGE_BYTES + sector * SECTOR_BYTES;
        const start = Math.max(from, at);
        const end = Math.min(from + bytes.length, at + count);
        if (start < end) data.set(bytes.subarray(start - from, end - from), start - at);
      });
    }
    return data;
  }

  write(at: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      const offset = (at + done) % PAGE_BYTES;
      const part = data.subarray(done, done + PAGE_BYTES - offset);
      this.#writePage(Math.floor((at + done) / PAGE_BYTES), offset, part);
      done += part.length;
    }
  }

  /** Not cached: the range is dropped from the cache and zeroed on the medium. */
  zero(at: number, count: number): void {
    this.#cleanRange(at, count);
    this.#store.zero(at, count);
  }

  sync(): void {
    for (const number of this.#pages.keys()) this.#clean(number);
    this.#store.sync();
  }

  /** Puts a range on the medium: FUA (SBC-3 §5.2.1). */
  syncRange(at: number, count: number): void {
    this.#cleanRange(at, count);
    this.#store.sync();
  }

  /**
   * The power fails: each dirty sector reaches the medium or does not, as the seed decides; the cache is empty then.
   * The same seed after the same writes loses the same sectors.
   */
  powerCut(seed: number): void {
    const next = seededBits(seed);
    for (const [number, page] of this.#pages) {
      forEachDirtySector(page, (sector, bytes) => {
        if (next()) this.#store.write(number * PAGE_BYTES + sector * SECTOR_BYTES, bytes);
      });
    }
    this.#pages.clear();
  }

  /** An orderly end: what is cached is written. @throws ImageError when that fails; the store is closed all the same. */
  close(): void {
    try {
      this.sync();
    } finally {
      this.#store.close();
    }
  }

  *#dirtyPages(at: number, count: number): Generator<[number, Page]> {
    const first = Math.floor(at / PAGE_BYTES);
    const last = Math.floor((at + count - 1) / PAGE_BYTES);
    if (last - first >= this.#pages.size) {
      for (const [number, page] of this.#pages) if (number >= first && number <= last) yield [number, page];
      return;
    }
    for (let number = first; number <= last; number++) {
      const page = this.#pages.get(number);
      if (page !== undefined) yield [number, page];
    }
  }

  #writePage(number: number, offset: number, data: Uint8Array): void {
    let page = this.#pages.get(number);
    if (page === undefined) {
      const [oldest] = this.#pages.keys();
      if (oldest !== undefined && this.#pages.size >= this.#maxPages) this.#clean(oldest);
      page = { data: new Uint8Array(PAGE_BYTES), dirty: new Uint8Array(PAGE_SECTORS) };
      this.#pages.set(number, page);
    }
    this.#loadSector(number, page, offset);
    this.#loadSector(number, page, offset + data.length);
    page.data.set(data, offset);
    page.dirty.fill(1, Math.floor(offset / SECTOR_BYTES), Math.ceil((offset + data.length) / SECTOR_BYTES));
  }

  /** Before a write that begins or ends within a sector: the rest of that sector must be what it was. */
  #loadSector(number: number, page: Page, offset: number): void {
    const sector = Math.floor(offset / SECTOR_BYTES);
    if (offset % SECTOR_BYTES === 0 || page.dirty[sector] === 1) return;
    const at = sector * SECTOR_BYTES;
    page.data.set(this.#store.read(number * PAGE_BYTES + at, SECTOR_BYTES), at);
  }

  #cleanRange(at: number, count: number): void {
    for (const [number] of this.#dirtyPages(at, count)) this.#clean(number);
  }

  #clean(number: number): void {
    const page = this.#pages.get(number);
    if (page === undefined) return;
    forEachDirtyRun(page, (offset, bytes) => this.#store.write(number * PAGE_BYTES + offset, bytes));
    this.#pages.delete(number);
  }
}

function forEachDirtySector(page: Page, visit: (sector: number, bytes: Uint8Array) => void): void {
  page.dirty.forEach((mark, sector) => {
    if (mark === 1) visit(sector, page.data.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES));
  });
}

/** Neighbouring dirty sectors as one write. */
function forEachDirtyRun(page: Page, visit: (offset: number, bytes: Uint8Array) => void): void {
  let start = page.dirty.indexOf(1);
  while (start >= 0) {
    const clean = page.dirty.indexOf(0, start);
    const end = clean < 0 ? PAGE_SECTORS : clean;
    visit(start * SECTOR_BYTES, page.data.subarray(start * SECTOR_BYTES, end * SECTOR_BYTES));
    start = page.dirty.indexOf(1, end);
  }
}

/** A reproducible coin (mulberry32). */
function seededBits(seed: number): () => boolean {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) & 1) === 1;
  };
}
