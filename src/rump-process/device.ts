/** One device in a rump process: its kernel, its bus with the drivers, and the server on its pud channel. */
import { closeSync } from "node:fs";
import { createUgenhc } from "../dev/ugenhc/ugenhc.js";
import { createUsbip } from "../dev/usbip/usbip.js";
import { attachUsbBus } from "../dev/usb/attach-bus.js";
import type { Driver } from "../dev/usb/usbdi.js";
import type { HostController } from "../dev/usb/usbdivar.js";
import { readOnlyDisk } from "../pud/read-only.js";
import { createPudServer, type PudServer } from "../pud/server.js";
import { RumpKernel } from "../rump/kernel.js";
import { streamOfFd } from "../rumpuser/real/byte-stream.js";
import { dropCode } from "../rumpuser/real/locked-calls.js";
import { createRumpuser } from "../rumpuser/real/rumpuser.js";
import { openUsbPort } from "../rumpuser/real/usb-port.js";
import type { ByteStream, LogSink } from "../rumpuser/rumpuser.js";
import type { BusConfig, DeviceConfig } from "./config.js";

/** EX_SOFTWARE of sysexits.h. */
const EXIT_BUG = 70;

export interface ServeOptions {
  readonly config: Omit<DeviceConfig, "drivers">;
  /** Loaded, and the only ones that this device may get. */
  readonly drivers: readonly Driver[];
  readonly channel: ByteStream;
  /** What the other end of the channel shares with this process. */
  readonly memory?: ArrayBuffer | undefined;
  /** The device's from now on. */
  readonly deviceFd: number;
  /** The other end of the channel has gone, or has ended it. */
  readonly onLost: () => void;
}

export class RumpDevice {
  readonly kernel: RumpKernel;
  #server: PudServer | undefined;
  #closeDescriptor: (() => Promise<void>) | undefined;
  readonly #log: LogSink = {
    write: (entry) => {
      // What pud itself has to say is said because its channel no longer carries it.
      if (this.#server === undefined || entry.source === "pud")
        process.stderr.write(`${entry.source}: ${entry.message}\n`);
      else this.#server.log(entry);
    },
  };

  constructor() {
    this.kernel = new RumpKernel(createRumpuser(this.#log));
  }

  /** Serves the device. Resolves when it is explored; false: the bus could not be attached, and everything is undone. */
  async serve({ config, drivers, channel, memory, deviceFd, onLost }: ServeOptions): Promise<boolean> {
    const { kernel } = this;
    const server = createPudServer(channel, {
      clock: kernel.clock,
      log: this.#log,
      memory,
      onLost,
      // What is not answered is asked of the next process.
      onBug: () => process.exit(EXIT_BUG),
    });
    this.#server = server;
    server.onShutdown(() => kernel.shutdown());
    linkSwitch(kernel, server, config.readOnly === true);
    let isPluggedIn = true;
    try {
      const controller = await this.#openController(config.bus, deviceFd);
      await attachUsbBus({
        kernel,
        controller,
        drivers,
        interrupted: config.interrupted ?? false,
        ...(config.interfaces === undefined ? {} : { interfaces: config.interfaces }),
        ...(config.driverOptions === undefined ? {} : { driverOptions: config.driverOptions }),
        onAttach: ({ identity, driver, interfaceNumber, mode }) =>
          server.announceDevice({ ...identity, driver, interfaceNumber, mode }),
        onDemotion: (mode, reason) => server.announceDemotion({ mode, reason }),
        // The descriptor of a device that has gone never brings another one.
        onUnplug: () => {
          isPluggedIn = false;
          void kernel.shutdown().then(() => server.close());
        },
      });
      if (isPluggedIn) server.ready();
      dropCode(); // what starts and attaches does so once
      return true;
    } catch (error) {
      if (!isPluggedIn) return true; // it has gone, and is told to have
      server.error(codeOf(error), error instanceof Error ? error.message : String(error));
      await kernel.shutdown();
      server.close();
      return false;
    }
  }

  /** After the kernel's shutdown: closes the descriptor, once nothing uses it. For processes that go on without the device. */
  async release(): Promise<void> {
    await this.#closeDescriptor?.();
    this.#closeDescriptor = undefined;
  }

  async #openController(bus: BusConfig, deviceFd: number): Promise<HostController> {
    const { clock } = this.kernel;
    if (bus.kind === "usbip")
      return createUsbip(streamOfFd(deviceFd), { name: "usbip0", clock, busId: bus.busId, log: this.#log });
    this.#closeDescriptor = async () => closeSync(deviceFd);
    const port = openUsbPort(deviceFd);
    this.#closeDescriptor = async () => {
      await port.idle();
      closeSync(deviceFd);
    };
    return createUgenhc(port, { name: "ugenhc0", clock, mayReset: bus.mayReset ?? true });
  }
}

/** Whatever drivers publish is served on the channel. */
function linkSwitch(kernel: RumpKernel, server: PudServer, readOnly: boolean): void {
  const served = new Map<string, { remove(reason: string): void }>();
  kernel.listen({
    added: ({ name, className, device }) =>
      served.set(name, server.publish(className, readOnly && device.kind === "disk" ? readOnlyDisk(device) : device)),
    removed: ({ name }, reason) => {
      served.get(name)?.remove(reason);
      served.delete(name);
    },
  });
}

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as Error & { code?: unknown }).code : undefined;
  return typeof code === "string" ? code : "ATTACH_FAILED";
}
