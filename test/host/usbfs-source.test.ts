import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { listDevices, type UsbDevice } from "../../src/host/discovery.js";
import type { UsbfsCalls } from "../../src/host/kernel-driver.js";
import { partsOf } from "../../src/host/functions.js";
import { wholeDevice } from "../../src/host/parts.js";
import { busyInterfaces, usbfsSource } from "../../src/host/sources/usbfs.js";
import { realClock } from "../../src/rumpuser/real/clock.js";
import { type FakeUsbDevice, MASS_STORAGE, SysfsTree } from "./sysfs-tree.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-k-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const stick: FakeUsbDevice = { path: "1-1", deviceNumber: 2 };
const busy: FakeUsbDevice = { ...stick, interfaces: [{ ...MASS_STORAGE, kernelDriver: "usb-storage" }] };

async function only(tree: SysfsTree): Promise<UsbDevice> {
  const [device] = (await listDevices(tree.roots)) ?? [];
  if (device === undefined) throw new Error("the tree is empty");
  return device;
}

/** A keeper that waits for the end of its input and then notes its arguments. */
function fakeKeeper(status = 0): { path: string; note: string } {
  const path = join(folder, "keeper");
  const note = join(folder, "given-back");
  writeFileSync(path, `#!/bin/sh\nread line\necho "$@" > ${note}\nexit ${status}\n`);
  chmodSync(path, 0o755);
  return { path, note };
}

const noCalls: UsbfsCalls = {
  detachKernelDriver: () => {
    throw new Error("nothing may be detached here");
  },
  dropPrivileges: () => 0,
  keeperPath: () => {
    throw new Error("no keeper is needed here");
  },
};

function source(tree: SysfsTree, device: UsbDevice, take: boolean, usbfs = noCalls): ReturnType<typeof usbfsSource> {
  return usbfsSource({ part: wholeDevice(device), take, roots: tree.roots, clock: realClock, usbfs });
}

describe("opening a device node", () => {
  test("a free device: its node is open, and just the drivers that its interfaces may want can be loaded", async () => {
    using tree = new SysfsTree([stick]);
    const opened = await source(tree, await only(tree), true).open();
    expect(opened).toMatchObject({
      bus: { kind: "usbfs" },
      drivers: [{ name: "umass" }, { name: "uas" }],
      descriptor: expect.any(Number),
    });
    opened.closeDescriptor();
    opened.closeDescriptor();
    await opened.release();
  });

  test("a descriptor that was closed is not to be had: its number may be another file's", async () => {
    using tree = new SysfsTree([stick]);
    const opened = await source(tree, await only(tree), true).open();
    opened.closeDescriptor();
    expect(() => opened.descriptor).toThrow(/1-1.*is not open/);
    await opened.reopen();
    expect(opened.descriptor).toEqual(expect.any(Number));
    await opened.release();
    expect(() => opened.descriptor).toThrow(/is not open/);
  });

  test("gone between the list and the open", async () => {
    using tree = new SysfsTree([stick]);
    const device = await only(tree);
    tree.unplug(stick);
    await expect(source(tree, device, false).open()).rejects.toMatchObject({ code: "DEVICE_GONE" });
  });

  test("another device at the same place", async () => {
    using tree = new SysfsTree([stick]);
    const device = await only(tree);
    tree.unplug(stick);
    tree.plug({ ...stick, product: "1667" });
    await expect(source(tree, device, false).open()).rejects.toMatchObject({
      code: "DEVICE_GONE",
      message: "1-1 (0951:1666) was unplugged while it was being opened",
    });
  });
});

describe("a device in use", () => {
  test("by a kernel driver: left alone without --take, and the message says how", async () => {
    using tree = new SysfsTree([busy]);
    await expect(source(tree, await only(tree), false).open()).rejects.toMatchObject({
      code: "DEVICE_BUSY",
      message: expect.stringMatching(
        /^1-1 \(0951:1666\): interface 0 is in use by the kernel driver usb-storage; .*--take/,
      ),
    });
  });

  test("by another program: not to be had, also with --take", async () => {
    using tree = new SysfsTree([{ ...stick, interfaces: [{ ...MASS_STORAGE, kernelDriver: "usbfs" }] }]);
    const device = await only(tree);
    expect(() => busyInterfaces(device, true)).toThrow(/in use by another program/);
  });

  test("only interfaces that we would drive count", async () => {
    using tree = new SysfsTree([{ ...stick, interfaces: [{ ids: [3, 1, 1], kernelDriver: "usbhid" }, MASS_STORAGE] }]);
    expect(busyInterfaces(await only(tree), false)).toEqual([]);
  });
});

