/** The link kind `nbd`: disks as NBD exports, or as /dev/nbdN of this kernel. */
import { join } from "node:path";
import type { Device, Disk } from "../../rump/devsw.js";
import { addressForms, parseAddress } from "./address.js";
import type { ListenAddress } from "./address.js";
import { LinkSetupError } from "./errors.js";
import { attachKernelNbd, kernelNbdName } from "./kernel-nbd.js";
import type { Link, LinkContext, LinkedNode } from "./link.js";
import { listenNbd } from "./nbd/server.js";
import type { NbdServer } from "./nbd/server.js";

/** Where the disks go: a socket for each node, one server for all, or one device of the kernel. */
export type NbdWhere =
  | { readonly form: "socketPerNode" }
  | { readonly form: "server"; readonly address: ListenAddress }
  | { readonly form: "kernel"; readonly device: string };

export const NBD_FORMS = `nbd, ${addressForms("nbd")}, nbd=/dev/nbdN`;

/** @throws LinkSetupError LINK_USAGE */
export function parseNbdWhere(text: string | undefined): NbdWhere {
  if (text === undefined) return { form: "socketPerNode" };
  if (text.startsWith("/dev/")) {
    if (kernelNbdName(text) === undefined) throw usage(text, "a kernel device is /dev/nbd0, /dev/nbd1 …");
    return { form: "kernel", device: text };
  }
  return { form: "server", address: parseAddress(text, (why) => usage(text, why)) };
}

function usage(text: string, why: string): LinkSetupError {
  return new LinkSetupError("LINK_USAGE", `link nbd=${text}: ${why}; allowed are ${NBD_FORMS}`);
}

/** @throws LinkSetupError */
export async function openNbdLink(where: NbdWhere, context: LinkContext): Promise<Link> {
  switch (where.form) {
    case "socketPerNode":
      return new SocketPerNode(context);
    case "server":
      return new OneServer(await listenNbd({ address: where.address, log: context.log }));
    case "kernel":
      return new KernelDevice(where.device, context);
  }
}

function diskOf(device: Device, nodeName: string): Disk {
  if (device.kind === "disk") return device;
  throw new LinkSetupError("LINK_USAGE", `${nodeName} is a ${device.kind}; link nbd serves disks`);
}

function addDisk(server: NbdServer, nodeName: string, disk: Disk, blockSizeKnown = false): void {
  server.addExport(nodeName, disk, { description: disk.info.model, readOnly: disk.info.readOnly, blockSizeKnown });
}

/** A server of its own for one node, at a path that follows from its name. */
async function serveAlone(
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

class KernelDevice implements Link {
  readonly kind = "nbd";
  readonly #device: string;
  readonly #context: LinkContext;
  #served: { readonly nodeName: string; readonly end: (reason: string) => Promise<void> } | undefined;

  constructor(device: string, context: LinkContext) {
    this.#device = device;
    this.#context = context;
  }

  async serve(nodeName: string, device: Device): Promise<LinkedNode> {
    const disk = diskOf(device, nodeName);
    if (this.#served !== undefined)
      throw new LinkSetupError(
        "LINK_IN_USE",
        `${this.#device} is ${this.#served.nodeName} already; ${nodeName} needs another`,
      );
    // nbd-client is told the block size on its command line and does not ask the server.
    const { server, socketPath } = await serveAlone(nodeName, disk, this.#context, true);
    try {
      const attached = await attachKernelNbd({
        device: this.#device,
        socketPath,
        exportName: nodeName,
        blockBytes: disk.info.blockBytes,
      });
      const served = {
        nodeName,
        end: async (reason: string): Promise<void> => {
          if (this.#served !== served) return;
          this.#served = undefined;
          // The kernel first: it says goodbye on the socket. If it will not, its requests end with the export.
          try {
            await attached.detach();
          } finally {
            await server.removeExport(nodeName, reason);
            await server.close();
          }
        },
      };
      this.#served = served;
      return { uri: server.uri(nodeName), path: this.#device, remove: served.end };
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#served?.end("the link is closed");
  }
}
