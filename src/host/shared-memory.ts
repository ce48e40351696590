/** The memory that a device's rump processes share with whoever asks them, one after another, as a file without a name. */
import { closeSync } from "node:fs";
import { SHARED_MEMORY_BYTES } from "../pud/shared-memory.js";
import { createMemory } from "../rumpuser/real/addon.js";

export class MemoryFile {
  readonly bytes = SHARED_MEMORY_BYTES;
  #fd: number | undefined;

  /** @throws SystemCallError the kernel has none to give; AddonError. */
  constructor() {
    this.#fd = createMemory(this.bytes);
  }

  /** To be given to a process at its start. @throws Error after `close`: the number may be another's by now. */
  get fd(): number {
    if (this.#fd === undefined) throw new Error("shared memory for a process of a device that is not served any more");
    return this.#fd;
  }

  /** No process gets it any more. */
  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
