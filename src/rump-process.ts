/**
 * The rump process: one device, its stack and drivers, and the pud channel; nothing else.
 *
 * | descriptor | what                                                                 |
 * | 1, 2       | log pipes, for what goes wrong before the channel is there           |
 * | 3          | the pud channel                                                      |
 * | 4          | the way by which the device comes when the process is locked         |
 * | 5          | the device: a usbfs descriptor, or a connection to a USB/IP server   |
 *
 * Its one argument is a RumpProcessConfig in JSON. Order matters: code is loaded first, then the process locks itself and
 * says so with one byte on descriptor 4, and what the host or the device sends is read last. It ends with status 0 after a shutdown, when the device or the host has gone, with 1 when the bus cannot be attached.
 */
import { closeSync, writeSync } from "node:fs";
import { createUgenhc } from "./dev/ugenhc/ugenhc.js";
import { createUsbip } from "./dev/usbip/usbip.js";
import { attachUsbBus, loadDrivers } from "./dev/usb/attach-bus.js";
import type { DriverToLoad } from "./dev/usb/drivers.js";
import type { DriverOptions } from "./dev/usb/usbdi.js";
import type { HostController } from "./dev/usb/usbdivar.js";
import { createPudServer, type PudServer } from "./pud/server.js";
import { RumpKernel } from "./rump/kernel.js";
import { receiveFd } from "./rumpuser/real/addon.js";
import { streamOfFd } from "./rumpuser/real/byte-stream.js";
import { lockProcess, type LockProfile } from "./rumpuser/real/lock.js";
import { createRumpuser } from "./rumpuser/real/rumpuser.js";
import { openUsbPort } from "./rumpuser/real/usb-port.js";
import { keepHeapSmall } from "./rumpuser/real/v8.js";
import type { LogSink } from "./rumpuser/rumpuser.js";

export const RUMP_CONFIG_VERSION = 1;
const PUD_FD = 3;
const PASS_FD = 4;
/** The launcher keeps the number free: the filter names it before the device comes. */
const LOCKED_DEVICE_FD = 5;

/** How the device that the host sends is reached. */
export type BusConfig =
  /** `mayReset` false: the kernel refuses a port reset, because other interfaces are in use elsewhere. */
  { readonly kind: "usbfs"; readonly mayReset?: boolean } | { readonly kind: "usbip"; readonly busId: string };

/** EX_SOFTWARE of sysexits.h. */
const EXIT_BUG = 70;

export interface RumpProcessConfig {
  readonly version: typeof RUMP_CONFIG_VERSION;
  readonly bus: BusConfig;
  /** A process that drove the device before was ended in the middle of it. */
  readonly interrupted?: boolean;
  /** The interfaces that it serves, others are served elsewhere; left out: all. */
  readonly interfaces?: readonly number[];
  /** How the process locks itself; left out: it does not. */
  readonly lock?: LockProfile;
  /** Specifiers that begin with "." are relative to dev/usb. */
  readonly drivers: readonly DriverToLoad[];
  /** What the user asks of a driver, by its name. */
  readonly driverOptions?: Readonly<Record<string, DriverOptions>>;
}

async function main(argument: string | undefined): Promise<void> {
  keepHeapSmall();
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
    config.drivers.map((driver) => ({ ...driver, specifier: resolveDriver(driver.specifier) })),
  );

  const channel = streamOfFd(PUD_FD);
  const deviceFd = await receiveDevice(config.lock);
  const server = createPudServer(channel, {
    clock: kernel.clock,
    log,
    onLost: () => process.exit(0),
    // What is not answered is asked of the next process.
    onBug: () => process.exit(EXIT_BUG),
  });
  sink.server = server;
  server.onShutdown(() => kernel.shutdown());
  linkSwitch(kernel, server);
  try {
    const controller = await openController(config.bus, deviceFd, kernel, log);
    await attachUsbBus({
      kernel,
      controller,
      drivers,
      interrupted: config.interrupted ?? false,
      ...(config.interfaces === undefined ? {} : { interfaces: config.interfaces }),
      ...(config.driverOptions === undefined ? {} : { driverOptions: config.driverOptions }),
      onAttach: ({ identity, driver, interfaceNumber, mode }) =>
        server.announceDevice({ ...identity, driver, interfaceNumber, mode }),
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

/** Locks the process and asks for its device. @returns the device's descriptor. */
async function receiveDevice(profile: LockProfile | undefined): Promise<number> {
  if (profile !== undefined) await lockProcess({ profile, deviceFd: LOCKED_DEVICE_FD, passFd: PASS_FD });
  writeSync(PASS_FD, new Uint8Array(1));
  const fd = receiveFd(PASS_FD, profile === undefined ? -1 : LOCKED_DEVICE_FD);
  closeSync(PASS_FD);
  if (profile !== undefined && fd !== LOCKED_DEVICE_FD)
    throw new Error(`the device came as descriptor ${fd}, the lock allows ${LOCKED_DEVICE_FD}`);
  return fd;
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

async function openController(
  bus: BusConfig,
  deviceFd: number,
  kernel: RumpKernel,
  log: LogSink,
): Promise<HostController> {
  const { clock } = kernel;
  switch (bus.kind) {
    case "usbfs":
      return createUgenhc(openUsbPort(deviceFd), { name: "ugenhc0", clock, mayReset: bus.mayReset ?? true });
    case "usbip":
      return createUsbip(streamOfFd(deviceFd), { name: "usbip0", clock, busId: bus.busId, log });
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
