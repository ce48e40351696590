/**
 * What another process prints, as lines that are safe to show. Its output is untrusted: lines are cut, control
 * characters replaced, and more than a bound of them in a while is counted instead of kept.
 */
import { StringDecoder } from "node:string_decoder";
import { RateBound } from "../pud/rate-bound.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import { printable } from "./text.js";

const MAX_LINE_CHARS = 1024;
const MAX_LINES_AT_ONCE = 200;
const LINES_PER_SECOND = 20;
const LAST_WORDS_LINES = 8;

/** Takes chunks, gives lines. */
export class LogLines {
  readonly #show: (line: string) => void;
  readonly #bound: RateBound;
  readonly #decoder = new StringDecoder("utf8");
  readonly #last: string[] = [];
  #partial = "";
  #cut = false;
  /** Since the last line that was shown. */
  #leftOut = 0;

  constructor(clock: Clock, show: (line: string) => void) {
    this.#show = show;
    this.#bound = new RateBound(clock, MAX_LINES_AT_ONCE, LINES_PER_SECOND);
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
    if (!this.#bound.take()) {
      this.#leftOut++;
      return;
    }
    if (this.#leftOut > 0) this.#show(`(${this.#leftOut} lines left out)`);
    this.#leftOut = 0;
    this.#show(line);
    this.#last.push(line);
    if (this.#last.length > LAST_WORDS_LINES) this.#last.shift();
  }
}
