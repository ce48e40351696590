import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { permissionHelp, udevAdvice } from "../../src/host/udev-advice.js";
import { readDeviceText } from "../../src/host/device-text.js";
import { listDevices } from "../../src/host/discovery.js";
import { MASS_STORAGE, SysfsTree } from "./sysfs-tree.js";

describe("listDevices", () => {
  test("reads what the OS has parsed, ordered by port, without root hubs", async () => {
    using tree = new SysfsTree([
      { path: "1-10", deviceNumber: 9 },
      { path: "1-2.1", deviceNumber: 4, speed: "5000" },
      {
        path: "1-2",
        deviceNumber: 3,
        vendor: "1d6b",
        product: "0104",
        strings: { manufacturer: "Kingston", product: "DataTraveler", serial: "0123" },
        interfaces: [{ ids: [0x03, 0x01, 0x01] }, { ...MASS_STORAGE, kernelDriver: "usb-storage" }],
      },
    ]);
    const devices = await listDevices(tree.roots);
    expect(devices?.map((device) => device.path)).toEqual(["1-2", "1-2.1", "1-10"]);
    expect(devices?.[0]).toMatchObject({
      busNumber: 1,
      deviceNumber: 3,
      vendor: 0x1d6b,
      product: 0x0104,
      revision: 0x0110,
      serial: "0123",
      node: join(tree.roots.dev, "001/003"),
      mayOpen: true,
      interfaces: [
        { interfaceNumber: 0, interfaceClass: 3, kernelDriver: undefined },
        {
          interfaceNumber: 1,
          interfaceClass: 8,
          interfaceSubClass: 6,
          interfaceProtocol: 0x50,
          kernelDriver: "usb-storage",
        },
      ],
      matches: [{ interfaceNumber: 1, driver: "umass", kernelDriver: "usb-storage" }],
    });
    expect(await readDeviceText(tree.roots.sysfs, "1-2")).toEqual({
      speed: "high",
      manufacturer: "Kingston",
      productName: "DataTraveler",
    });
    const other = { speed: "super", manufacturer: "", productName: "" };
    expect(await readDeviceText(tree.roots.sysfs, "1-2.1")).toEqual(other);
    expect(await readDeviceText(tree.roots.sysfs, "1-7")).toEqual({ ...other, speed: "full" });
  });

  test("a machine without USB has no list, not an empty one", async () => {
    using tree = new SysfsTree();
    rmSync(tree.roots.sysfs, { recursive: true });
    expect(await listDevices(tree.roots)).toBeUndefined();
  });

  test("a device that vanishes or tells nonsense is left out; the others are there", async () => {
    using tree = new SysfsTree([
      { path: "1-1", deviceNumber: 2 },
      { path: "1-2", deviceNumber: 3 },
    ]);
    tree.write("1-1", "idVendor", "zzzz");
    mkdirSync(join(tree.roots.sysfs, "1-3")); // its files have gone already
    expect((await listDevices(tree.roots))?.map((device) => device.path)).toEqual(["1-2"]);
  });

  test("strings of the device are made printable and short", async () => {
    using tree = new SysfsTree([{ path: "1-1", deviceNumber: 2 }]);
    tree.write("1-1", "product", "evil\u001b[2J\u0000\u202etxt\nsecond line");
    tree.write("1-1", "manufacturer", Uint8Array.of(0xff, 0xfe, 0x41));
    tree.write("1-1", "serial", "x".repeat(5000));
    const [device] = (await listDevices(tree.roots)) ?? [];
    const text = await readDeviceText(tree.roots.sysfs, "1-1");
    expect(text.productName).toBe("evil?[2J??txt?second line");
    expect(text.manufacturer).toBe("\ufffd\ufffdA");
    expect(device?.serial).toHaveLength(128);
  });

  test("a node that is not there may not be opened", async () => {
    using tree = new SysfsTree([{ path: "1-1", deviceNumber: 2 }]);
    rmSync(join(tree.roots.dev, "001/002"));
    expect((await listDevices(tree.roots))?.[0]?.mayOpen).toBe(false);
  });
});

describe("udev advice", () => {
  test("the rule gives the device to whoever sits at the machine, from a file that sorts before 73", () => {
    const { file, rule, groupRule } = udevAdvice(0x0951, 0x1666);
    expect(file).toBe("/etc/udev/rules.d/70-rumpusb.rules");
    expect(rule).toBe('SUBSYSTEM=="usb", ATTR{idVendor}=="0951", ATTR{idProduct}=="1666", TAG+="uaccess"');
    expect(groupRule).toContain('GROUP="plugdev", MODE="0660"');
    expect(permissionHelp(0x0951, 0x1666)).toContain(rule);
  });
});
