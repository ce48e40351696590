/**
 * What links need of the machine: paths, sockets, terminals, programs. A link has no rights of its own; it asks these.
 *
 * Arguments and results are plain data, so that whoever has the rights may be another process. Descriptors in a result are the
 * caller's, who closes them. What was made is called by a number, which means nothing to other rights. Every method rejects with a
 * LinkSetupError; one whose cause says that this machine has nothing left (isOutOfResources) may be tried again. Taking back what was
 * taken back already does nothing.
 */
import type { ListenAddress } from "./address.js";

export interface LinkRights {
  /**
   * Binds a socket and listens on it (listen(2)); a file is its owner's alone (0600), and one that nobody listens on any more is
   * replaced. Nobody accepts before the caller does.
   * @throws LinkSetupError LINK_USAGE, LINK_IN_USE, LINK_PERMISSION, LINK_UNAVAILABLE, LINK_FAILED
   */
  listen(address: ListenAddress): Promise<ListeningSocket>;
  /** Removes the socket file, if it is still the one that was made. @throws LinkSetupError */
  unlisten(listener: number): Promise<void>;

  /** Makes a pseudo terminal that only this user may open (0600). @throws LinkSetupError LINK_FAILED */
  openTerminal(): Promise<OpenTerminal>;
  /**
   * Puts a symbolic link to the terminal where programs look for it; programs find one or the other at any moment.
   * @returns where that is
   * @throws LinkSetupError LINK_IN_USE: something else stands there; LINK_USAGE: no such directory; LINK_PERMISSION, LINK_FAILED.
   */
  nameTerminal(terminal: number, place: TerminalPlace): Promise<{ readonly path: string }>;
  /**
   * Refuses others than those that have the terminal open (TIOCEXCL in ioctl_tty(2)); the super-user always may. The kernel keeps that
   * when all have closed it. The terminal is open for a moment, as for every program that opens it. @throws LinkSetupError
   */
  refuseOthers(terminal: number): Promise<void>;
  /**
   * Makes a terminal that all have closed fit for the next program: anybody may open it, and what was not read is gone. It is open for
   * a moment.
   * @returns false: it is kept for a program alone, and this user cannot change that.
   * @throws LinkSetupError
   */
  tidyTerminal(terminal: number): Promise<boolean>;
  /**
   * Removes the link, if it still leads to this terminal. Who has the terminal open gets a hang-up, once the caller has closed its
   * descriptor too. @throws LinkSetupError
   */
  closeTerminal(terminal: number): Promise<void>;

  /**
   * Hands an NBD export to the kernel, which serves it as a device of its own.
   * @throws LinkSetupError  LINK_USAGE, LINK_UNAVAILABLE (no nbd driver, no nbd-client), LINK_IN_USE, LINK_PERMISSION, LINK_FAILED
   */
  attachKernelNbd(options: KernelNbdOptions): Promise<{ readonly attachment: number }>;
  /** The kernel lets go of it. @throws LinkSetupError */
  detachKernelNbd(attachment: number): Promise<void>;

  /**
   * Makes the character device `/dev/NAME`.
   * @returns the connection over which the kernel sends its calls (fs/fuse/cuse.c); the device is there until it is closed.
   * @throws LinkSetupError LINK_UNAVAILABLE (no CUSE, no devtmpfs), LINK_PERMISSION, LINK_IN_USE, LINK_FAILED
   */
  openCuse(name: string): Promise<{ readonly fd: number }>;
}

export interface ListeningSocket {
  readonly listener: number;
  /** The socket. */
  readonly fd: number;
  /** TCP: which one it is. */
  readonly port?: number;
}

export interface OpenTerminal {
  readonly terminal: number;
  /** Its master side (pty(7)), open without waiting. The rights keep another descriptor of it until closeTerminal. */
  readonly master: number;
  /** Tells of each open and close of the other side (inotify(7)). */
  readonly uses: number;
  /** `/dev/pts/3` */
  readonly device: string;
}

export interface TerminalPlace {
  /** Of the device node: `ttyU0` */
  readonly nodeName: string;
  /** Absolute. A directory that is there: the link is in it, and called like the node. */
  readonly path: string;
  /** A terminal of these rights whose name this one takes over. */
  readonly replaces?: number;
}

export interface KernelNbdOptions {
  /** `/dev/nbd0` */
  readonly device: string;
  /** Where the export is served. */
  readonly socketPath: string;
  readonly exportName: string;
  /** What the kernel shall take for a sector: 512, 1024, 2048 or 4096. */
  readonly blockBytes: number;
}
