/** What a command gets from `main` and gives back to it. */
import type { Output } from "./output.js";

export interface CommandContext {
  readonly output: Output;
  /** Of a command that has told its own failure; 0 at the start. */
  exitStatus: number;
}
