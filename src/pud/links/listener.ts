/** A server of Node's on a socket that the rights have made. */
import { once } from "node:events";
import type { Server } from "node:net";
import { type ListenAddress, hostAndPort } from "./address.js";
import { LinkSetupError, messageOf } from "./errors.js";
import type { LinkRights } from "./link-rights.js";

export class Listener {
  readonly #server: Server;
  readonly #address: ListenAddress;
  readonly #rights: LinkRights;
  #port = 0;
  #listener: number | undefined;

  constructor(server: Server, address: ListenAddress, rights: LinkRights) {
    this.#server = server;
    this.#address = address;
    this.#rights = rights;
  }

  /**
   * The server takes clients from then on.
   * @param failed  Told of errors of the listening socket (out of descriptors): each costs one client, not the server.
   * @throws LinkSetupError
   */
  async listen(failed: (error: Error) => void): Promise<void> {
    const { listener, fd, port = 0 } = await this.#rights.listen(this.#address);
    this.#listener = listener;
    this.#port = port;
    const listening = once(this.#server, "listening");
    this.#server.listen({ fd });
    try {
      await listening;
    } catch (error) {
      await this.#rights.unlisten(listener);
      throw new LinkSetupError("LINK_FAILED", `${this.place}: ${messageOf(error)}`, { cause: error });
    }
    this.#server.on("error", failed);
  }

  /** `HOST:PORT` with the port that was bound, or the path of the Unix socket. */
  get place(): string {
    return "unix" in this.#address ? this.#address.unix : hostAndPort(this.#address, this.#port);
  }

  /** Takes no more clients, and removes the socket file. Resolves when the last client has gone as well. @throws LinkSetupError */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => void this.#server.close(() => resolve()));
    const removed = this.#listener === undefined ? undefined : this.#rights.unlisten(this.#listener);
    await Promise.all([closed, removed]);
  }
}
