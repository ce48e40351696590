/**
 * The rump process: one device, its stack and drivers, and the pud channel; nothing else.
 *
 * | descriptor | what                                                                 |
 * | 1, 2       | log pipes, for what goes wrong before the channel is there           |
 * | 3          | the pud channel                                                      |
 * | 4          | the device: a usbfs descriptor, or a connection to a USB/IP server   |
 *
 * Its one argument is a RumpProcessConfig in JSON. Order matters: code is loaded first, the first byte of the device is
 * read last. It ends with status 0 after a shutdown, when the device or the host has gone, with 1 when the bus cannot be attached.
 */
import { createUgenhc } from "./dev/ugenhc/ugenhc.js";
import { createUsbip } from "./dev/usbip/usbip.js";
import { attachUsbBus, loadDrivers } from "./dev/usb/attach-bus.js";
import type { HostController } from "./dev/usb/usbdivar.js";
import { createPudServer, type PudServer } from "./pud/server.js";
import { RumpKernel } from "./rump/kernel.js";
import { streamOfFd } from "./rumpuser/real/byte-stream.js";
import { createRumpuser } from "./rumpuser/real/rumpuser.js";
import { openUsbPort } from "./rumpuser/real/usb-port.js";
import type { LogSink } from "./rumpuser/rumpuser.js";

export const RUMP_CONFIG_VERSION = 1;
const PUD_FD = 3;
const DEVICE_FD = 4;

/** How the device on descriptor 4 is reached. */
export type BusConfig = { readonly kind: "usbfs" } | { readonly kind: "usbip"; readonly busId: string };

export interface RumpProcessConfig {
  readonly version: typeof RUMP_CONFIG_VERSION;
  readonly bus: BusConfig;
  /** Specifiers that begin with "." are relative to dev/usb. */
  readonly drivers: readonly { readonly name: string; readonly specifier: string }[];
}

async function main(argument: string | undefined): Promise<void> {
  const config = readConfig(argument);
  const sink: { server?: PudServer } = {};
  const log: LogSink = {
    write: (entry) => {
      // What pud itself has to say is said because its channel no longer carries it.
      if (sink.server === undefined || entry.source === "pud")
        process.stderr.write(`${entry.source}: ${entry.message}\n`);
      else sink.server.log(entry);
    },
  };
  const rumpuser = createRumpuser(log);
  const kernel = new RumpKernel(rumpuser);
  const drivers = await loadDrivers(
    kernel,
    config.drivers.map(({ name, specifier }) => ({ name, specifier: resolveDriver(specifier), match: [] })),
  );

  const server = createPudServer(streamOfFd(PUD_FD), {
    clock: kernel.clock,
    log,
    onLost: () => process.exit(0),
  });
  sink.server = server;
  server.onShutdown(() => kernel.shutdown());
  linkSwitch(kernel, server);
  try {
    const controller = await openController(config.bus, kernel, log);
    await attachUsbBus({
      kernel,
      controller,
      drivers,
      onAttach: ({ identity, driver, interfaceNumber }) =>
        server.announceDevice({ ...identity, driver, interfaceNumber }),
      // The descriptor of a device that has gone never brings another one.
      onUnplug: () => void kernel.shutdown().then(() => server.close()),
    });
    server.ready();
  } catch (error) {
    server.error(codeOf(error), error instanceof Error ? error.message : String(error));
    await kernel.shutdown();
    server.close();
    process.exitCode = 1;
  }
}

/** Whatever drivers publish is served to the host. */
function linkSwitch(kernel: RumpKernel, server: PudServer): void {
  const served = new Map<string, { remove(reason: string): void }>();
  kernel.listen({
    added: ({ name, className, device }) => served.set(name, server.publish(className, device)),
    removed: ({ name }, reason) => {
      served.get(name)?.remove(reason);
      served.delete(name);
    },
  });
}

async function openController(bus: BusConfig, kernel: RumpKernel, log: LogSink): Promise<HostController> {
  const { clock } = kernel;
  switch (bus.kind) {
    case "usbfs":
      return createUgenhc(openUsbPort(DEVICE_FD), { name: "ugenhc0", clock });
    case "usbip":
      return createUsbip(streamOfFd(DEVICE_FD), { name: "usbip0", clock, busId: bus.busId, log });
  }
}

function resolveDriver(specifier: string): string {
  return specifier.startsWith(".") ? new URL(specifier, new URL("./dev/usb/", import.meta.url)).href : specifier;
}

function readConfig(argument: string | undefined): RumpProcessConfig {
  const config = JSON.parse(argument ?? "null") as RumpProcessConfig | null;
  if (config?.version !== RUMP_CONFIG_VERSION)
    throw new Error(
      `started without a configuration of version ${RUMP_CONFIG_VERSION}; this program is run by rumpusb`,
    );
  return config;
}

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as Error & { code?: unknown }).code : undefined;
  return typeof code === "string" ? code : "ATTACH_FAILED";
}

await main(process.argv[2]);
