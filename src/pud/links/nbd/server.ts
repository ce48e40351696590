/** The NBD server: one listening socket, any number of exports and clients. */
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import type { Disk } from "../../../rump/devsw.js";
import { checkAddress, hostAndPort, listen } from "../address.js";
import type { ListenAddress } from "../address.js";
import { realClock } from "../../../rumpuser/real/clock.js";
import type { Clock } from "../clock.js";
import type { Connection } from "./connection.js";
import { makeExport } from "./export.js";
import type { ExportOptions, NbdExport } from "./export.js";
import type { LinkLog } from "../link.js";
import { serveSocket } from "./socket.js";

/** Clients at the same time; one more is hung up on. */
export const MAX_CONNECTIONS = 64;

export interface NbdServerOptions {
  readonly address: ListenAddress;
  readonly log: LinkLog;
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
  /** Ends all clients as removeExport does, and removes the socket. */
  close(): Promise<void>;
}

/** @throws LinkSetupError */
export async function listenNbd(options: NbdServerOptions): Promise<NbdServer> {
  checkAddress(options.address);
  const server = new SocketServer(options);
  await server.listen();
  return server;
}

class SocketServer implements NbdServer {
  readonly #address: ListenAddress;
  readonly #log: LinkLog;
  readonly #clock: Clock;
  readonly #exports = new Map<string, NbdExport>();
  readonly #server: Server;
  /** Each with the promise that it is over. */
  readonly #connections = new Map<Connection, Promise<void>>();
  #port = 0;
  #accepted = 0;

  constructor({ address, log, clock = realClock }: NbdServerOptions) {
    this.#address = address;
    this.#log = log;
    this.#clock = clock;
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => this.#accept(socket));
  }

  async listen(): Promise<void> {
    await listen(this.#server, this.#address);
    // From here on an error of the listening socket (out of descriptors) costs one client, not the server.
    this.#server.on("error", (error) => this.#log.write({ level: "error", source: "nbd", message: error.message }));
    const bound = this.#server.address();
    if (bound !== null && typeof bound === "object") this.#port = bound.port;
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
    return `nbd://${hostAndPort(this.#address, this.#port)}/${path}`;
  }

  async close(): Promise<void> {
    // Closing the listening socket also removes its file.
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await end([...this.#connections], "the server is shutting down");
    await closed;
  }

  #accept(socket: Socket): void {
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
