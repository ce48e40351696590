/** A Peer made of an accepted socket. */
import type { Socket } from "node:net";
import { readSocket, writeParts } from "../../../rumpuser/real/socket-reader.js";
import { Connection } from "./connection.js";
import type { ConnectionContext } from "./connection.js";
import type { Peer } from "./peer.js";

/**
 * Serves one accepted socket, which must be half-open capable and paused.
 * @returns the connection; it owns the socket.
 */
export function serveSocket(accepted: Socket, context: ConnectionContext): Connection {
  const socket = readSocket(accepted, (chunk) => connection.receive(chunk));
  const peer: Peer = {
    send: (parts, sent) => {
      if (!socket.destroyed && socket.writable) writeParts(socket, parts, sent);
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    end: () => void socket.end(),
    destroy: () => void socket.destroy(),
  };
  const connection = new Connection(peer, context);
  socket.setNoDelay(true);
  socket.on("end", () => connection.peerEnded());
  socket.on("close", () => connection.peerClosed());
  // A client that resets its connection is its own business; "close" follows.
  socket.on("error", (error) => context.log.write({ level: "debug", source: context.source, message: error.message }));
  connection.start();
  socket.resume();
  return connection;
}
