/** `rumpusb list`: the USB devices of this machine, who drives them, and whether this user may. */
import type { Command } from "commander";
import { hex16 } from "../bytes.js";
import { permissionHelp, udevAdvice } from "../host/udev-advice.js";
import { classNames } from "../host/class-names.js";
import { type DeviceText, readDeviceText } from "../host/device-text.js";
import { type DiscoveryRoots, listDevices, SYSTEM_ROOTS, type UsbDevice } from "../host/discovery.js";
import { loadUsbIds, type UsbIds } from "../host/usb-ids.js";
import type { CommandContext } from "./context.js";
import type { Output } from "./output.js";
import { table } from "./table.js";

export interface ListOptions {
  readonly json?: boolean;
}

export function listCommand(program: Command, context: CommandContext): void {
  program
    .command("list")
    .summary("show USB devices, the driver that would match, and whether you may open them")
    .option("--json", "one object per line")
    .action(async (options: ListOptions) => await list(options, context.output));
}

type ShownDevice = UsbDevice & DeviceText;

/** @param roots  Where to look, for tests. */
export async function list(options: ListOptions, output: Output, roots: DiscoveryRoots = SYSTEM_ROOTS): Promise<void> {
  const found = await listDevices(roots);
  if (found === undefined) {
    output.talk("This machine has no USB (the kernel offers no /sys/bus/usb). Try a simulated device: rumpusb demo");
    return;
  }
  const devices: readonly ShownDevice[] = await Promise.all(
    found.map(async (device) => ({ ...device, ...(await readDeviceText(roots.sysfs, device.path)) })),
  );
  const names = await loadUsbIds();
  if (options.json === true) {
    for (const device of devices) output.data(JSON.stringify(describe(device, names)));
    return;
  }
  if (devices.length === 0) {
    output.talk("No USB device is plugged in.");
    return;
  }
  for (const line of table([HEADING, ...devices.map((device) => row(device, names))])) output.data(line);
  const [closed] = devices.filter((device) => device.matches.length > 0 && !device.mayOpen);
  if (closed !== undefined)
    output.talk(`\nYou may not open ${closed.path}; ${permissionHelp(closed.vendor, closed.product)}`);
}

const HEADING = ["DEVICE", "ID", "CLASS", "DRIVER", "KERNEL DRIVER", "MAY OPEN", "NAME"];

function row(device: ShownDevice, names: UsbIds): string[] {
  return [
    device.path,
    `${hex16(device.vendor)}:${hex16(device.product)}`,
    classNames(device) || "-",
    each(device.matches.map((match) => match.driver)),
    each(device.interfaces.map((iface) => iface.kernelDriver)),
    device.mayOpen ? "yes" : "no",
    nameOf(device, names),
  ];
}

/** One line of `list --json`; its keys are stable. */
function describe(device: ShownDevice, names: UsbIds): Record<string, unknown> {
  const advice = udevAdvice(device.vendor, device.product);
  return {
    device: device.path,
    vendor: hex16(device.vendor),
    product: hex16(device.product),
    name: nameOf(device, names),
    serial: device.serial,
    class: classNames(device),
    speed: device.speed,
    node: device.node,
    mayOpen: device.mayOpen,
    udevRule: device.mayOpen ? null : { file: advice.file, rule: advice.rule, groupRule: advice.groupRule },
    interfaces: device.interfaces.map((iface) => ({
      number: iface.interfaceNumber,
      class: iface.interfaceClass,
      subClass: iface.interfaceSubClass,
      protocol: iface.interfaceProtocol,
      driver: device.matches.find((match) => match.interfaceNumber === iface.interfaceNumber)?.driver ?? null,
      kernelDriver: iface.kernelDriver ?? null,
    })),
  };
}

/** What the device calls itself, else what usb.ids calls it. */
function nameOf(device: ShownDevice, names: UsbIds): string {
  const vendor = device.manufacturer || names.vendorName(device.vendor) || "";
  const product = device.productName || names.productName(device.vendor, device.product) || "";
  return `${vendor} ${product}`.trim() || "-";
}

function each(names: readonly (string | undefined)[]): string {
  const present = new Set(names.filter((name) => name !== undefined));
  return present.size === 0 ? "-" : [...present].join(", ");
}
