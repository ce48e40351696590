/** The memory that a device's rump processes share with the host, one after another. */
import { closeSync } from "node:fs";
import { SHARED_MEMORY_BYTES, SharedSlots } from "../pud/shared-memory.js";
import { createMemory, mapMemory } from "../rumpuser/real/addon.js";

export class SharedMemory {
  readonly slots: SharedSlots;
  #fd: number | undefined;

  /** @throws SystemCallError the kernel has none to give; AddonError. */
  constructor() {
    const fd = createMemory(SHARED_MEMORY_BYTES);
    this.#fd = fd;
    try {
      this.slots = new SharedSlots(mapMemory(fd, SHARED_MEMORY_BYTES));
    } catch (error) {
      this.close();
      throw error;
    }
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
