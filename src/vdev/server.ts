/**
 * USB/IP server: exports device models on a Unix socket or on loopback TCP.
 *
 * Spec: usbip_protocol. A model outlives its clients: when one goes its URBs are taken back, and the next one finds the
 * device as it was, freshly reset unless it keeps its state. A device has one importer at a time.
 */
import net from "node:net";
import { streamOfSocket } from "../rumpuser/real/byte-stream.js";
import type { LogSink } from "../rumpuser/rumpuser.js";
import type { DeviceModel } from "./model.js";
import { ExportTable } from "./usbip-exports.js";
import { type ListenAddress, listenOn } from "./usbip-listen.js";
import { DEFAULT_LIMITS, Session, type SessionLimits } from "./usbip-session.js";

export { ExportError } from "./usbip-exports.js";
export { type ListenAddress, ListenError, type ListenErrorCode } from "./usbip-listen.js";
export type { SessionLimits } from "./usbip-session.js";

/** Connections at one time; more are closed at once. */
const MAX_CLIENTS = 64;

/** A client that has not imported a device in this time is dropped. */
const HANDSHAKE_MS = 10_000;

/** TCP: how long a client may be silent before the kernel asks whether it lives. */
const KEEP_ALIVE_MS = 30_000;

export interface ServeOptions {
  readonly listen: ListenAddress;
  readonly exports: readonly { readonly busId: string; readonly model: DeviceModel }[];
  readonly log?: LogSink;
  /** A device is not reset between two clients: as one that is plugged in here, whose driver dies. */
  readonly keepState?: boolean;
  /** Listen beyond loopback. USB/IP has no authentication: whoever reaches the port has the devices. */
  readonly allowRemote?: boolean;
  /** What one client may use of the server. */
  readonly limits?: Partial<SessionLimits>;
}

export interface ModelServer {
  /** Where it listens, with the port that was given. */
  readonly address: ListenAddress;
  /** Connections at this moment. */
  readonly clients: number;
  /** Exports a model, also again after it was unplugged. @throws ExportError */
  plug(busId: string, model: DeviceModel): void;
  /** Takes a device from the list and ends its importer's connection. @returns false when there is none. */
  unplug(busId: string): boolean;
  /** Ends every connection and stops listening. The models stay their maker's. */
  close(): Promise<void>;
}

/** @throws ListenError, ExportError */
export async function serveModels(options: ServeOptions): Promise<ModelServer> {
  const exports = new ExportTable();
  for (const { busId, model } of options.exports) exports.plug(busId, model);
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const sessions = new Set<Session>();
  let clientCount = 0;
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    if (sessions.size >= MAX_CLIENTS) {
      note("warn", `client dropped: ${MAX_CLIENTS} are connected already`);
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    startSession(socket);
  });

  const note = (level: "info" | "warn", message: string): void =>
    options.log?.write({ level, source: "usbip-server", message });

  const startSession = (socket: net.Socket): void => {
    const client = ++clientCount;
    const handshake = setTimeout(() => session.end(`no import within ${HANDSHAKE_MS} ms`), HANDSHAKE_MS);
    const session = new Session(streamOfSocket(socket), {
      exports,
      limits,
      keepState: options.keepState ?? false,
      onNote: (level, message) => note(level, `client ${client}: ${message}`),
      onImport: () => clearTimeout(handshake),
      onEnd() {
        clearTimeout(handshake);
        sessions.delete(session);
      },
    });
    sessions.add(session);
  };

  const address = await listenOn(server, options.listen, options.allowRemote ?? false);
  server.on("error", (error) => note("warn", `cannot accept a client: ${error.message}`));
  return {
    address,
    get clients() {
      return sessions.size;
    },
    plug: (busId, model) => exports.plug(busId, model),
    unplug: (busId) => exports.unplug(busId, "the device was unplugged"),
    close() {
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      for (const session of sessions) session.end("the server is closing");
      return closed;
    },
  };
}
