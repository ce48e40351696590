/** Links for serial lines, on sockets, with a line in memory behind them. */
import { once } from "node:events";
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { type Duplex, duplexPair } from "node:stream";
import { type Link, type LinkedNode, openLink, parseLink } from "../../../../src/pud/links/links.js";
import { LineConnection, type StartProtocol } from "../../../../src/pud/links/serial/connection.js";
import { DEFAULT_SETTINGS } from "../../../../src/pud/links/wheres.js";
import { linkContext } from "../../../fakes/link-context.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { HandClock, RecordingLog } from "../nbd/rig.js";

export interface LinkRig extends AsyncDisposable {
  readonly tty: MemoryTty;
  readonly log: RecordingLog;
  readonly link: Link;
  readonly node: LinkedNode;
  readonly port: number;
}

/** Serves `ttyU0` on a port of this machine that the system chooses. */
export async function serveOnTcp(kind: string, tty = new MemoryTty()): Promise<LinkRig> {
  const log = new RecordingLog();
  const link = await openLink(parseLink(kind), linkContext("/nowhere", log));
  const node = await link.serve("ttyU0", tty);
  const port = Number(/:(\d+)$/.exec(node.uri)?.[1]);
  return { tty, log, link, node, port, [Symbol.asyncDispose]: () => link.close() };
}

/** A client that keeps what it gets. */
export class PlainClient {
  readonly socket: Socket;
  readonly closed: Promise<unknown>;
  #received: Buffer[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = once(socket, "close");
    socket.on("data", (chunk: Buffer) => this.#received.push(chunk));
    socket.on("error", () => undefined);
  }

  static async dial(where: NetConnectOpts): Promise<PlainClient> {
    const socket = connect(where);
    await once(socket, "connect");
    return new PlainClient(socket);
  }

  get received(): Buffer {
    return Buffer.concat(this.#received);
  }

  write(data: Uint8Array | string): void {
    this.socket.write(data);
  }
}

/** Waits until something is so; the test's own time limit ends it. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 2));
}

export interface StreamRig {
  readonly tty: MemoryTty;
  readonly log: RecordingLog;
  readonly clock: HandClock;
  readonly connection: LineConnection;
  /** The client's end. */
  readonly client: Duplex;
  /** What the client has read. */
  received(): Buffer;
  /** The client is gone from one moment to the next. */
  vanish(): void;
  isClosed(): boolean;
}

/** One connection without sockets, in time that passes when the test says so. */
export async function connectInMemory(
  startProtocol: StartProtocol,
  tty = new MemoryTty(),
  { deaf = false } = {},
): Promise<StreamRig> {
  const [client, server] = duplexPair();
  const log = new RecordingLog();
  const clock = new HandClock();
  const connection = new LineConnection(server, {
    tty,
    settings: DEFAULT_SETTINGS,
    exact: true,
    startProtocol,
    clock,
    log,
    source: "test",
  });
  let closed = false;
  void connection.closed.then(() => {
    closed = true;
  });
  const parts: Buffer[] = [];
  if (!deaf) client.on("data", (chunk: Buffer) => parts.push(chunk));
  await settled();
  return {
    tty,
    log,
    clock,
    connection,
    client,
    received: () => Buffer.concat(parts),
    vanish: () => void server.destroy(),
    isClosed: () => closed,
  };
}

/** Everything that can happen without time passing has happened. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}
