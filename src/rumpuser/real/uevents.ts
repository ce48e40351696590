/**
 * Hot-plug messages straight from the kernel (netlink, NETLINK_KOBJECT_UEVENT): for machines where no udevd passes
 * them on. Only what the kernel itself sent arrives here.
 */
import { loadAddon, SystemCallError } from "./addon.js";

/**
 * Calls `changed` when the kernel tells of a USB device or interface, and when it sent more than was read in time. Listens until
 * the returned function is called; keeps the process alive meanwhile.
 * @throws SystemCallError
 */
export function watchUsbUevents(changed: () => void): () => void {
  const { UeventSocket } = loadAddon();
  const socket = new UeventSocket((datagram) => {
    if (datagram === undefined || isUsbUevent(datagram)) changed();
  });
  const rc = socket.open();
  if (rc < 0) throw new SystemCallError("socket NETLINK_KOBJECT_UEVENT", rc);
  return () => socket.close();
}

/** "ACTION@DEVPATH", then KEY=VALUE strings, each ended by a zero byte; udevd's own messages start with "libudev". */
export function isUsbUevent(datagram: Uint8Array): boolean {
  const [head = "", ...fields] = new TextDecoder().decode(datagram).split("\0");
  return head.indexOf("@") > 0 && fields.includes("SUBSYSTEM=usb");
}
