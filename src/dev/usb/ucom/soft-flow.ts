/**
 * XON/XOFF flow control in software, for chips that have none (ASCII DC1 and DC3).
 *
 * Received control characters hold and release what is written and are not data. When the reader grants nothing more, the
 * other side is asked to stop.
 */
export const XON = 0x11;
export const XOFF = 0x13;

export class SoftFlow {
  readonly #send: (byte: number) => void;
  #active = false;
  /** The other side has sent XOFF. */
  #held = false;
  /** We have sent XOFF. */
  #stopped = false;
  readonly #waiting = new Set<() => void>();

  /** `send` puts a byte on the line ahead of what is queued. */
  constructor(send: (byte: number) => void) {
    this.#send = send;
  }

  setActive(active: boolean): void {
    this.#active = active;
    this.#stopped = false;
    if (!active) this.#release();
  }

  /** The data without control characters; the same array when it has none. */
  filter(data: Uint8Array): Uint8Array {
    if (!this.#active || !data.some(isControl)) return data;
    for (const byte of data) {
      if (byte === XOFF) this.#held = true;
      else if (byte === XON) this.#release();
    }
    return data.filter((byte) => !isControl(byte));
  }

  /** Told whether the reader takes more. */
  throttle(full: boolean): void {
    if (!this.#active || full === this.#stopped) return;
    this.#stopped = full;
    this.#send(full ? XOFF : XON);
  }

  /** Undefined when nothing is held; rejects when the signal aborts. */
  hold(signal: AbortSignal): Promise<void> | undefined {
    if (!this.#held) return undefined;
    return new Promise((resolve, reject) => {
      const release = (): void => {
        signal.removeEventListener("abort", abort);
        this.#waiting.delete(release);
        resolve();
      };
      const abort = (): void => {
        this.#waiting.delete(release);
        reject(signal.reason as Error);
      };
      if (signal.aborted) return abort();
      signal.addEventListener("abort", abort, { once: true });
      this.#waiting.add(release);
    });
  }

  #release(): void {
    this.#held = false;
    for (const release of this.#waiting) release();
  }
}

function isControl(byte: number): boolean {
  return byte === XON || byte === XOFF;
}
