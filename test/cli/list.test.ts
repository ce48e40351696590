import { rmSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { list } from "../../src/cli/list-command.js";
import { MASS_STORAGE, SysfsTree } from "../host/sysfs-tree.js";
import { CollectedOutput } from "./collected-output.js";

describe("rumpusb list", () => {
  test("a line for each device: ids, class, our driver, the kernel's, and whether it may be opened", async () => {
    using tree = new SysfsTree([
      { path: "1-1", deviceNumber: 2, interfaces: [{ ...MASS_STORAGE, kernelDriver: "usb-storage" }] },
      {
        path: "1-2",
        deviceNumber: 3,
        vendor: "ffff",
        product: "0001",
        interfaces: [{ ids: [0x02, 0x02, 0x01] }, { ids: [0x0a, 0, 0] }],
      },
    ]);
    tree.write("1-1", "manufacturer", "Kingston");
    tree.write("1-1", "product", "DataTraveler");
    const output = new CollectedOutput();
    await list({}, output, tree.roots);
    expect(output.lines).toEqual([
      "DEVICE  ID         CLASS                     DRIVER  KERNEL DRIVER  MAY OPEN  NAME",
      "1-1     0951:1666  mass storage              umass   usb-storage    yes       Kingston DataTraveler",
      "1-2     ffff:0001  communications, CDC data  umodem  -              yes       -",
    ]);
    expect(output.spoken).toEqual([]);
  });

  test("a device that may not be opened comes with the udev rule for it", async () => {
    const stick = { path: "1-1", deviceNumber: 2 };
    using tree = new SysfsTree([stick]);
    tree.removeNode(stick);
    const output = new CollectedOutput();
    await list({}, output, tree.roots);
    expect(output.lines[1]).toMatch(/umass +- +no /);
    expect(output.spoken.join("\n")).toContain('ATTR{idVendor}=="0951", ATTR{idProduct}=="1666", TAG+="uaccess"');
    expect(output.spoken.join("\n")).toContain("/etc/udev/rules.d/70-rumpusb.rules");
  });

  test("--json: one object a line, with stable keys", async () => {
    const stick = { path: "1-1", deviceNumber: 2, strings: { serial: "S1" } };
    using tree = new SysfsTree([stick]);
    tree.removeNode(stick);
    const output = new CollectedOutput();
    await list({ json: true }, output, tree.roots);
    expect(output.lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        device: "1-1",
        vendor: "0951",
        product: "1666",
        name: expect.any(String),
        serial: "S1",
        class: "mass storage",
        speed: "high",
        node: `${tree.roots.dev}/001/002`,
        mayOpen: false,
        udevRule: {
          file: "/etc/udev/rules.d/70-rumpusb.rules",
          rule: expect.stringContaining("uaccess"),
          groupRule: expect.stringContaining('MODE="0660"'),
        },
        interfaces: [{ number: 0, class: 8, subClass: 6, protocol: 0x50, driver: "umass", kernelDriver: null }],
      },
    ]);
  });

  test("a machine without USB, and one with nothing plugged in, are told so on stderr", async () => {
    using tree = new SysfsTree();
    const empty = new CollectedOutput();
    await list({}, empty, tree.roots);
    expect(empty).toMatchObject({ lines: [], spoken: ["No USB device is plugged in."] });

    rmSync(tree.roots.sysfs, { recursive: true });
    for (const options of [{}, { json: true }]) {
      const none = new CollectedOutput();
      await list(options, none, tree.roots);
      expect(none.lines).toEqual([]);
      expect(none.spoken[0]).toMatch(/^This machine has no USB/);
    }
  });
});
