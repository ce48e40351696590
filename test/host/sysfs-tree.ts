/** A made-up /sys/bus/usb/devices and /dev/bus/usb in a temporary folder. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DiscoveryRoots } from "../../src/host/discovery.js";

export interface FakeInterface {
  /** Class, subclass, protocol. */
  readonly ids: readonly [number, number, number];
  readonly kernelDriver?: string;
}

export interface FakeUsbDevice {
  readonly path: string;
  readonly deviceNumber: number;
  readonly vendor?: string;
  readonly product?: string;
  readonly deviceClass?: number;
  readonly strings?: { readonly manufacturer?: string; readonly product?: string; readonly serial?: string };
  readonly speed?: string;
  readonly interfaces?: readonly FakeInterface[];
}

/** A Bulk-Only SCSI interface (BOT 1.0 §4.3). */
export const MASS_STORAGE: FakeInterface = { ids: [0x08, 0x06, 0x50] };

export class SysfsTree implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "rumpusb-sysfs-"));
  readonly roots: DiscoveryRoots = {
    sysfs: join(this.#folder, "sys/bus/usb/devices"),
    dev: join(this.#folder, "dev/bus/usb"),
  };

  constructor(devices: readonly FakeUsbDevice[] = []) {
    mkdirSync(this.roots.sysfs, { recursive: true });
    mkdirSync(this.roots.dev, { recursive: true });
    this.#write("usb1", { busnum: "1", devnum: "1", idVendor: "1d6b", idProduct: "0002" });
    for (const device of devices) this.plug(device);
  }

  plug(device: FakeUsbDevice): void {
    const { path, deviceNumber, vendor = "0951", product = "1666", deviceClass = 0, strings = {} } = device;
    const bus = path.split("-")[0] ?? "1";
    this.#write(path, {
      busnum: bus,
      devnum: String(deviceNumber),
      idVendor: vendor,
      idProduct: product,
      bcdDevice: "0110",
      bDeviceClass: byte(deviceClass),
      bDeviceSubClass: "00",
      bDeviceProtocol: "00",
      speed: device.speed ?? "480",
      ...strings,
    });
    (device.interfaces ?? [MASS_STORAGE]).forEach(({ ids, kernelDriver }, number) => {
      const name = `${path}:1.${number}`;
      this.#write(name, {
        bInterfaceNumber: byte(number),
        bInterfaceClass: byte(ids[0]),
        bInterfaceSubClass: byte(ids[1]),
        bInterfaceProtocol: byte(ids[2]),
      });
      if (kernelDriver !== undefined)
        symlinkSync(`../../../../bus/usb/drivers/${kernelDriver}`, join(this.roots.sysfs, name, "driver"));
    });
    const busFolder = join(this.roots.dev, bus.padStart(3, "0"));
    mkdirSync(busFolder, { recursive: true });
    writeFileSync(join(busFolder, String(deviceNumber).padStart(3, "0")), "");
  }

  unplug(device: FakeUsbDevice): void {
    const { path, interfaces = [MASS_STORAGE] } = device;
    for (const name of [path, ...interfaces.map((_, number) => `${path}:1.${number}`)])
      rmSync(join(this.roots.sysfs, name), { recursive: true });
    this.removeNode(device);
  }

  removeNode({ path, deviceNumber }: FakeUsbDevice): void {
    const bus = (path.split("-")[0] ?? "1").padStart(3, "0");
    rmSync(join(this.roots.dev, bus, String(deviceNumber).padStart(3, "0")));
  }

  /** A file of a device, as it is. */
  write(path: string, name: string, bytes: string | Uint8Array): void {
    writeFileSync(join(this.roots.sysfs, path, name), bytes);
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #write(name: string, attributes: Readonly<Record<string, string>>): void {
    mkdirSync(join(this.roots.sysfs, name), { recursive: true });
    for (const [file, text] of Object.entries(attributes)) this.write(name, file, `${text}\n`);
  }
}

function byte(value: number): string {
  return value.toString(16).padStart(2, "0");
}
