import type { Disk, ReadOptions } from "../../src/rump/devsw.js";

/** A link as NBD is one: it passes on what it reads, writes what it was lent, and gives both back. */
export class PassingDisk implements Disk {
  readonly kind = "disk";
  readonly info;
  readonly #disk: Disk;

  constructor(disk: Disk) {
    this.#disk = disk;
    this.info = disk.info;
  }

  async read(firstBlock: number, blockCount: number, options: ReadOptions = {}): Promise<Uint8Array> {
    const data = await this.#disk.read(firstBlock, blockCount, { ...options, passesOn: true });
    const copy = data.slice();
    this.#disk.recycle?.(data);
    return copy;
  }

  async write(...[firstBlock, data, options]: Parameters<Disk["write"]>): Promise<void> {
    const lent = this.#disk.lend?.(data.length);
    if (lent === undefined) throw new Error("a disk of pud lends memory");
    lent.set(data);
    try {
      await this.#disk.write(firstBlock, lent, options);
    } finally {
      this.#disk.recycle?.(lent);
    }
  }

  flush(...args: Parameters<Disk["flush"]>): Promise<void> {
    return this.#disk.flush(...args);
  }

  trim(...args: Parameters<Disk["trim"]>): Promise<void> {
    return this.#disk.trim(...args);
  }

  writeZeroes(...args: Parameters<Disk["writeZeroes"]>): Promise<void> {
    return this.#disk.writeZeroes(...args);
  }
}
