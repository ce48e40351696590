/**
 * What another process prints, as lines that are safe to show. Its output is untrusted: lines are cut, control
 * characters replaced, and more than a bound of them in a while is counted instead of kept.
 */
import { StringDecoder } from "node:string_decoder";
import type { Clock } from "../rumpuser/rumpuser.js";
import { printable } from "./text.js";

const MAX_LINE_CHARS = 1024;
const MAX_LINES_PER_PERIOD = 200;
const PERIOD_MS = 10_000;
const LAST_WORDS_LINES = 8;

/** Takes chunks, gives lines. */
export class LogLines {
  readonly #clock: Clock;
  readonly #show: (line: string) => void;
  readonly #decoder = new StringDecoder("utf8");
  readonly #last: string[] = [];
  #partial = "";
  #cut = false;
  #periodStartMs: number;
  #linesInPeriod = 0;

  constructor(clock: Clock, show: (line: string) => void) {
    this.#clock = clock;
    this.#show = show;
    this.#periodStartMs = clock.nowMs();
  }

  /** The last lines that were shown, for the message about why the process ended. */
  get lastWords(): readonly string[] {
    return this.#last;
  }

  push(chunk: Uint8Array): void {
    const [first = "", ...rest] = this.#decoder.write(chunk).split("\n");
    this.#append(first);
    for (const piece of rest) {
      this.#finishLine();
      this.#append(piece);
    }
  }

  /** The stream has ended; what is left is a line. */
  end(): void {
    this.#append(this.#decoder.end());
    if (this.#partial !== "") this.#finishLine();
  }

  #append(piece: string): void {
    const room = MAX_LINE_CHARS - this.#partial.length;
    if (piece.length > room) this.#cut = true;
    if (room > 0) this.#partial += piece.slice(0, room);
  }

  #finishLine(): void {
    const line = printable(this.#cut ? `${this.#partial} (cut)` : this.#partial, MAX_LINE_CHARS + 8);
    this.#partial = "";
    this.#cut = false;
    if (line === "") return;
    const dropped = this.#countLine();
    if (dropped === undefined) return;
    if (dropped > 0) this.#show(`(${dropped} lines left out)`);
    this.#show(line);
    this.#last.push(line);
    if (this.#last.length > LAST_WORDS_LINES) this.#last.shift();
  }

  /** Undefined when this line is one too many; else how many were left out before it. */
  #countLine(): number | undefined {
    const nowMs = this.#clock.nowMs();
    let dropped = 0;
    if (nowMs - this.#periodStartMs >= PERIOD_MS) {
      dropped = Math.max(0, this.#linesInPeriod - MAX_LINES_PER_PERIOD);
      this.#periodStartMs = nowMs;
      this.#linesInPeriod = 0;
    }
    this.#linesInPeriod++;
    return this.#linesInPeriod > MAX_LINES_PER_PERIOD ? undefined : dropped;
  }
}
