/**
 * A pseudo terminal, held by its master side (pty(7), TIOCPKT in ioctl_tty(2)).
 *
 * Linux tells the master of nobody that opens the other side, only that nobody has it open (POLLHUP). So inotify(7) says when
 * to look, and poll(2) says what is so: opening it here for a moment does no harm.
 *
 * In packet mode a status byte tells of flushes; of changed settings only while EXTPROC is on. That flag also switches the line
 * discipline's work on input off, so it is on exactly where a program wants none of that work.
 */
import { chmodSync } from "node:fs";
import { viewOf } from "../../../bytes.js";
import { errnoOf } from "../errors.js";
import {
  DeviceFile,
  IN_CLOSE,
  IN_OPEN,
  POLL_HUP,
  POLL_IN,
  POLL_PRI,
  PRIORITY,
  READABLE,
  withDeviceFile,
  WRITABLE,
} from "../../../rumpuser/real/device-file.js";
import {
  TCFLSH,
  TCIFLUSH,
  TCGETS2,
  TCSETS2,
  type Termios,
  termios2Record,
  TIOCEXCL,
  TIOCNXCL,
  TIOCPKT,
} from "../tty/termios.js";

const MASTER = "/dev/ptmx";
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;
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
  /** `/dev/pts/3` */
  readonly path: string;
  readonly #master: DeviceFile;
  readonly #uses: DeviceFile;
  readonly #packet = new Uint8Array(PACKET_BYTES);

  /** Makes a terminal that only this user may open. @throws Error of the system */
  constructor(termios: Termios, events: TerminalEvents) {
    this.#master = DeviceFile.open(MASTER, () => events.ready());
    try {
      this.#master.ioctl(TIOCSPTLCK, numberBytes(0));
      const index = numberBytes(0);
      this.#master.ioctl(TIOCGPTN, index);
      this.path = `/dev/pts/${viewOf(index).getUint32(0, true)}`;
      chmodSync(this.path, 0o600);
      this.termios = termios;
      this.#master.ioctl(TIOCPKT, numberBytes(1));
      // Opened and closed once, it says of itself that nobody has it open.
      withDeviceFile(this.path, () => undefined);
      this.#uses = DeviceFile.watching(this.path, IN_OPEN | IN_CLOSE, () => {
        while (this.#uses.read(this.#packet) !== undefined);
        events.used();
      });
    } catch (error) {
      this.#master.close();
      throw error;
    }
    this.#uses.watch(READABLE);
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

  /** Refuses others than those that have it open (TIOCEXCL); the super-user always may. The kernel keeps that when all have closed it. */
  refuseOthers(): void {
    this.#withSlave((slave) => slave.ioctl(TIOCEXCL));
  }

  /**
   * Makes it fit for the next program, when all have closed it: anybody may open it, and what was not read is gone.
   * @returns false: it is kept for a program alone, and this user cannot change that.
   */
  tidy(): boolean {
    return this.#withSlave((slave) => {
      slave.ioctl(TIOCNXCL);
      slave.ioctl(TCFLSH, TCIFLUSH);
      // The status that tells of this flush goes first; it is for nobody.
      this.#master.read(this.#packet);
    });
  }

  /** Programs that have it open get a hang-up. Idempotent. */
  close(): void {
    this.#uses.close();
    this.#master.close();
  }

  /** @returns false: it is kept for one program (EBUSY) */
  #withSlave(use: (slave: DeviceFile) => void): boolean {
    try {
      withDeviceFile(this.path, use);
      return true;
    } catch (error) {
      if (errnoOf(error) === "EBUSY") return false;
      throw error;
    }
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

function numberBytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setInt32(0, value, true);
  return bytes;
}
