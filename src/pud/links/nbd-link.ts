/** The link kind `nbd`: disks as NBD exports, or as /dev/nbdN of this kernel (kernel-nbd-link.ts). */
import { KernelDevice } from "./kernel-nbd-link.js";
import type { Link, LinkContext } from "./link.js";
import { socketPerNode } from "./socket-per-node.js";
import { addDisk, diskOf, serveAlone } from "./nbd/served-disk.js";
import { listenNbd, type NbdServer } from "./nbd/server.js";
import type { NbdWhere } from "./wheres.js";

/** @throws LinkSetupError */
export async function openNbdLink(where: NbdWhere, context: LinkContext): Promise<Link> {
  const { log, rights } = context;
  switch (where.form) {
    case "socketPerNode":
      return socketPerNode("nbd", async (nodeName, device) => {
        const { server } = await serveAlone(nodeName, diskOf(device, nodeName), context);
        const takeAway = (reason: string): Promise<void> => server.removeExport(nodeName, reason);
        return { uri: server.uri(nodeName), takeAway, close: () => server.close() };
      });
    case "server":
      return oneServer(await listenNbd({ address: where.address, log, rights }));
    case "kernel":
      return new KernelDevice(where.device, context);
  }
}

function oneServer(server: NbdServer): Link {
  return {
    kind: "nbd",
    serve: async (nodeName, device) => {
      addDisk(server, nodeName, diskOf(device, nodeName));
      return { uri: server.uri(nodeName), remove: (reason) => server.removeExport(nodeName, reason) };
    },
    close: () => server.close(),
  };
}
