/**
 * A pseudo terminal, held by its master side (pty(7), TIOCPKT in ioctl_tty(2)). Its other side is opened by the rights alone.
 *
 * Linux tells the master of nobody that opens the other side, only that nobody has it open (POLLHUP). So inotify(7) says when
 * to look, and poll(2) says what is so: opening it here for a moment does no harm.
 *
 * In packet mode a status byte tells of flushes; of changed settings only while EXTPROC is on. That flag also switches the line
 * discipline's work on input off, so it is on exactly where a program wants none of that work.
 */
import { errnoOf } from "../errors.js";
import type { LinkRights, OpenTerminal, TerminalPlace } from "../link-rights.js";
import {
  DeviceFile,
  POLL_HUP,
  POLL_IN,
  POLL_PRI,
  PRIORITY,
  READABLE,
  WRITABLE,
} from "../../../rumpuser/real/device-file.js";
import { intArgument, TCGETS2, TCSETS2, type Termios, termios2Record, TIOCPKT } from "../tty/termios.js";

/** What the line discipline holds, and a status byte before it. */
const PACKET_BYTES = 4097;

/** Status byte in packet mode; 0 stands before data. */
const TIOCPKT_FLUSHREAD = 1;
const TIOCPKT_FLUSHWRITE = 2;

export interface TerminalEvents {
  /** What was watched for is there. */
  ready(): void;
  /** A program opened or closed it, or this object did: look what is so. */
  used(): void;
}

export type Packet =
  /** The bytes are the receiver's. */
  | { readonly kind: "data"; readonly data: Uint8Array }
  /** Queues were flushed, as the program sees them; or something else changed, its settings perhaps. */
  | { readonly kind: "status"; readonly flushedIn: boolean; readonly flushedOut: boolean }
  /** Everything was read, and no program has it open. */
  | { readonly kind: "hungUp" };

export interface Watched {
  readonly packets: "all" | "status" | "none";
  /** That programs have read, and there is room for more. */
  readonly room: boolean;
}

const PACKET_EVENTS = { all: READABLE | PRIORITY, status: PRIORITY, none: 0 } as const;

export class Terminal {
  readonly #number: number;
  readonly #rights: LinkRights;
  readonly #events: TerminalEvents;
  readonly #master: DeviceFile;
  readonly #uses: DeviceFile;
  readonly #packet = new Uint8Array(PACKET_BYTES);
  /** What the rights do with it, one after the other. */
  #asked: Promise<unknown> = Promise.resolve();
  /** Calls of the rights that are under way, and whether it was opened or closed meanwhile, by them perhaps. */
  #asking = 0;
  #usedMeanwhile = false;
  #closed = false;

  private constructor({ terminal, master, uses, device }: OpenTerminal, rights: LinkRights, events: TerminalEvents) {
    this.#number = terminal;
    this.#rights = rights;
    this.#events = events;
    this.#master = new DeviceFile(device, master, () => events.ready());
    this.#uses = new DeviceFile(`inotify on ${device}`, uses, () => this.#used());
  }

  /** Makes a terminal that only this user may open. It has no name. @throws LinkSetupError, Error of the system */
  static async open(termios: Termios, rights: LinkRights, events: TerminalEvents): Promise<Terminal> {
    const terminal = new Terminal(await rights.openTerminal(), rights, events);
    try {
      terminal.termios = termios;
      terminal.#master.ioctl(TIOCPKT, intArgument(1));
      terminal.#uses.watch(READABLE);
      return terminal;
    } catch (error) {
      await terminal.close();
      throw error;
    }
  }

  /** Puts it where programs look for it. @returns where that is. @throws LinkSetupError */
  async nameAs(place: Omit<TerminalPlace, "replaces">, replaced: Terminal | undefined): Promise<string> {
    const replaces = replaced === undefined ? {} : { replaces: replaced.#number };
    return (await this.#rights.nameTerminal(this.#number, { ...place, ...replaces })).path;
  }

  /** The settings that programs see and change. The kernel has no parity here, and eight data bits only. */
  get termios(): Termios {
    const bytes = new Uint8Array(termios2Record.size);
    this.#master.ioctl(TCGETS2, bytes);
    return termios2Record.decode(bytes);
  }

  set termios(termios: Termios) {
    this.#master.ioctl(TCSETS2, termios2Record.encode(termios));
  }

  /** Whether a program has it open, or had and left something to read. */
  get occupied(): boolean {
    const now = this.#master.poll();
    return (now & POLL_HUP) === 0 || (now & POLL_IN) !== 0;
  }

  /** No program has it open. */
  get hungUp(): boolean {
    return (this.#master.poll() & POLL_HUP) !== 0;
  }

  /** The next packet is a status. */
  get statusWaits(): boolean {
    return (this.#master.poll() & POLL_PRI) !== 0;
  }

  watch({ packets, room }: Watched): void {
    this.#master.watch(PACKET_EVENTS[packets] | (room ? WRITABLE : 0));
  }

  /** @returns undefined when there is nothing now. */
  read(): Packet | undefined {
    const bytes = this.#unlessHungUp(() => this.#master.read(this.#packet));
    if (bytes === "hungUp") return { kind: "hungUp" };
    if (bytes === undefined) return undefined;
    const status = this.#packet[0] ?? 0;
    if (status === 0) return { kind: "data", data: this.#packet.slice(1, bytes) };
    return {
      kind: "status",
      flushedIn: (status & TIOCPKT_FLUSHREAD) !== 0,
      flushedOut: (status & TIOCPKT_FLUSHWRITE) !== 0,
    };
  }

  /** @returns how many bytes are dealt with; the rest when there is room. Without a program they are gone. */
  write(bytes: Uint8Array): number {
    const taken = this.#unlessHungUp(() => this.#master.write(bytes));
    return taken === "hungUp" ? bytes.length : (taken ?? 0);
  }

  /** Refuses others than those that have it open, as LinkRights.refuseOthers. */
  async refuseOthers(): Promise<void> {
    await this.#ask(() => this.#rights.refuseOthers(this.#number));
  }

  /** Makes it fit for the next program, when all have closed it, as LinkRights.tidyTerminal. */
  async tidy(): Promise<boolean> {
    return await this.#ask(async () => {
      const isTidy = await this.#rights.tidyTerminal(this.#number);
      // The status that tells of this flush goes first; it is for nobody.
      if (isTidy && this.statusWaits) this.#master.read(this.#packet);
      return isTidy;
    });
  }

  /** Programs that have it open get a hang-up, and nobody finds it any more. Idempotent. @throws LinkSetupError */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#uses.close();
    this.#master.close();
    await this.#rights.closeTerminal(this.#number);
  }

  /** Has the rights open it for a moment: what that looks like is told when it is over. */
  async #ask<T>(call: () => Promise<T>): Promise<T> {
    this.#asking++;
    const answer = this.#asked.then(call);
    this.#asked = answer.catch(() => undefined); // told to the caller
    try {
      return await answer;
    } finally {
      this.#asking--;
      if (this.#usedMeanwhile) this.#tellUsed();
    }
  }

  #used(): void {
    while (this.#uses.read(this.#packet) !== undefined);
    this.#tellUsed();
  }

  #tellUsed(): void {
    this.#usedMeanwhile = this.#asking > 0;
    if (!this.#usedMeanwhile && !this.#closed) this.#events.used();
  }

  #unlessHungUp<T>(call: () => T): T | "hungUp" {
    try {
      return call();
    } catch (error) {
      if (errnoOf(error) === "EIO") return "hungUp";
      throw error;
    }
  }
}
