/** Links that serve serial lines on sockets: a socket for each node in the runtime folder, or one at a place of its own. */
import { join } from "node:path";
import type { Device, LineSettings, Tty } from "../../../rump/devsw.js";
import type { ListenAddress } from "../address.js";
import { LinkSetupError } from "../errors.js";
import type { Link, LinkContext, LinkedNode } from "../link.js";
import type { StartProtocol } from "./connection.js";
import { LineServer } from "./server.js";

/** What such a link speaks, and how its lines are opened. */
export interface TtyLinkKind {
  readonly kind: string;
  readonly settings: LineSettings;
  /** With these settings or not at all; else the nearest will do. */
  readonly exact: boolean;
  /** How programs find it: from `HOST:PORT`, or from the path of a Unix socket. */
  readonly uri: { readonly tcp: (place: string) => string; readonly unix: (path: string) => string };
  startProtocol(nodeName: string, tty: Tty): StartProtocol;
}

/** What lines are opened with until a client says otherwise. */
export const DEFAULT_SETTINGS: LineSettings = {
  baud: 115_200,
  dataBits: 8,
  parity: "none",
  stopBits: 1,
  flowControl: "none",
};

/** @param address  undefined: a socket for each node. @throws LinkSetupError */
export async function openTtyLink(
  kind: TtyLinkKind,
  address: ListenAddress | undefined,
  context: LinkContext,
): Promise<Link> {
  if (address === undefined) return new SocketPerNode(kind, context);
  return new OneSocket(kind, await LineServer.listen({ kind: kind.kind, address, log: context.log }), address);
}

function ttyOf({ kind }: TtyLinkKind, device: Device, nodeName: string): Tty {
  if (device.kind === "tty") return device;
  throw new LinkSetupError("LINK_USAGE", `${nodeName} is a ${device.kind}; link ${kind} serves ttys`);
}

function putBehind(server: LineServer, kind: TtyLinkKind, nodeName: string, tty: Tty): void {
  const { settings, exact } = kind;
  server.serve({ nodeName, tty, settings, exact, startProtocol: kind.startProtocol(nodeName, tty) });
}

class SocketPerNode implements Link {
  readonly kind: string;
  readonly #kind: TtyLinkKind;
  readonly #context: LinkContext;
  readonly #servers = new Set<LineServer>();

  constructor(kind: TtyLinkKind, context: LinkContext) {
    this.kind = kind.kind;
    this.#kind = kind;
    this.#context = context;
  }

  async serve(nodeName: string, device: Device): Promise<LinkedNode> {
    const tty = ttyOf(this.#kind, device, nodeName);
    const { runtimeDir, log } = this.#context;
    const address = { unix: join(runtimeDir, `${nodeName}.${this.kind}.sock`) };
    const server = await LineServer.listen({ kind: this.kind, address, log });
    putBehind(server, this.#kind, nodeName, tty);
    this.#servers.add(server);
    return {
      uri: this.#kind.uri.unix(server.place),
      remove: async (reason) => {
        if (!this.#servers.delete(server)) return;
        await server.takeAway(nodeName, reason);
        await server.close();
      },
    };
  }

  async close(): Promise<void> {
    const servers = [...this.#servers];
    this.#servers.clear();
    await Promise.all(servers.map((server) => server.close()));
  }
}

class OneSocket implements Link {
  readonly kind: string;
  readonly #kind: TtyLinkKind;
  readonly #server: LineServer;
  readonly #address: ListenAddress;

  constructor(kind: TtyLinkKind, server: LineServer, address: ListenAddress) {
    this.kind = kind.kind;
    this.#kind = kind;
    this.#server = server;
    this.#address = address;
  }

  async serve(nodeName: string, device: Device): Promise<LinkedNode> {
    putBehind(this.#server, this.#kind, nodeName, ttyOf(this.#kind, device, nodeName));
    const { uri } = this.#kind;
    return {
      uri: "unix" in this.#address ? uri.unix(this.#server.place) : uri.tcp(this.#server.place),
      remove: (reason) => this.#server.takeAway(nodeName, reason),
    };
  }

  close(): Promise<void> {
    return this.#server.close();
  }
}
