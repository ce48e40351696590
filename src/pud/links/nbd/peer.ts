/** The far end of one connection. */

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
