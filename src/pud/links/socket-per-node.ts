/** A link with a server of its own for each node. */
import type { Device } from "../../rump/devsw.js";
import type { Link } from "./link.js";

/** It serves one node and nothing else. */
export interface NodeServer {
  readonly uri: string;
  /** As LinkedNode.remove; `close` follows. */
  takeAway(reason: string): Promise<void>;
  /** Ends its clients and removes its socket. */
  close(): Promise<void>;
}

/** @param start  Starts the server of a node. @throws LinkSetupError */
export function socketPerNode(kind: string, start: (nodeName: string, device: Device) => Promise<NodeServer>): Link {
  const servers = new Set<NodeServer>();
  return {
    kind,
    serve: async (nodeName, device) => {
      const server = await start(nodeName, device);
      servers.add(server);
      return {
        uri: server.uri,
        remove: async (reason) => {
          if (!servers.delete(server)) return;
          await server.takeAway(reason);
          await server.close();
        },
      };
    },
    close: async () => {
      const open = [...servers];
      servers.clear();
      await Promise.all(open.map((server) => server.close()));
    },
  };
}
