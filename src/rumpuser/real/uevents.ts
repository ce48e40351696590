/**
 * Hot-plug messages straight from the kernel (netlink, NETLINK_KOBJECT_UEVENT): for machines where no udevd passes
 * them on. Only what the kernel itself sent arrives here.
 */
import { loadAddon, SystemCallError } from "./addon.js";

/** One message. `fields` has everything the kernel said, `DEVNAME` and `PRODUCT` for one, by the kernel's own keys. */
export interface Uevent {
  /** "add", "remove", "change", "bind", "unbind" … */
  readonly action: string;
  /** The device's folder below /sys. */
  readonly devpath: string;
  /** "usb", "block" …; "" when the kernel names none. */
  readonly subsystem: string;
  readonly fields: ReadonlyMap<string, string>;
}

export interface UeventHandlers {
  event(uevent: Uevent): void;
  /** The kernel sent more than was read in time: look at everything again. */
  lost(): void;
}

/** Listens until the returned function is called; keeps the process alive meanwhile. @throws SystemCallError */
export function listenUevents(handlers: UeventHandlers): () => void {
  const { UeventSocket } = loadAddon();
  const socket = new UeventSocket((bytes) => {
    if (bytes === undefined) {
      handlers.lost();
      return;
    }
    const uevent = parseUevent(bytes);
    if (uevent !== undefined) handlers.event(uevent);
  });
  const rc = socket.open();
  if (rc < 0) throw new SystemCallError("socket NETLINK_KOBJECT_UEVENT", rc);
  return () => socket.close();
}

/**
 * Reads "ACTION@DEVPATH", then KEY=VALUE strings, each ended by a zero byte. Undefined for anything else (udevd's own
 * messages start with "libudev").
 */
export function parseUevent(datagram: Uint8Array): Uevent | undefined {
  const [head, ...pairs] = new TextDecoder().decode(datagram).split("\0");
  const at = head?.indexOf("@") ?? -1;
  if (head === undefined || at < 1) return undefined;
  const fields = new Map<string, string>();
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    if (equals > 0) fields.set(pair.slice(0, equals), pair.slice(equals + 1));
  }
  return {
    action: fields.get("ACTION") ?? head.slice(0, at),
    devpath: fields.get("DEVPATH") ?? head.slice(at + 1),
    subsystem: fields.get("SUBSYSTEM") ?? "",
    fields,
  };
}
