/** What leaves for a client, in order, and held while the client has asked for that. */
import type { Writable } from "node:stream";

interface Held {
  readonly bytes: Uint8Array;
  readonly sent: () => void;
}

export class Outlet {
  readonly #stream: Writable;
  readonly #left: () => void;
  #held: Held[] = [];
  #heldBytes = 0;
  #suspended = false;
  #sendingBytes = 0;

  /** @param left  Called whenever something has left. */
  constructor(stream: Writable, left: () => void) {
    this.#stream = stream;
    this.#left = left;
  }

  /** What has not left yet. */
  get backlogBytes(): number {
    return this.#heldBytes + this.#sendingBytes;
  }

  get suspended(): boolean {
    return this.#suspended;
  }

  /** The memory is the outlet's now. `sent` is called when it has left, and never when the stream has broken. */
  send(bytes: Uint8Array, sent: () => void = () => undefined): void {
    if (this.#suspended) {
      this.#held.push({ bytes, sent });
      this.#heldBytes += bytes.length;
    } else this.#write({ bytes, sent });
  }

  /** Everything waits until `resume`. */
  suspend(): void {
    this.#suspended = true;
  }

  resume(): void {
    this.#suspended = false;
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    for (const one of held) this.#write(one);
  }

  /** Sends what waits and ends the writing half. */
  end(): void {
    this.resume();
    this.#stream.end();
  }

  #write({ bytes, sent }: Held): void {
    if (this.#stream.destroyed || this.#stream.writableEnded) return;
    this.#sendingBytes += bytes.length;
    this.#stream.write(bytes, (error) => {
      this.#sendingBytes -= bytes.length;
      if (error) return;
      sent();
      this.#left();
    });
  }
}
