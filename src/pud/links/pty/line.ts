/** A serial line as a pseudo terminal, under a name that stays whatever number the kernel gives the terminal. */
import type { LineSettings, Tty } from "../../../rump/devsw.js";
import { isOutOfResources } from "../../../rumpuser/real/resources.js";
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

/** When this machine had nothing left for a terminal. */
const AGAIN_MS = 2_000;

export class PtyLine {
  readonly #options: PtyLineOptions;
  /** Undefined while none can be had. */
  #terminal: Terminal | undefined;
  #againTimer: NodeJS.Timeout | undefined;
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
    clearTimeout(this.#againTimer);
    this.#closeTerminal();
    await visit?.end();
  }

  /** Whoever has it open gets a hang-up; nobody finds it any more. */
  #closeTerminal(): void {
    const terminal = this.#terminal;
    this.#terminal = undefined;
    if (terminal === undefined) return;
    this.#options.name.remove(terminal.path);
    terminal.close();
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
    if (this.#removed || this.#visit !== undefined || this.#terminal?.occupied !== true) return;
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

  /**
   * A new terminal with the same settings; who has the old one open gets a hang-up. Where this machine has nothing left for one there is
   * none for a while.
   */
  #replaceTerminal(termios = this.#terminal?.termios): void {
    const old = this.#terminal;
    if (this.#removed || termios === undefined) return;
    try {
      if (old === undefined) this.#options.name.claim();
      this.#terminal = this.#newTerminal(termios);
      old?.close();
    } catch (error) {
      const mayPass = isOutOfResources(error);
      if (old !== undefined || !mayPass) this.#log("error", `no new pseudo terminal: ${messageOf(error)}`);
      if (!mayPass) return void this.remove();
      this.#closeTerminal();
      this.#againTimer = setTimeout(() => this.#replaceTerminal(termios), AGAIN_MS);
    }
  }

  #log(level: "warn" | "error", message: string): void {
    this.#options.log.write({ level, source: this.#options.nodeName, message: `pty: ${message}` });
  }
}
