/** The link kind `nbd` on a device of this kernel: one disk as /dev/nbdN. */
import type { Device } from "../../rump/devsw.js";
import { LinkSetupError } from "./errors.js";
import type { Link, LinkContext, LinkedNode } from "./link.js";
import { diskOf, serveAlone } from "./nbd/served-disk.js";

export class KernelDevice implements Link {
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
      const { rights } = this.#context;
      const { attachment } = await rights.attachKernelNbd({
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
            await rights.detachKernelNbd(attachment);
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
