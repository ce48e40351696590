/** Base classes by the names people know them by (USB-IF class codes). */
import type { SysfsDevice } from "./sysfs.js";

const CLASS_NAMES: Readonly<Record<number, string>> = {
  0x01: "audio",
  0x02: "communications",
  0x03: "input (HID)",
  0x05: "physical",
  0x06: "image",
  0x07: "printer",
  0x08: "mass storage",
  0x09: "hub",
  0x0a: "CDC data",
  0x0b: "smart card",
  0x0d: "content security",
  0x0e: "video",
  0x0f: "health care",
  0x10: "audio/video",
  0x11: "billboard",
  0xdc: "diagnostic",
  0xe0: "wireless",
  0xef: "miscellaneous",
  0xfe: "application",
  0xff: "vendor",
};

/** Interface classes that are defined at the device (0) or by interface association (EFh/02h/01h) say little there. */
const SAY_NOTHING = new Set([0x00, 0xef]);

/** The class of the device, or those of its interfaces, each once. */
export function classNames(device: SysfsDevice): string {
  const codes = SAY_NOTHING.has(device.deviceClass)
    ? device.interfaces.map((iface) => iface.interfaceClass)
    : [device.deviceClass];
  const names = new Set(codes.map((code) => CLASS_NAMES[code] ?? code.toString(16).padStart(2, "0")));
  return [...names].join(", ");
}
