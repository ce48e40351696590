/** usbfs requests that no driver needs, and terminal requests, on the device's descriptor and on others. */
import { type Act, nr, rawAct } from "./act.js";

const IOCTL = nr(16, 29);
const IN = 2;
const OUT = 1;

/** _IOC of asm-generic/ioctl.h. */
function request(direction: number, type: number, number: number, bytes: number): number {
  return ((direction << 30) | (bytes << 16) | (type << 8) | number) >>> 0;
}

const USBFS_TYPE = 0x55;
/** A request of linux/usbdevice_fs.h. */
export const usbfs = (direction: number, number: number, bytes: number): number =>
  request(direction, USBFS_TYPE, number, bytes);

/** linux/usbdevice_fs.h; sizes of a 64-bit system. */
const REFUSED_ON_THE_DEVICE: readonly (readonly [name: string, request: number])[] = [
  ["USBDEVFS_BULK", usbfs(IN | OUT, 2, 24)],
  ["USBDEVFS_RESETEP", usbfs(IN, 3, 4)],
  ["USBDEVFS_GETDRIVER", usbfs(OUT, 8, 260)],
  ["USBDEVFS_REAPURB", usbfs(OUT, 12, 8)],
  ["USBDEVFS_DISCSIGNAL", usbfs(IN, 14, 16)],
  ["USBDEVFS_IOCTL", usbfs(IN | OUT, 18, 16)],
  ["USBDEVFS_HUB_PORTINFO", usbfs(IN, 19, 128)],
  ["USBDEVFS_DISCONNECT", usbfs(0, 22, 0)],
  ["USBDEVFS_CONNECT", usbfs(0, 23, 0)],
  ["USBDEVFS_CLAIM_PORT", usbfs(IN, 24, 4)],
  ["USBDEVFS_RELEASE_PORT", usbfs(IN, 25, 4)],
  ["USBDEVFS_DISCONNECT_CLAIM", usbfs(IN, 27, 264)],
  ["USBDEVFS_DROP_PRIVILEGES", usbfs(OUT, 30, 4)],
  ["USBDEVFS_CONNINFO_EX", usbfs(IN, 32, 24)],
  ["USBDEVFS_FORBID_SUSPEND", usbfs(0, 33, 0)],
  ["USBDEVFS_ALLOW_SUSPEND", usbfs(0, 34, 0)],
  ["USBDEVFS_WAIT_FOR_RESUME", usbfs(0, 35, 0)],
];

const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;
const TIOCSCTTY = 0x540e;
const USBDEVFS_SUBMITURB = usbfs(IN, 10, 56);
const buffer = (): Uint8Array => new Uint8Array(512);

export const DEVICE_ACTS: readonly Act[] = [
  ...REFUSED_ON_THE_DEVICE.map(([name, code]) =>
    rawAct("device", `${name} on the device`, IOCTL, ({ deviceFd }) => [deviceFd, code, buffer()]),
  ),
  rawAct("device", "USBDEVFS_SUBMITURB on another descriptor", IOCTL, () => [3, USBDEVFS_SUBMITURB, buffer()]),
  rawAct("device", "TIOCSTI: type into the terminal", IOCTL, () => [1, TIOCSTI, "x"]),
  rawAct("device", "TIOCLINUX: paste into the console", IOCTL, () => [1, TIOCLINUX, "\u0003"]),
  rawAct("device", "TIOCSCTTY: take a terminal", IOCTL, () => [1, TIOCSCTTY, 0]),
  rawAct("sockets", "listen on the channel", nr(50, 201), () => [3, 1]),
  rawAct("device", "FIOASYNC: signals from the device", IOCTL, ({ deviceFd }) => [deviceFd, 0x5452, buffer()]),
];
