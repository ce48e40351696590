/**
 * Collects the result lines of one run and says whether it went well: every script has run to its end, and each of its results has
 * come.
 */

const RESULT = /^(PASS|FAIL|SKIP) (.+?)(?:: (.*))?$/;
const CONSOLE_TAIL_LINES = 40;

export class Report {
  #print;
  /** Those that have not begun. */
  #scriptsLeft;
  /** The one that runs: its name, and how many results have come. */
  #script;
  #counts = { PASS: 0, FAIL: 0, SKIP: 0 };
  #ended = false;

  /**
   * @param print   takes each line for stdout.
   * @param scripts names of those that are to run.
   */
  constructor(print, scripts) {
    this.#print = print;
    this.#scriptsLeft = [...scripts];
  }

  get failed() {
    return this.#counts.FAIL > 0;
  }

  /** One line of the channel; lines of no known form are shown as notes. */
  take(line) {
    const result = RESULT.exec(line);
    if (result !== null) {
      this.#counts[result[1]] += 1;
      if (this.#script !== undefined) this.#script.results += 1;
      this.#print(line);
    } else if (line.startsWith("LAB-SCRIPT ")) this.#begin(line.slice("LAB-SCRIPT ".length));
    else if (line.startsWith("LAB-DONE ")) this.#done(Number(line.slice("LAB-DONE ".length)));
    else if (line === "LAB-END") this.#ended = true;
    else if (line !== "") this.note(line.replace(/^LAB-NOTE /, ""));
  }

  #begin(name) {
    this.#fail(this.#script, "its end was not reported");
    this.#scriptsLeft = this.#scriptsLeft.filter((left) => left !== name);
    this.#script = { name, results: 0 };
    this.#print(`# ${name}`);
  }

  #done(reported) {
    const script = this.#script;
    this.#script = undefined;
    if (script?.results !== reported)
      this.#fail(script, `${script?.results} results have come of ${reported} that it reported`);
  }

  #fail(script, why) {
    if (script !== undefined) this.take(`FAIL ${script.name}: ${why}`);
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
    } else {
      this.#fail(this.#script, "its end was not reported");
      if (this.#scriptsLeft.length > 0) this.take(`FAIL lab: not run: ${this.#scriptsLeft.join(", ")}`);
    }
    if (this.#counts.PASS + this.#counts.FAIL + this.#counts.SKIP === 0)
      this.take("FAIL lab: the scripts reported no result");
    if (this.failed) console.error(text.trimEnd().split("\n").slice(-CONSOLE_TAIL_LINES).join("\n"));
    this.note(`${this.#counts.PASS} passed, ${this.#counts.FAIL} failed, ${this.#counts.SKIP} skipped`);
  }
}
