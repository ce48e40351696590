/** A serial line as a pseudo terminal, under a name that stays whatever number the kernel gives the terminal. */
import type { LineSettings, Tty } from "../../../rump/devsw.js";
import { isOutOfResources } from "../../../rumpuser/real/resources.js";
import { LinkSetupError, messageOf } from "../errors.js";
import type { LinkLog } from "../link.js";
import type { LinkRights, TerminalPlace } from "../link-rights.js";
import { FRESH_TERMIOS, type Termios, withExtproc } from "../tty/termios.js";
import { Terminal } from "./terminal.js";
import { Visit } from "./visit.js";

export interface PtyLineOptions {
  /** Where programs find it. */
  readonly place: Omit<TerminalPlace, "replaces">;
  readonly tty: Tty;
  /** What a pseudo terminal cannot say. */
  readonly framing: Partial<LineSettings>;
  readonly log: LinkLog;
  readonly rights: LinkRights;
}

/** When this machine had nothing left for a terminal. */
const AGAIN_MS = 2_000;

export class PtyLine {
  readonly #options: PtyLineOptions;
  #path = "";
  /** Undefined while none can be had. */
  #terminal: Terminal | undefined;
  /** A terminal that is under way to take the place of the one before; it does not reject. */
  #replacing: Promise<void> | undefined;
  #againTimer: NodeJS.Timeout | undefined;
  #visit: Visit | undefined;
  #removed: Promise<void> | undefined;

  private constructor(options: PtyLineOptions) {
    this.#options = options;
  }

  /** Makes the terminal and its name. @throws LinkSetupError */
  static async open(options: PtyLineOptions): Promise<PtyLine> {
    const line = new PtyLine(options);
    try {
      line.#terminal = await line.#newTerminal(withExtproc(FRESH_TERMIOS, true), undefined);
    } catch (error) {
      if (error instanceof LinkSetupError) throw error;
      const message = `no pseudo terminal for ${options.place.nodeName}: ${messageOf(error)}`;
      throw new LinkSetupError("LINK_FAILED", message, { cause: error });
    }
    line.#lookForVisitor();
    return line;
  }

  /** Where programs find it. */
  get path(): string {
    return this.#path;
  }

  /** Programs get a hang-up, the line is closed, the name goes. Later calls wait for the first. @throws LinkSetupError */
  async remove(): Promise<void> {
    this.#removed ??= this.#remove();
    await this.#removed;
  }

  async #remove(): Promise<void> {
    const visit = this.#visit;
    this.#visit = undefined;
    await Promise.all([this.#closeTerminal(), visit?.end()]);
  }

  async #closeTerminal(): Promise<void> {
    await this.#replacing;
    clearTimeout(this.#againTimer);
    const terminal = this.#terminal;
    this.#terminal = undefined;
    await terminal?.close();
  }

  async #newTerminal(termios: Termios, replaced: Terminal | undefined): Promise<Terminal> {
    const { place, rights } = this.#options;
    const terminal = await Terminal.open(termios, rights, {
      ready: () => this.#visit?.ready(),
      used: () => (this.#visit === undefined ? this.#lookForVisitor() : this.#visit.used()),
    });
    try {
      this.#path = await terminal.nameAs(place, replaced);
      return terminal;
    } catch (error) {
      await terminal.close();
      throw error;
    }
  }

  #lookForVisitor(): void {
    if (this.#removed !== undefined || this.#replacing !== undefined) return;
    if (this.#visit !== undefined || this.#terminal?.occupied !== true) return;
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

  /** Begins to make a new terminal with the same settings; who has the old one open gets a hang-up when it is there. */
  #replaceTerminal(termios = this.#terminal?.termios): void {
    if (this.#removed !== undefined || termios === undefined) return;
    this.#replacing = this.#replace(termios).finally(() => {
      this.#replacing = undefined;
      this.#lookForVisitor();
    });
  }

  /** Where this machine has nothing left for a terminal there is none for a while. */
  async #replace(termios: Termios): Promise<void> {
    const old = this.#terminal;
    try {
      this.#terminal = await this.#newTerminal(termios, old);
    } catch (error) {
      const mayPass = isOutOfResources(error);
      if (old !== undefined || !mayPass) this.#log("error", `no new pseudo terminal: ${messageOf(error)}`);
      this.#terminal = undefined;
      if (mayPass) this.#againTimer = setTimeout(() => this.#replaceTerminal(termios), AGAIN_MS);
    }
    await old?.close().catch((error: unknown) => this.#log("error", messageOf(error)));
  }

  #log(level: "warn" | "error", message: string): void {
    const { log, place } = this.#options;
    log.write({ level, source: place.nodeName, message: `pty: ${message}` });
  }
}
