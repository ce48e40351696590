/** What the host remembers of an open line's received bytes and status, across driver processes. */
import { LINE_ERRORS, type LineErrorCounts, type TtyStatus } from "../rump/devsw.js";

const NO_ERRORS: LineErrorCounts = { framing: 0, parity: 0, overrun: 0, break: 0 };

/** Bytes that the opener takes: what the process in use may still send, and what it has not been told of. */
export class Grants {
  #waitingBytes = 0;
  #allowedBytes = 0;

  /** What the process may send. */
  get allowedBytes(): number {
    return this.#allowedBytes;
  }

  /** @throws RangeError for what is no number of bytes. */
  grant(bytes: number): void {
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new RangeError(`granted are ${bytes} bytes: not a count`);
    this.#waitingBytes = sum(this.#waitingBytes, bytes);
  }

  /**
   * @returns what to tell the process now. 0 while it has more than waits here: one frame then stands for many small
   *   grants, and the process never runs dry of what was granted.
   */
  pass(): number {
    if (this.#waitingBytes < this.#allowedBytes) return 0;
    const bytes = this.#waitingBytes;
    this.#allowedBytes = sum(this.#allowedBytes, bytes);
    this.#waitingBytes = 0;
    return bytes;
  }

  /** The process has sent so many; at most `allowedBytes`. */
  used(bytes: number): void {
    this.#allowedBytes -= bytes;
  }

  /** The next process knows of nothing. */
  unbind(): void {
    this.#waitingBytes = sum(this.#waitingBytes, this.#allowedBytes);
    this.#allowedBytes = 0;
  }
}

/** The status as the opener sees it: errors are counted from when it opened the line, whatever process counts them. */
export class StatusMemory {
  #told: TtyStatus | undefined;
  #countedBefore = NO_ERRORS;

  /** The last status that the opener has. */
  get told(): TtyStatus | undefined {
    return this.#told;
  }

  /** @returns the status to tell; a count is never less than before. */
  note({ lines, errors }: TtyStatus): TtyStatus {
    const counts = Object.fromEntries(
      LINE_ERRORS.map((error) => {
        const before = this.#countedBefore[error];
        return [error, Math.max(sum(before, errors[error]), this.#told?.errors[error] ?? before)];
      }),
    ) as LineErrorCounts;
    this.#told = { lines, errors: counts };
    return this.#told;
  }

  /** The next process counts from 0. */
  unbind(): void {
    this.#countedBefore = this.#told?.errors ?? this.#countedBefore;
  }
}

function sum(a: number, b: number): number {
  return Math.min(a + b, Number.MAX_SAFE_INTEGER);
}
