/**
 * The rump process: one device, its stack and drivers, and the pud channel; nothing else. With `slots` it has room for several.
 *
 * | descriptor | what                                                                 | with N slots                          |
 * | 1, 2       | log pipes, for what goes wrong before the channel is there           |                                       |
 * | 3          | the pud channel                                                      | which devices come, which have ended  |
 * | 4          | the way by which the device comes when the process is locked, and    | the same, without memory              |
 * |            | before that the memory that is shared with the pud process, if there |                                       |
 * |            | is any                                                               |                                       |
 * | 5          | the device: a usbfs descriptor, or a connection to a USB/IP server   | 5 to 4 + N: the devices               |
 * |            |                                                                      | 5 + N to 4 + 2 N: their pud channels  |
 *
 * Its one argument is a RumpProcessConfig or a SharedProcessConfig in JSON. Order matters: code is loaded first, then the process
 * locks itself and says so with one byte on descriptor 4, and what the pud process or the device sends is read last. It ends with
 * status 0 after a shutdown, when the device or the channel has gone, with 1 when the bus cannot be attached.
 */
import { closeSync, writeSync } from "node:fs";
import { extname } from "node:path";
import { loadDrivers } from "./dev/usb/attach-bus.js";
import type { DriverToLoad } from "./dev/usb/driver-modules.js";
import type { Driver } from "./dev/usb/usbdi.js";
import type { RumpKernel } from "./rump/kernel.js";
import { RUMP_CONFIG_VERSION, type RumpProcessConfig, type SharedProcessConfig } from "./rump-process/config.js";
import { RumpDevice } from "./rump-process/device.js";
import { serveShared } from "./rump-process/shared.js";
import { dieWithParent, dropCode, receiveFd } from "./rumpuser/real/locked-calls.js";
import { mapMemory } from "./rumpuser/real/addon.js";
import { streamOfFd } from "./rumpuser/real/byte-stream.js";
import { lockProcess, type LockProfile } from "./rumpuser/real/lock.js";
import { forgoIdleTime } from "./rumpuser/real/event-loop.js";
import { collectYoungAlone, keepHeapSmall } from "./rumpuser/real/v8.js";

const PUD_FD = 3;
const ORDERS_FD = 3;
const PASS_FD = 4;
/** The launcher keeps the numbers free: the filter names them before a device comes. */
const LOCKED_DEVICE_FD = 5;

async function main(argument: string | undefined): Promise<void> {
  keepHeapSmall();
  collectYoungAlone();
  forgoIdleTime();
  const config = readConfig(argument);
  if ("slots" in config) await serveSeveral(config);
  else await serveOne(config);
}

async function serveOne(config: RumpProcessConfig): Promise<void> {
  const device = new RumpDevice();
  const drivers = await loadAll(device.kernel, config.drivers);
  const channel = streamOfFd(PUD_FD);
  const memory = config.memoryBytes === undefined ? undefined : takeMemory(config.memoryBytes);
  await askForDevices(config.lock, 1);
  if (config.waits === true) dropCode(); // its own is compiled and loaded; it has what it needs again within a millisecond
  const deviceFd = takeDescriptor(config.lock, 0, 1);
  closeSync(PASS_FD);
  const attached = await device.serve({ config, drivers, channel, memory, deviceFd, onLost: () => process.exit(0) });
  if (!attached) process.exitCode = 1;
}

async function serveSeveral({ lock, slots, drivers: entries }: SharedProcessConfig): Promise<void> {
  const devices = Array.from({ length: slots }, () => new RumpDevice());
  const [first] = devices;
  if (first === undefined) throw new Error("started without room for a device");
  const drivers = await loadAll(first.kernel, entries);
  const loaded = new Map(entries.map((entry, index) => [JSON.stringify(entry), drivers[index]]));
  const orders = streamOfFd(ORDERS_FD);
  await askForDevices(lock, slots);
  serveShared({
    orders,
    devices,
    takeDescriptor: (slot) => takeDescriptor(lock, slot, slots),
    channelFd: (slot) => LOCKED_DEVICE_FD + slots + slot,
    driversOf: ({ device }) =>
      device.drivers.map((entry) => {
        const driver = loaded.get(JSON.stringify(entry));
        if (driver === undefined) throw new Error(`driver ${entry.name} was not loaded before the lock`);
        return driver;
      }),
  });
}

async function loadAll(kernel: RumpKernel, entries: readonly DriverToLoad[]): Promise<Driver[]> {
  return await loadDrivers(
    kernel,
    entries.map((driver) => ({ ...driver, specifier: resolveDriver(driver.specifier) })),
  );
}

/** Maps the memory that comes first; nothing is mapped later. Undefined: it cannot be, and data come in frames. */
function takeMemory(bytes: number): ArrayBuffer | undefined {
  const fd = receiveFd(PASS_FD, -1);
  try {
    return mapMemory(fd, bytes);
  } catch (error) {
    process.stderr.write(`no shared memory: ${error instanceof Error ? error.message : String(error)}\n`);
    return undefined;
  } finally {
    closeSync(fd);
  }
}

/** Locks the process and says that it is ready for what comes over PASS_FD. */
async function askForDevices(profile: LockProfile | undefined, deviceCount: number): Promise<void> {
  if (profile === undefined)
    dieWithParent(); // with a lock the launcher has seen to it
  else await lockProcess({ purpose: "device", profile, deviceFd: LOCKED_DEVICE_FD, deviceCount, passFd: PASS_FD });
  writeSync(PASS_FD, new Uint8Array(1));
}

/** @returns the descriptor that comes next. */
function takeDescriptor(profile: LockProfile | undefined, slot: number, deviceCount: number): number {
  const fd = receiveFd(PASS_FD, profile === undefined ? -1 : LOCKED_DEVICE_FD + slot);
  if (profile !== undefined && (fd < LOCKED_DEVICE_FD || fd >= LOCKED_DEVICE_FD + deviceCount))
    throw new Error(`the device came as descriptor ${fd}, the lock allows ${deviceCount} from ${LOCKED_DEVICE_FD} on`);
  return fd;
}

/** A driver of ours is beside this file, and of its kind: `.js`, or `.cjs` in the bundle. */
function resolveDriver(specifier: string): string {
  if (!specifier.startsWith(".")) return specifier;
  const beside = new URL(specifier, new URL("./dev/usb/", import.meta.url)).href;
  return beside.replace(/\.js$/, extname(import.meta.url));
}

function readConfig(argument: string | undefined): RumpProcessConfig | SharedProcessConfig {
  const config = JSON.parse(argument ?? "null") as RumpProcessConfig | SharedProcessConfig | null;
  if (config?.version !== RUMP_CONFIG_VERSION)
    throw new Error(
      `started without a configuration of version ${RUMP_CONFIG_VERSION}; this program is run by rumpusb`,
    );
  return config;
}

void main(process.argv[2]); // what it throws ends the process, with the reason
