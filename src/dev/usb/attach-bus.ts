/** Boots a USB bus on a controller: `usb0 at ugenhc0`, its root hub, and everything that is plugged in. */
import type { RumpKernel } from "../../rump/kernel.js";
import { UsbBus, type UsbBusOptions } from "./bus.js";
import { parseConfiguration } from "./configuration.js";
import { UsbDevice, type UpstreamPort } from "./device.js";
import { exploreDevice } from "./explore.js";
import type { DriverToLoad } from "./driver-modules.js";
import { getDescriptor } from "./requests.js";
import { ROOT_HUB_ADDRESS } from "./roothub.js";
import { attachHub } from "./uhub.js";
import { DESCRIPTOR } from "./usb.js";
import type { Driver } from "./usbdi.js";

/** Loads drivers as components. @throws Error naming the module that is not a driver. */
export async function loadDrivers(kernel: RumpKernel, entries: readonly DriverToLoad[]): Promise<Driver[]> {
  const drivers: Driver[] = [];
  for (const entry of entries) {
    const component = await kernel.loadComponent(entry.specifier, entry.name);
    if (!isDriver(component)) throw new Error(`component ${entry.specifier}: "${entry.name}" is not a USB driver`);
    drivers.push(entry.match === undefined ? component : { ...component, match: entry.match });
  }
  return drivers;
}

function isDriver(value: unknown): value is Driver {
  if (typeof value !== "object" || value === null) return false;
  const { name, match, endpoints, attach } = value as Partial<Record<keyof Driver, unknown>>;
  return (
    typeof name === "string" && Array.isArray(match) && typeof endpoints === "object" && typeof attach === "function"
  );
}

/**
 * Attaches the bus; resolves when what is plugged in has been explored, whatever came of it (the log says).
 * The controller is closed when the kernel is shut down.
 */
export async function attachUsbBus(options: UsbBusOptions): Promise<void> {
  const { kernel, controller } = options;
  await kernel.mainbus.attachChild(controller.name.replace(/\d+$/, ""), async (controllerNode) => {
    controllerNode.onDetach(() => controller.close());
    await controllerNode.attachChild("usb", async (node) => {
      const bus = new UsbBus(node, options);
      const port: UpstreamPort = { portNumber: 0, depth: 0, reset: () => Promise.resolve("high") };
      const rootHub = new UsbDevice(bus, node, port);
      await rootHub.adopt(ROOT_HUB_ADDRESS);
      const block = await rootHub.control.in(getDescriptor(DESCRIPTOR.CONFIGURATION), 255);
      const configuration = parseConfiguration(block.data);
      await rootHub.configure(configuration);
      for (const one of configuration.interfaces) await attachHub(rootHub, one, exploreDevice);
    });
  });
}
