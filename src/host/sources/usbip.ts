/** A device of a USB/IP server: the host connects, the rump process speaks the protocol. */
import net from "node:net";
import { allDrivers, type DriverToLoad } from "../../dev/usb/driver-modules.js";
import type { Clock } from "../../rumpuser/rumpuser.js";
import { HostError, isOutOfResources, messageOf } from "../errors.js";
import type { UsbipAddress } from "../selector.js";
import type { DeviceSource, OpenedDevice } from "./source.js";

const CONNECT_MS = 10_000;

export interface UsbipSourceOptions {
  readonly key: string;
  readonly address: UsbipAddress;
  readonly busId: string;
  readonly clock: Clock;
  /** Whoever made the source hears of an unplug in another way: a server that is still there has the same device still. */
  readonly unplugIsTold?: boolean;
  /** Left out: those that come with the project. */
  readonly drivers?: readonly DriverToLoad[];
}

export function usbipSource(options: UsbipSourceOptions): DeviceSource {
  return { key: options.key, mayReturn: true, open: async () => await connect(options) };
}

async function connect(options: UsbipSourceOptions): Promise<OpenedDevice> {
  const { address, busId, clock, drivers = allDrivers(), unplugIsTold = false } = options;
  let socket = await connectUnread(address, clock);
  return {
    bus: { kind: "usbip", busId },
    // What the device is, only the rump process will know.
    drivers,
    get descriptor() {
      return socket;
    },
    closeDescriptor: () => socket.destroy(),
    reopen: async () => {
      socket.destroy();
      socket = await connectAgain(address, clock);
      return unplugIsTold; // the protocol has no word for "still the same"
    },
    release: async () => void socket.destroy(),
  };
}

/** A server that was there and is not has taken the device with it. @throws HostError DEVICE_GONE, NO_RESOURCES */
async function connectAgain(address: UsbipAddress, clock: Clock): Promise<net.Socket> {
  try {
    return await connectUnread(address, clock);
  } catch (error) {
    if (isOutOfResources(error)) throw error;
    throw new HostError("DEVICE_GONE", messageOf(error), { cause: error });
  }
}

/**
 * Connects and reads nothing: every byte that the server sends is for the process that inherits the socket.
 *
 * @throws HostError USBIP; NO_RESOURCES where this machine has no descriptors or no memory for it.
 */
export async function connectUnread(address: UsbipAddress, clock: Clock): Promise<net.Socket> {
  const where = "unix" in address ? `unix:${address.unix}` : `${address.host}:${address.port}`;
  const socket = new net.Socket();
  socket.pause(); // before it connects, or Node starts to read at once
  const timer = clock.startTimer(CONNECT_MS, () =>
    socket.destroy(new Error(`no answer within ${CONNECT_MS / 1000} s`)),
  );
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.on("error", reject); // stays: a socket that breaks later is the rump process's to notice
      if ("unix" in address) socket.connect(address.unix);
      else socket.connect(address.port, address.host);
    });
  } catch (error) {
    socket.destroy();
    const code = isOutOfResources(error) ? "NO_RESOURCES" : "USBIP";
    throw new HostError(code, `USB/IP server ${where}: ${messageOf(error)}`, { cause: error });
  } finally {
    timer.cancel();
  }
  socket.setNoDelay(true);
  return socket;
}