describe("--take", () => {
  test("the keeper is there before anything is detached, and gives back at the end", async () => {
    using tree = new SysfsTree([busy]);
    const { path, note } = fakeKeeper();
    const order: string[] = [];
    const usbfs: UsbfsCalls = {
      dropPrivileges: () => 0,
      keeperPath: () => {
        order.push("keeper");
        return path;
      },
      detachKernelDriver: (_fd, interfaceNumber) => {
        order.push(`detach ${interfaceNumber}`);
        return 0;
      },
    };
    const opened = await source(tree, await only(tree), true, usbfs).open();
    expect(order).toEqual(["keeper", "detach 0"]);
    expect(existsSync(note)).toBe(false);
    await opened.release();
    await opened.release();
    expect(readFileSync(note, "utf8")).toBe("0\n");
  });

  test("what cannot be detached is an error with its errno, and what was taken goes back", async () => {
    using tree = new SysfsTree([busy]);
    const { path, note } = fakeKeeper();
    const usbfs: UsbfsCalls = {
      keeperPath: () => path,
      dropPrivileges: () => 0,
      detachKernelDriver: () => -constants.errno.EPERM,
    };
    await expect(source(tree, await only(tree), true, usbfs).open()).rejects.toMatchObject({
      code: "KERNEL_DRIVER",
      message: "1-1: cannot detach the kernel driver from interface 0: EPERM",
    });
    expect(existsSync(note)).toBe(true);
  });

  test("a keeper that fails is an error that says what to do", async () => {
    using tree = new SysfsTree([busy]);
    const { path } = fakeKeeper(1);
    const usbfs: UsbfsCalls = { keeperPath: () => path, dropPrivileges: () => 0, detachKernelDriver: () => 0 };
    const opened = await source(tree, await only(tree), true, usbfs).open();
    await expect(opened.release()).rejects.toMatchObject({
      code: "KERNEL_DRIVER",
      message: expect.stringContaining("keeper ended with status 1); plug the device in again"),
    });
  });

  test("no keeper: an error, and nothing is detached", async () => {
    using tree = new SysfsTree([busy]);
    const usbfs: UsbfsCalls = { ...noCalls, keeperPath: () => join(folder, "none") };
    await expect(source(tree, await only(tree), true, usbfs).open()).rejects.toThrow(
      /cannot start the keeper of the kernel driver: .*ENOENT/,
    );
  });
});

describe("a part of a device", () => {
  const twin: FakeUsbDevice = {
    ...stick,
    interfaces: [MASS_STORAGE, { ...MASS_STORAGE, kernelDriver: "usb-storage" }],
  };

  test("each has a descriptor of its own, with its own mask, and resets no port", async () => {
    using tree = new SysfsTree([{ ...stick, interfaces: [MASS_STORAGE, MASS_STORAGE] }]);
    const masks: { fd: number; mask: number }[] = [];
    const usbfs: UsbfsCalls = { ...noCalls, dropPrivileges: (fd, mask) => masks.push({ fd, mask }) && 0 };
    const opened = [];
    for (const part of partsOf(await only(tree)))
      opened.push(await usbfsSource({ part, take: false, roots: tree.roots, clock: realClock, usbfs }).open());
    expect(opened).toMatchObject([
      { bus: { kind: "usbfs", mayReset: false }, interfaces: [0] },
      { bus: { kind: "usbfs", mayReset: false }, interfaces: [1] },
    ]);
    expect(masks).toEqual(opened.map(({ descriptor }, at) => ({ fd: descriptor, mask: 1 << at })));
    await opened[1]?.reopen();
    expect(masks[2]).toMatchObject({ fd: opened[1]?.descriptor, mask: 0b10 });
    for (const one of opened) await one.release();
  });

  test("a kernel driver on the other one is none of its business", async () => {
    using tree = new SysfsTree([twin]);
    const parts = partsOf(await only(tree));
    const sources = parts.map((part) =>
      usbfsSource({ part, take: false, roots: tree.roots, clock: realClock, usbfs: noCalls }),
    );
    expect(sources.map(({ key }) => key)).toEqual(["1-1:0", "1-1:1"]);
    await (await sources[0]?.open())?.release();
    await expect(sources[1]?.open()).rejects.toMatchObject({ code: "DEVICE_BUSY" });
  });
});
