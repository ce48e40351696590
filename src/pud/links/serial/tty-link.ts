/** Links that serve serial lines on sockets: a socket for each node in the runtime folder, or one at a place of its own. */
import { join } from "node:path";
import type { Device, LineSettings, Tty } from "../../../rump/devsw.js";
import type { ListenAddress } from "../address.js";
import { LinkSetupError } from "../errors.js";
import type { Link, LinkContext } from "../link.js";
import { type NodeServer, socketPerNode } from "../socket-per-node.js";
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

/** @param address  undefined: a socket for each node. @throws LinkSetupError */
export async function openTtyLink(
  kind: TtyLinkKind,
  address: ListenAddress | undefined,
  context: LinkContext,
): Promise<Link> {
  if (address === undefined)
    return socketPerNode(kind.kind, (nodeName, device) => serveAlone(kind, context, nodeName, device));
  return oneSocket(
    kind,
    await LineServer.listen({ kind: kind.kind, address, log: context.log, rights: context.rights }),
    address,
  );
}

function ttyOf({ kind }: TtyLinkKind, device: Device, nodeName: string): Tty {
  if (device.kind === "tty") return device;
  throw new LinkSetupError("LINK_USAGE", `${nodeName} is a ${device.kind}; link ${kind} serves ttys`);
}

function putBehind(server: LineServer, kind: TtyLinkKind, nodeName: string, tty: Tty): void {
  const { settings, exact } = kind;
  server.serve({ nodeName, tty, settings, exact, startProtocol: kind.startProtocol(nodeName, tty) });
}

async function serveAlone(
  kind: TtyLinkKind,
  { runtimeDir, log, rights }: LinkContext,
  nodeName: string,
  device: Device,
): Promise<NodeServer> {
  const tty = ttyOf(kind, device, nodeName);
  const address = { unix: join(runtimeDir, `${nodeName}.${kind.kind}.sock`) };
  const server = await LineServer.listen({ kind: kind.kind, address, log, rights });
  putBehind(server, kind, nodeName, tty);
  const takeAway = (reason: string): Promise<void> => server.takeAway(nodeName, reason);
  return { uri: kind.uri.unix(server.place), takeAway, close: () => server.close() };
}

function oneSocket(kind: TtyLinkKind, server: LineServer, address: ListenAddress): Link {
  const { unix, tcp } = kind.uri;
  return {
    kind: kind.kind,
    serve: async (nodeName, device) => {
      putBehind(server, kind, nodeName, ttyOf(kind, device, nodeName));
      const uri = "unix" in address ? unix(server.place) : tcp(server.place);
      return { uri, remove: (reason) => server.takeAway(nodeName, reason) };
    },
    close: () => server.close(),
  };
}
