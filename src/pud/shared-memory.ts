/**
 * Memory that the host half and a rump process have both mapped, for large payloads: those are not sent then, and not copied on their
 * way through the host half.
 *
 * It is divided into slots. The host alone gives them out, and names one in a request; the process touches it from then until it has
 * answered. The process can write to all of it at any time, so nothing in it is ever looked at by the host to decide something:
 * what is read is passed on to the client that asked, and what is to be written was the process's to write in any case.
 */

/** As much as the largest command of most disks moves. */
export const SLOT_BYTES = 1 << 20;
export const SLOT_COUNT = 16;
export const SHARED_MEMORY_BYTES = SLOT_COUNT * SLOT_BYTES;
/** Less is cheaper to send: it goes with its frame. */
export const MIN_SHARED_BYTES = 16 * 1024;

/** @param slot  From 1. @returns all of it; undefined: there is no such slot. */
export function slotOf(memory: ArrayBuffer, slot: number): Uint8Array | undefined {
  if (slot < 1 || slot * SLOT_BYTES > memory.byteLength) return undefined;
  return new Uint8Array(memory, (slot - 1) * SLOT_BYTES, SLOT_BYTES);
}

/**
 * held: somebody has it, and will give it back. doubtful: the same, but a process may still be busy with it. late: given back,
 * and a process may still be busy with it.
 */
type SlotState = "free" | "held" | "doubtful" | "late";

/** The host's book of slots. Outlives rump processes. */
export class SharedSlots {
  readonly #memory: ArrayBuffer;
  readonly #minBytes: number;
  readonly #states: SlotState[];
  /** The one that was given back last goes first: it is in the processor's cache. */
  readonly #free: number[];

  constructor(memory: ArrayBuffer, minBytes = MIN_SHARED_BYTES) {
    this.#memory = memory;
    this.#minBytes = minBytes;
    const count = Math.floor(memory.byteLength / SLOT_BYTES);
    this.#states = Array.from({ length: count }, () => "free");
    this.#free = Array.from({ length: count }, (_, index) => count - index);
  }

  get bytes(): number {
    return this.#memory.byteLength;
  }

  get freeCount(): number {
    return this.#free.length;
  }

  /** @returns exactly so many bytes with anything in them; undefined: they are too few, or too many, or all slots are in use. */
  take(bytes: number): Uint8Array | undefined {
    if (bytes < this.#minBytes || bytes > SLOT_BYTES) return undefined;
    const slot = this.#free.pop();
    if (slot === undefined) return undefined;
    this.#states[slot - 1] = "held";
    return new Uint8Array(this.#memory, (slot - 1) * SLOT_BYTES, bytes);
  }

  /** The slot that these bytes begin, from 1; 0: they are elsewhere. */
  slotOf({ buffer, byteOffset }: Uint8Array): number {
    return buffer === this.#memory ? 1 + byteOffset / SLOT_BYTES : 0;
  }

  /** Gives back what `take` returned, once. @returns false: it is no memory of ours. */
  give(data: Uint8Array): boolean {
    const slot = this.slotOf(data);
    if (slot === 0) return false;
    if (this.#states[slot - 1] === "doubtful") this.#states[slot - 1] = "late";
    else this.#release(slot);
    return true;
  }

  /** A request with these bytes has failed: who knows whether the process has let go of them. Not used again before `processGone`. */
  doubt(data: Uint8Array): void {
    const slot = this.slotOf(data);
    if (slot > 0) this.#states[slot - 1] = "doubtful";
  }

  /** No process that was told of a slot is there any more. */
  processGone(): void {
    this.#states.forEach((state, index) => {
      if (state === "late") this.#release(index + 1);
      if (state === "doubtful") this.#states[index] = "held";
    });
  }

  #release(slot: number): void {
    this.#states[slot - 1] = "free";
    this.#free.push(slot);
  }
}
