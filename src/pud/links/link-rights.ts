/**
 * What links need of the machine: paths, sockets, programs. A link has no rights of its own; it asks these.
 *
 * Arguments and results are plain data, so that whoever has the rights may be another process. Descriptors in a result are the
 * caller's, who closes them. What was made is called by a number, which means nothing to other rights. Every method rejects with a
 * LinkSetupError; one whose cause says that this machine has nothing left (isOutOfResources) may be tried again.
 */
import type { ListenAddress } from "./address.js";

export interface LinkRights {
  /**
   * Binds a socket and listens on it (listen(2)); a file is its owner's alone (0600), and one that nobody listens on any more is
   * replaced. Nobody accepts before the caller does.
   * @throws LinkSetupError LINK_USAGE, LINK_IN_USE, LINK_PERMISSION, LINK_UNAVAILABLE, LINK_FAILED
   */
  listen(address: ListenAddress): Promise<Listening>;
  /**
   * Removes the socket file, if it is still the one that was made; the descriptor is closed by whoever has it. Later calls do nothing.
   * @throws LinkSetupError  The file is still there.
   */
  unlisten(listener: number): Promise<void>;
}

export interface Listening {
  readonly listener: number;
  /** The socket. */
  readonly fd: number;
  /** TCP: which one it is. */
  readonly port?: number;
}
