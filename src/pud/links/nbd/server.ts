/** The NBD server: one listening socket, any number of exports and clients. */
import { createServer } from "node:net";
import type { Socket } from "node:net";
import type { Disk } from "../../../rump/devsw.js";
import type { ListenAddress } from "../address.js";
import { realClock } from "../../../rumpuser/real/clock.js";
import type { Clock } from "../clock.js";
import type { Connection } from "./connection.js";
import { makeExport } from "./export.js";
import type { ExportOptions, NbdExport } from "./export.js";
import type { LinkLog } from "../link.js";
import type { LinkRights } from "../link-rights.js";
import { Listener } from "../listener.js";
import { serveSocket } from "./socket.js";
import { admit } from "../../../rumpuser/real/admission.js";

/** Clients at the same time; one more is hung up on. */
export const MAX_CONNECTIONS = 64;

export interface NbdServerOptions {
  readonly address: ListenAddress;
  readonly log: LinkLog;
  readonly rights: LinkRights;
  /** Tests bring their own. */
  readonly clock?: Clock;
}

export interface NbdServer {
  /**
   * Offers a disk. The only export of a server also answers to the empty name.
   * @throws RangeError when the name is taken, or name, description or disk cannot be exported.
   */
  addExport(name: string, disk: Disk, options: ExportOptions): void;
  /**
   * Takes it back: its clients are answered ESHUTDOWN and dropped a moment later.
   * Resolves when the last of them has gone and no call of the disk is open.
   */
  removeExport(name: string, reason: string): Promise<void>;
  /** `nbd+unix:///NAME?socket=PATH` or `nbd://HOST:PORT/NAME` (NBD URI specification). */
  uri(name: string): string;
  /** Clients that are connected, or have left calls of a disk behind. */
  readonly connections: number;
  /** Ends all clients as removeExport does, and removes the socket. @throws LinkSetupError */
  close(): Promise<void>;
}

/** @throws LinkSetupError */
export async function listenNbd(options: NbdServerOptions): Promise<NbdServer> {
  const server = new SocketServer(options);
  await server.listen();
  return server;
}

class SocketServer implements NbdServer {
  readonly #address: ListenAddress;
  readonly #log: LinkLog;
  readonly #clock: Clock;
  readonly #exports = new Map<string, NbdExport>();
  readonly #listener: Listener;
  /** Each with the promise that it is over. */
  readonly #connections = new Map<Connection, Promise<void>>();
  #accepted = 0;

  constructor({ address, log, rights, clock = realClock }: NbdServerOptions) {
    this.#address = address;
    this.#log = log;
    this.#clock = clock;
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => this.#accept(socket));
    this.#listener = new Listener(server, address, rights);
  }

  async listen(): Promise<void> {
    await this.#listener.listen(({ message }) => this.#log.write({ level: "error", source: "nbd", message }));
  }

  get connections(): number {
    return this.#connections.size;
  }

  addExport(name: string, disk: Disk, options: ExportOptions): void {
    if (this.#exports.has(name)) throw new RangeError(`export "${name}" exists already`);
    this.#exports.set(name, makeExport(name, disk, options));
  }

  async removeExport(name: string, reason: string): Promise<void> {
    const removed = this.#exports.get(name);
    if (!this.#exports.delete(name)) return;
    const users = [...this.#connections].filter(([connection]) => connection.export === removed);
    await end(users, reason);
  }

  uri(name: string): string {
    const path = encodeURIComponent(name);
    if ("unix" in this.#address) {
      const socket = this.#address.unix.split("/").map(encodeURIComponent).join("/");
      return `nbd+unix:///${path}?socket=${socket}`;
    }
    return `nbd://${this.#listener.place}/${path}`;
  }

  async close(): Promise<void> {
    await Promise.all([this.#listener.close(), end([...this.#connections], "the server is shutting down")]);
  }

  #accept(socket: Socket): void {
    if (!admit(socket)) return;
    if (this.#connections.size >= MAX_CONNECTIONS) {
      const message = `client refused: ${MAX_CONNECTIONS} are connected already`;
      this.#log.write({ level: "warn", source: "nbd", message });
      socket.destroy();
      return;
    }
    this.#accepted += 1;
    let onClosed = (): void => undefined;
    const closed = new Promise<void>((resolve) => {
      onClosed = resolve;
    });
    const connection = serveSocket(socket, {
      exports: this.#exports,
      clock: this.#clock,
      log: this.#log,
      source: `nbd/${this.#accepted}`,
      onClosed: () => {
        this.#connections.delete(connection);
        onClosed();
      },
    });
    this.#connections.set(connection, closed);
  }
}

async function end(connections: readonly (readonly [Connection, Promise<void>])[], reason: string): Promise<void> {
  for (const [connection] of connections) connection.shutDown(reason);
  await Promise.all(connections.map(([, closed]) => closed));
}
