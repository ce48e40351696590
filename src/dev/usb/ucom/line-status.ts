/** Modem lines and error counters of an open port, and whether somebody has to be told. */
import type { LineError, ModemLines, TtyStatus } from "../../../rump/devsw.js";

export const NO_LINES: ModemLines = { cts: false, dsr: false, dcd: false, ri: false };

export class LineStatus {
  #lines: ModemLines = NO_LINES;
  readonly #errors: Record<LineError, number> = { framing: 0, parity: 0, overrun: 0, break: 0 };
  #changed = false;

  setLines(lines: Partial<ModemLines>): void {
    const next = { ...this.#lines, ...lines };
    const same = next.cts === this.#lines.cts && next.dsr === this.#lines.dsr && next.dcd === this.#lines.dcd;
    if (same && next.ri === this.#lines.ri) return;
    this.#lines = next;
    this.#changed = true;
  }

  count(error: LineError): void {
    this.#errors[error]++;
    this.#changed = true;
  }

  /** A copy. */
  read(): TtyStatus {
    return { lines: { ...this.#lines }, errors: { ...this.#errors } };
  }

  /** @returns the status when it has changed since the last call. */
  takeChange(): TtyStatus | undefined {
    if (!this.#changed) return undefined;
    this.#changed = false;
    return this.read();
  }
}
