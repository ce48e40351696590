/** A Peer made of an accepted socket. */
import type { Socket } from "node:net";
import { Connection } from "./connection.js";
import type { ConnectionContext } from "./connection.js";
import type { Peer } from "./peer.js";

/**
 * Serves one accepted socket, which must be half-open capable and paused.
 * @returns the connection; it owns the socket.
 */
export function serveSocket(socket: Socket, context: ConnectionContext): Connection {
  const peer: Peer = {
    send(parts, sent) {
      if (socket.destroyed || !socket.writable) return;
      const last = parts.length - 1;
      if (last > 0) socket.cork();
      for (const [index, part] of parts.entries()) {
        if (index < last) socket.write(part);
        else socket.write(part, (error) => (error ? undefined : sent()));
      }
      if (last > 0) socket.uncork();
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    end: () => void socket.end(),
    destroy: () => void socket.destroy(),
  };
  const connection = new Connection(peer, context);
  socket.setNoDelay(true);
  socket.on("data", (chunk: Uint8Array) => connection.receive(chunk));
  socket.on("end", () => connection.peerEnded());
  socket.on("close", () => connection.peerClosed());
  // A client that resets its connection is its own business; "close" follows.
  socket.on("error", (error) => context.log.write({ level: "debug", source: context.source, message: error.message }));
  connection.start();
  return connection;
}
