/** A listening socket with one serial line behind it, and at most one client. */
import { createServer } from "node:net";
import type { Socket } from "node:net";
import { DeviceError, type LineSettings, type Tty } from "../../../rump/devsw.js";
import type { ListenAddress } from "../address.js";
import { realClock } from "../../../rumpuser/real/clock.js";
import { LinkSetupError } from "../errors.js";
import type { LinkLog } from "../link.js";
import type { LinkRights } from "../link-rights.js";
import { Listener } from "../listener.js";
import { LineConnection, type StartProtocol } from "./connection.js";
import { refusalWord } from "./refusal.js";
import { admit } from "../../../rumpuser/real/admission.js";

/** A line as it is served. */
export interface ServedTty {
  readonly nodeName: string;
  readonly tty: Tty;
  readonly settings: LineSettings;
  /** With these settings or not at all. */
  readonly exact: boolean;
  readonly startProtocol: StartProtocol;
}

export interface LineServerOptions {
  /** The kind of link: for the log. */
  readonly kind: string;
  readonly address: ListenAddress;
  readonly log: LinkLog;
  readonly rights: LinkRights;
}

export class LineServer {
  readonly #options: LineServerOptions;
  readonly #listener: Listener;
  #served: ServedTty | undefined;
  /** Who has the line. */
  #client: LineConnection | undefined;
  /** And those whose streams have not gone yet. */
  readonly #connections = new Set<LineConnection>();

  private constructor(options: LineServerOptions) {
    this.#options = options;
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#listener = new Listener(server, options.address, options.rights);
  }

  /** @throws LinkSetupError */
  static async listen(options: LineServerOptions): Promise<LineServer> {
    const server = new LineServer(options);
    await server.#listener.listen((error) => server.#log("error", options.kind, error.message));
    return server;
  }

  /** `HOST:PORT`, or the path of the Unix socket. */
  get place(): string {
    return this.#listener.place;
  }

  /** Puts a line behind the socket. @throws LinkSetupError LINK_IN_USE: there is one. */
  serve(served: ServedTty): void {
    if (this.#served !== undefined)
      throw new LinkSetupError(
        "LINK_IN_USE",
        `${this.place} is ${this.#served.nodeName} already; ${served.nodeName} needs another`,
      );
    this.#served = served;
  }

  /** Takes the line away from the socket and from its client. */
  async takeAway(nodeName: string, reason: string): Promise<void> {
    if (this.#served?.nodeName !== nodeName) return;
    this.#served = undefined;
    await this.#endAll(reason);
  }

  /** Ends the client, and removes the socket. @throws LinkSetupError */
  async close(): Promise<void> {
    await Promise.all([this.#listener.close(), this.#endAll("the link is closed")]);
  }

  async #endAll(reason: string): Promise<void> {
    const connections = [...this.#connections];
    for (const connection of connections) connection.shutDown(reason);
    await Promise.all(connections.map((connection) => connection.closed));
  }

  #accept(socket: Socket): void {
    if (!admit(socket)) return;
    const { kind, log } = this.#options;
    const served = this.#served;
    if (served === undefined) return this.#refuse(socket, new DeviceError("ENODEV", "there is no line here now"));
    const { nodeName, tty, settings, exact, startProtocol } = served;
    if (this.#client?.stale === true) this.#client.shutDown("another client has come");
    if (this.#client !== undefined) return this.#refuse(socket, new DeviceError("EBUSY", `${nodeName} is in use`));
    socket.setNoDelay(true);
    const source = `${kind}/${nodeName}`;
    const client = new LineConnection(socket, { tty, settings, exact, startProtocol, clock: realClock, log, source });
    this.#client = client;
    this.#connections.add(client);
    void client.released.then(() => {
      this.#client = undefined;
    });
    void client.closed.then(() => this.#connections.delete(client));
  }

  /** A word for who looks, and the end. */
  #refuse(socket: Socket, why: DeviceError): void {
    this.#log("warn", this.#options.kind, `client refused: ${why.message}`);
    socket.on("error", (error) => this.#log("debug", this.#options.kind, error.message));
    socket.end(refusalWord(why), () => socket.destroy());
  }

  #log(level: "debug" | "warn" | "error", source: string, message: string): void {
    this.#options.log.write({ level, source, message });
  }
}
