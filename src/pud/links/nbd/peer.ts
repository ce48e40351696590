/** The far end of one connection, and what a connection needs of the outside. */

/** One client, as a stream of bytes. `socket.ts` makes it from a socket; tests make it from nothing. */
export interface Peer {
  /**
   * Sends the parts in order. The memory is lent until `sent` is called; it is not called after the stream has broken.
   */
  send(parts: readonly Uint8Array[], sent: () => void): void;
  /** Delivers nothing more until `resume`. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then ends our half. */
  end(): void;
  /** Ends both halves at once. */
  destroy(): void;
}

export interface Clock {
  /** Calls `fire` once, `delayMs` from now, unless cancelled before. */
  startTimer(delayMs: number, fire: () => void): { cancel(): void };
}
