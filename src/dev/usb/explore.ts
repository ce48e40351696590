/**
 * Explore: from "something is on this port" to drivers on its interfaces.
 *
 * address → descriptors → the configuration whose interfaces are served best → a driver per interface. A device that lies
 * costs itself, an interface that lies costs the interface.
 */
import { hex16 } from "../../bytes.js";
import type { DeviceNode } from "../../rump/autoconf.js";
import { attachDriver } from "./attachment.js";
import type { UsbBus } from "./bus.js";
import type { AlternateSetting, Configuration, Interface } from "./configuration.js";
import { type ExploredDevice, UsbDevice, type UpstreamPort } from "./device.js";
import { ProtocolError, TransferError, UnsupportedError } from "./errors.js";
import { FIELDS, findMatches, type Match, type MatchIds } from "./match.js";
import { findQuirks } from "./quirks.js";
import { attachHub } from "./uhub.js";
import { CLASS } from "./usb.js";
import type { DeviceIdentity, Driver, MatchRule } from "./usbdi.js";

interface Candidate extends Match<Driver> {
  readonly alternate: AlternateSetting;
}

/**
 * Takes what is plugged into a port into use. Resolves when its drivers have attached.
 * @throws TransferError, ProtocolError, DescriptorError when it cannot be addressed or configured; nothing of it is left then.
 */
export async function exploreDevice(bus: UsbBus, parent: DeviceNode, port: UpstreamPort): Promise<ExploredDevice> {
  const found: { device?: UsbDevice } = {};
  const node = await parent.attachChild("usbdev", async (own) => {
    const device = new UsbDevice(bus, own, port);
    found.device = device;
    own.onDetach(() => device.disconnected());
    const address = bus.takeAddress();
    own.onDetach(() => bus.releaseAddress(address));
    await device.enumerate(address);
    await configureDevice(device);
  });
  return {
    disconnected: async () => {
      found.device?.disconnected();
      await node.detach();
    },
  };
}

async function configureDevice(device: UsbDevice): Promise<void> {
  const configurations = await device.readConfigurations();
  const identity = await device.readIdentity();
  device.log("info", describe(identity, device.address(), device.port));
  for (const row of findQuirks(identity.vendor, identity.product))
    device.log("info", `quirk ${row.quirk}: ${row.reason}`);
  const configuration = chooseConfiguration(device.bus, identity, configurations);
  if (configuration === undefined) throw new ProtocolError("no configuration can be read", "USB 2.0 §9.6.3");
  await device.configure(configuration);
  for (const one of configuration.interfaces)
    if (device.bus.serves(one.interfaceNumber)) await attachInterface(device, identity, one);
}

/** The configuration with the best-served interface; the first of equals (a device lists its preferred one first). */
export function chooseConfiguration(
  { drivers, serves }: Pick<UsbBus, "drivers" | "serves">,
  identity: DeviceIdentity,
  configurations: readonly Configuration[],
): Configuration | undefined {
  const rankOf = (c: Configuration): number =>
    Math.max(
      0,
      ...c.interfaces
        .filter((i) => serves(i.interfaceNumber))
        .map((i) => (isHub(i) ? 1 : (candidates(drivers, identity, i)[0]?.rank ?? 0))),
    );
  let best = configurations[0];
  for (const one of configurations) if (best !== undefined && rankOf(one) > rankOf(best)) best = one;
  return best;
}

/** Drivers for an interface, best first; of equal rank the preferred one, then the one with the lower alternate setting. */
function candidates(drivers: readonly Driver[], identity: DeviceIdentity, one: Interface): Candidate[] {
  return one.alternates
    .flatMap((alternate) =>
      findMatches(drivers, matchIds(identity, alternate)).map((match) => ({ ...match, alternate })),
    )
    .sort((a, b) => b.rank - a.rank || (b.driver.preference ?? 0) - (a.driver.preference ?? 0));
}

function matchIds(identity: DeviceIdentity, alternate: AlternateSetting): MatchIds {
  const { vendor, product, revision, deviceClass, deviceSubClass, deviceProtocol } = identity;
  const { interfaceNumber, interfaceClass, interfaceSubClass, interfaceProtocol } = alternate;
  const device = { vendor, product, revision, deviceClass, deviceSubClass, deviceProtocol };
  return { ...device, interfaceNumber, interfaceClass, interfaceSubClass, interfaceProtocol };
}

function isHub(one: Interface): boolean {
  return one.alternates[0]?.interfaceClass === CLASS.HUB;
}

/** Tries the drivers that match until one attaches. What goes wrong is logged and costs only this interface. */
async function attachInterface(device: UsbDevice, identity: DeviceIdentity, one: Interface): Promise<void> {
  const where = `interface ${one.interfaceNumber}`;
  try {
    if (isHub(one)) return await attachHub(device, one, exploreDevice);
    // Part of a function whose driver came earlier.
    if (device.takenInterfaces.has(one.interfaceNumber)) return;
    const matching = candidates(device.bus.drivers, identity, one);
    for (const [index, { driver, rule, alternate }] of matching.entries()) {
      try {
        const name = await attachDriver(device, identity, driver, alternate);
        device.log("info", `${name} at ${where}: ${describeRule(rule)}`);
        return;
      } catch (error) {
        if (!(error instanceof UnsupportedError)) throw error;
        const isLast = index === matching.length - 1;
        device.log(isLast ? "warn" : "info", `${where}: ${driver.name} leaves it: ${error.message}`);
      }
    }
    if (matching.length > 0) return;
    const first = one.alternates[0];
    const ids = [first?.interfaceClass, first?.interfaceSubClass, first?.interfaceProtocol];
    device.log(
      "warn",
      `${where}: no driver for class ${ids.map((n) => (n ?? 0).toString(16).padStart(2, "0")).join("/")}`,
    );
  } catch (error) {
    if (error instanceof TransferError && error.code === "USB_DISCONNECTED") throw error;
    if (device.node.signal.aborted) throw error;
    device.log("error", `${where}: attach failed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function describe(identity: DeviceIdentity, address: number, port: UpstreamPort): string {
  const names = [identity.manufacturer, identity.productName, identity.serial].filter((s) => s !== "").join(", ");
  const ids = `${hex16(identity.vendor)}:${hex16(identity.product)}`;
  return `port ${port.portNumber}: ${ids} ${names || "(no strings)"}, ${identity.speed} speed, address ${address}`;
}

/** A rule as the log prints it: `interfaceClass 08 interfaceSubClass 06`. */
export function describeRule(rule: MatchRule): string {
  return FIELDS.toReversed()
    .filter((field) => rule[field] !== undefined)
    .map((field) => `${field} ${(rule[field] ?? 0).toString(16).padStart(field.startsWith("interface") ? 2 : 4, "0")}`)
    .join(" ");
}
