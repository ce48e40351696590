/** What a USB/IP connection is about to send: URB headers, payloads, and as few parts as they can be. */
import { URB_HEADER_BYTES } from "./wire.js";

const NO_BYTES = new Uint8Array(0);

/** What is to be sent, in its order. Headers one behind the other in a slab become one part: each part is dear to send. */
export class OutgoingParts {
  #parts: Uint8Array[] = [];
  /** Headers that are no part yet, in this slab from here to there. */
  #slab: Uint8Array = NO_BYTES;
  #from = 0;
  #to = 0;

  /** 48 bytes of a slab. */
  addHeader(slab: Uint8Array, at: number): void {
    if (slab !== this.#slab || at !== this.#to) this.#close();
    if (this.#to === this.#from) {
      this.#slab = slab;
      this.#from = at;
    }
    this.#to = at + URB_HEADER_BYTES;
  }

  add(part: Uint8Array): void {
    this.#close();
    this.#parts.push(part);
  }

  /** Everything, which is nothing any more. */
  take(): readonly Uint8Array[] {
    this.#close();
    const parts = this.#parts;
    this.#parts = [];
    return parts;
  }

  #close(): void {
    if (this.#to > this.#from) this.#parts.push(this.#slab.subarray(this.#from, this.#to));
    this.#from = 0;
    this.#to = 0;
  }
}
