/** The link kind `nbd`: disks as NBD exports, or as /dev/nbdN of this kernel (kernel-nbd-link.ts). */
import { join } from "node:path";
import type { Device, Disk } from "../../rump/devsw.js";
import { type ListenAddress, parseAddress } from "./address.js";
import { LinkSetupError } from "./errors.js";
import { LINK_FORMS } from "./forms.js";
import type { Link, LinkContext, LinkedNode, LinkKind } from "./link.js";
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
  switch (where.form) {
    case "socketPerNode":
      return new SocketPerNode(context);
    case "server":
      return new OneServer(await listenNbd({ address: where.address, log: context.log }));
    case "kernel":
      return new (await import("./kernel-nbd-link.js")).KernelDevice(where.device, context);
  }
}

/** @throws LinkSetupError LINK_USAGE: it is no disk. */
export function diskOf(device: Device, nodeName: string): Disk {
  if (device.kind === "disk") return device;
  throw new LinkSetupError("LINK_USAGE", `${nodeName} is a ${device.kind}; link nbd serves disks`);
}

function addDisk(server: NbdServer, nodeName: string, disk: Disk, blockSizeKnown = false): void {
  server.addExport(nodeName, disk, { description: disk.info.model, readOnly: disk.info.readOnly, blockSizeKnown });
}

/** A server of its own for one node, at a path that follows from its name. */
export async function serveAlone(
  nodeName: string,
  disk: Disk,
  { runtimeDir, log }: LinkContext,
  blockSizeKnown = false,
): Promise<{ server: NbdServer; socketPath: string }> {
  const socketPath = join(runtimeDir, `${nodeName}.nbd.sock`);
  const server = await listenNbd({ address: { unix: socketPath }, log });
  addDisk(server, nodeName, disk, blockSizeKnown);
  return { server, socketPath };
}

class SocketPerNode implements Link {
  readonly kind = "nbd";
  readonly #context: LinkContext;
  readonly #servers = new Set<NbdServer>();

  constructor(context: LinkContext) {
    this.#context = context;
  }

  async serve(nodeName: string, device: Device): Promise<LinkedNode> {
    const { server } = await serveAlone(nodeName, diskOf(device, nodeName), this.#context);
    this.#servers.add(server);
    return {
      uri: server.uri(nodeName),
      remove: async (reason) => {
        if (!this.#servers.delete(server)) return;
        await server.removeExport(nodeName, reason);
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

class OneServer implements Link {
  readonly kind = "nbd";
  readonly #server: NbdServer;

  constructor(server: NbdServer) {
    this.#server = server;
  }

  async serve(nodeName: string, device: Device): Promise<LinkedNode> {
    addDisk(this.#server, nodeName, diskOf(device, nodeName));
    return { uri: this.#server.uri(nodeName), remove: (reason) => this.#server.removeExport(nodeName, reason) };
  }

  close(): Promise<void> {
    return this.#server.close();
  }
}
