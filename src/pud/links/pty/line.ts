/** A serial line as a pseudo terminal, under a name that stays whatever number the kernel gives the terminal. */
import type { LineSettings, Tty } from "../../../rump/devsw.js";
import { messageOf } from "../errors.js";
import type { LinkLog } from "../link.js";
import { FRESH_TERMIOS, type Termios, withExtproc } from "../tty/termios.js";
import type { TerminalName } from "./terminal-name.js";
import { Terminal } from "./terminal.js";
import { Visit } from "./visit.js";

export interface PtyLineOptions {
  readonly nodeName: string;
  readonly tty: Tty;
  /** Where programs find it. */
  readonly name: TerminalName;
  /** What a pseudo terminal cannot say. */
  readonly framing: Partial<LineSettings>;
  readonly log: LinkLog;
}

export class PtyLine {
  readonly #options: PtyLineOptions;
  #terminal: Terminal;
  #visit: Visit | undefined;
  #removed = false;

  /** Makes the terminal and its name. @throws LinkSetupError, Error of the system */
  constructor(options: PtyLineOptions) {
    this.#options = options;
    options.name.claim();
    this.#terminal = this.#newTerminal(withExtproc(FRESH_TERMIOS, true));
  }

  /** Programs get a hang-up, the line is closed, the name goes. Idempotent. */
  async remove(): Promise<void> {
    if (this.#removed) return;
    this.#removed = true;
    const visit = this.#visit;
    this.#visit = undefined;
    this.#options.name.remove(this.#terminal.path);
    this.#terminal.close();
    await visit?.end();
  }

  #newTerminal(termios: Termios): Terminal {
    const terminal = new Terminal(termios, {
      ready: () => this.#visit?.ready(),
      used: () => (this.#visit === undefined ? this.#lookForVisitor() : this.#visit.used()),
    });
    try {
      this.#options.name.pointTo(terminal.path);
      return terminal;
    } catch (error) {
      terminal.close();
      throw error;
    }
  }

  #lookForVisitor(): void {
    if (this.#removed || this.#visit !== undefined || !this.#terminal.occupied) return;
    const visit = new Visit(this.#terminal, this.#options.framing, {
      ended: (terminalStuck) => {
        this.#visit = undefined;
        if (terminalStuck) this.#replaceTerminal();
        this.#lookForVisitor();
      },
      lost: (error) => {
        this.#log("warn", `programs are hung up: ${error.message}`);
        this.#visit = undefined;
        void visit.end();
        this.#replaceTerminal();
      },
    });
    this.#visit = visit;
    void visit.begin(this.#options.tty);
  }

  /** A new terminal with the same settings; who has the old one open gets a hang-up. */
  #replaceTerminal(): void {
    if (this.#removed) return;
    const old = this.#terminal;
    try {
      this.#terminal = this.#newTerminal(old.termios);
      old.close();
    } catch (error) {
      this.#log("error", `no new pseudo terminal: ${messageOf(error)}`);
      void this.remove();
    }
  }

  #log(level: "warn" | "error", message: string): void {
    this.#options.log.write({ level, source: this.#options.nodeName, message: `pty: ${message}` });
  }
}
