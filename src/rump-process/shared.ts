/**
 * Several devices in one process: each has a kernel, a bus and a channel of its own, and comes and goes by itself.
 *
 * Orders come as lines of JSON; the descriptor of an ordered device has been sent already, so that taking it does not wait. A
 * device that has ended is told with two bytes: its slot, and the status with which a process of its own would have ended. Any
 * number of the locked range may become a device's: below it every descriptor stays open, and what ends within it is free again.
 */
import type { Driver } from "../dev/usb/usbdi.js";
import { streamOfFd } from "../rumpuser/real/byte-stream.js";
import type { ByteStream } from "../rumpuser/rumpuser.js";
import type { DeviceOrder } from "./config.js";
import type { RumpDevice } from "./device.js";

export interface SharedOptions {
  readonly orders: ByteStream;
  /** One for each slot, made before the lock: a kernel draws its randomness at its start. */
  readonly devices: readonly RumpDevice[];
  /** Takes what was sent for the slot. @returns its descriptor, the caller's. */
  readonly takeDescriptor: (slot: number) => number;
  readonly channelFd: (slot: number) => number;
  /** Loaded ones, for those that are named. @throws Error: one of them is not loaded. */
  readonly driversOf: (order: DeviceOrder) => readonly Driver[];
}

/** Serves what is ordered; `orders` that end are the host's end. */
export function serveShared(options: SharedOptions): void {
  const { orders } = options;
  const decoder = new TextDecoder();
  let text = "";
  orders.onClose(() => process.exit(0));
  orders.onData((chunk) => {
    const lines = (text + decoder.decode(chunk, { stream: true })).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      const order = JSON.parse(line) as DeviceOrder;
      void serveOne(order, options).then((status) => orders.write([Uint8Array.of(order.slot, status)]));
    }
  });
}

/** @returns the status with which a process of its own would have ended. */
async function serveOne(order: DeviceOrder, options: SharedOptions): Promise<number> {
  const { slot, device: config } = order;
  const device = options.devices[slot];
  if (device === undefined) throw new Error(`a device for slot ${slot}, of ${options.devices.length}`);
  const deviceFd = options.takeDescriptor(slot);
  const { channel, closed } = watched(streamOfFd(options.channelFd(slot)));
  const attached = await device.serve({
    config,
    drivers: options.driversOf(order),
    channel,
    deviceFd,
    onLost: () => void device.kernel.shutdown(),
  });
  await closed;
  await device.kernel.shutdown();
  await device.release();
  return attached ? 0 : 1;
}

/** `closed` resolves when the stream has ended, whoever ended it. */
function watched(stream: ByteStream): { channel: ByteStream; closed: Promise<void> } {
  let ended = (): void => {};
  const closed = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const channel: ByteStream = {
    onData: (read) => stream.onData(read),
    onClose: (tell) =>
      stream.onClose((reason) => {
        tell(reason);
        ended();
      }),
    onDrain: (drained) => stream.onDrain(drained),
    write: (parts, sent) => stream.write(parts, sent),
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    close: () => stream.close(),
    destroy: () => stream.destroy(),
  };
  return { channel, closed };
}
