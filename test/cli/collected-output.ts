import type { Output } from "../../src/cli/output.js";

/** Collects what a command says. */
export class CollectedOutput implements Output {
  /** stdout */
  readonly lines: string[] = [];
  /** stderr */
  readonly spoken: string[] = [];

  data(line: string): void {
    this.lines.push(line);
  }

  talk(line: string): void {
    this.spoken.push(line);
  }
}
