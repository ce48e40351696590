/** A device node as an export of an NBD server. */
import { join } from "node:path";
import type { Device, Disk } from "../../../rump/devsw.js";
import { LinkSetupError } from "../errors.js";
import type { LinkContext } from "../link.js";
import { listenNbd, type NbdServer } from "./server.js";

/** @throws LinkSetupError LINK_USAGE: it is no disk. */
export function diskOf(device: Device, nodeName: string): Disk {
  if (device.kind === "disk") return device;
  throw new LinkSetupError("LINK_USAGE", `${nodeName} is a ${device.kind}; link nbd serves disks`);
}

/** Offers it as its node is called. @throws RangeError */
export function addDisk(server: NbdServer, nodeName: string, disk: Disk, blockSizeKnown = false): void {
  server.addExport(nodeName, disk, { description: disk.info.model, readOnly: disk.info.readOnly, blockSizeKnown });
}

/** A server of its own for one node, at a path that follows from its name. */
export async function serveAlone(
  nodeName: string,
  disk: Disk,
  { runtimeDir, log, rights }: LinkContext,
  blockSizeKnown = false,
): Promise<{ server: NbdServer; socketPath: string }> {
  const socketPath = join(runtimeDir, `${nodeName}.nbd.sock`);
  const server = await listenNbd({ address: { unix: socketPath }, log, rights });
  addDisk(server, nodeName, disk, blockSizeKnown);
  return { server, socketPath };
}
