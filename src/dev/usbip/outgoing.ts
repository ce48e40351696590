/** What a USB/IP connection is about to send: URB headers, payloads, and as few parts as they can be. */
import { URB_HEADER_BYTES } from "./wire.js";

const NO_BYTES = new Uint8Array(0);

/**
 * Memory for URB headers: 48 bytes each, cut from slabs, because a header must stay as it is until it is sent and small
 * typed arrays of their own are dear to make and to send.
 */
export class HeaderSlab {
  static readonly #HEADERS_PER_SLAB = 64;
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  #used = 0;

  /** The slab that was cut from last, and a view of it. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get view(): DataView {
    return this.#view;
  }

  /** @returns where in the slab there are 48 zero bytes that nobody else has. */
  cut(): number {
    if (this.#used + URB_HEADER_BYTES > this.#bytes.length) {
      this.#bytes = new Uint8Array(URB_HEADER_BYTES * HeaderSlab.#HEADERS_PER_SLAB);
      this.#view = new DataView(this.#bytes.buffer);
      this.#used = 0;
    }
    const at = this.#used;
    this.#used += URB_HEADER_BYTES;
    return at;
  }

  /** The same with an array and a view of its own. */
  take(): { readonly bytes: Uint8Array; readonly view: DataView } {
    const at = this.cut();
    const { buffer } = this.#bytes;
    return {
      bytes: new Uint8Array(buffer, at, URB_HEADER_BYTES),
      view: new DataView(buffer, at, URB_HEADER_BYTES),
    };
  }
}

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
