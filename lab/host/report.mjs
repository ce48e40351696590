/** Collects the result lines of one run and says whether it went well. */

const RESULT = /^(PASS|FAIL|SKIP) (.+?)(?:: (.*))?$/;
const CONSOLE_TAIL_LINES = 40;

export class Report {
  #print;
  #counts = { PASS: 0, FAIL: 0, SKIP: 0 };
  #ended = false;

  /** @param print takes each line for stdout. */
  constructor(print) {
    this.#print = print;
  }

  get failed() {
    return this.#counts.FAIL > 0;
  }

  /** One line of the channel; lines of no known form are shown as notes. */
  take(line) {
    const result = RESULT.exec(line);
    if (result !== null) {
      this.#counts[result[1]] += 1;
      this.#print(line);
    } else if (line.startsWith("LAB-SCRIPT ")) this.#print(`# ${line.slice("LAB-SCRIPT ".length)}`);
    else if (line === "LAB-END") this.#ended = true;
    else if (line !== "") this.note(line.replace(/^LAB-NOTE /, ""));
  }

  note(text) {
    console.error(`lab: ${text}`);
  }

  /**
   * Called when the guest is gone.
   * @param how `{timedOut, status, console}` of the boot: a run without LAB-END has failed, whatever it said before.
   */
  finish({ timedOut, status, console: text }) {
    if (!this.#ended) {
      const why = timedOut ? "was stopped at its time limit" : `ended early (${status})`;
      this.take(`FAIL lab: the guest ${why}, before all scripts had run`);
    }
    if (this.#counts.PASS + this.#counts.FAIL + this.#counts.SKIP === 0)
      this.take("FAIL lab: the scripts reported no result");
    if (this.failed) console.error(text.trimEnd().split("\n").slice(-CONSOLE_TAIL_LINES).join("\n"));
    this.note(`${this.#counts.PASS} passed, ${this.#counts.FAIL} failed, ${this.#counts.SKIP} skipped`);
  }
}
