/** The link kind `nbd`: disks as NBD exports, or as /dev/nbdN of this kernel (kernel-nbd-link.ts). */
import { type ListenAddress, parseAddress } from "./address.js";
import { LinkSetupError } from "./errors.js";
import { LINK_FORMS } from "./forms.js";
import { KernelDevice } from "./kernel-nbd-link.js";
import type { Link, LinkContext, LinkKind } from "./link.js";
import { socketPerNode } from "./socket-per-node.js";
import { addDisk, diskOf, serveAlone } from "./nbd/served-disk.js";
import { listenNbd, type NbdServer } from "./nbd/server.js";

/** Where the disks go: a socket for each node, one server for all, or one device of the kernel. */
export type NbdWhere =
  | { readonly form: "socketPerNode" }
  | { readonly form: "server"; readonly address: ListenAddress }
  | { readonly form: "kernel"; readonly device: string };

/** The name of a device in the kernel's driver: `nbd0`. */
const KERNEL_DEVICE = /^\/dev\/nbd\d{1,3}$/;

export const nbdLink: LinkKind<NbdWhere> = { parseWhere: parseNbdWhere, open: openNbdLink };

function parseNbdWhere(text: string | undefined): NbdWhere {
  if (text === undefined) return { form: "socketPerNode" };
  if (text.startsWith("/dev/")) {
    if (!KERNEL_DEVICE.test(text)) throw usage(text, "a kernel device is /dev/nbd0, /dev/nbd1 …");
    return { form: "kernel", device: text };
  }
  return { form: "server", address: parseAddress(text, (why) => usage(text, why)) };
}

function usage(text: string, why: string): LinkSetupError {
  return new LinkSetupError("LINK_USAGE", `link nbd=${text}: ${why}; allowed are ${LINK_FORMS.nbd}`);
}

async function openNbdLink(where: NbdWhere, context: LinkContext): Promise<Link> {
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
