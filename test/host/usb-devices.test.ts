import { describe, expect, test, vi } from "vitest";
import { partsOf } from "../../src/host/functions.js";
import { HostError, type HostErrorCode } from "../../src/host/errors.js";
import type { HostEvent } from "../../src/host/events.js";
import { parseSelector } from "../../src/host/selector.js";
import type { DeviceSource } from "../../src/host/sources/source.js";
import type { Launched } from "../../src/host/sessions.js";
import { UsbDevices } from "../../src/host/usb-devices.js";
import { deferred } from "../../src/host/waits.js";
import { realClock } from "../../src/rumpuser/real/clock.js";
import { type FakeUsbDevice, MASS_STORAGE, SysfsTree } from "./sysfs-tree.js";

/** Stands for the supervisor: notes what is launched; the test ends it. */
class FakeSupervisor {
  readonly launches: { readonly key: string; readonly stops: string[]; end(error?: HostError): Promise<void> }[] = [];
  /** What a launch comes to; undefined = it attaches. */
  fails: HostErrorCode | undefined;
  /** Sessions wait for a device that was pulled out. */
  awaits = false;

  launch(source: DeviceSource): Launched {
    const ended = deferred<HostError | undefined>();
    const stops: string[] = [];
    const failure = this.fails === undefined ? undefined : new HostError(this.fails, "scripted");
    if (failure !== undefined) ended.resolve(failure);
    const end = async (error?: HostError): Promise<void> => {
      ended.resolve(error);
      await ended.promise;
    };
    this.launches.push({ key: source.key, stops, end });
    return {
      attached: Promise.resolve(failure),
      ended: ended.promise,
      session: {
        lost: (reason) => stops.push(reason),
        unplugged: () => stops.push("unplugged"),
        replugged: async (again) => {
          if (this.awaits) stops.push(`back at ${again.key}`);
          return this.awaits;
        },
      },
    };
  }

  get keys(): string[] {
    return this.launches.map((launch) => launch.key);
  }
}

interface Rig {
  readonly usb: UsbDevices;
  readonly supervisor: FakeSupervisor;
  readonly events: HostEvent[];
  /** Reads the tree again, to its end. */
  readonly refresh: () => Promise<void>;
}

function rig(tree: SysfsTree, ...selectors: string[]): Rig {
  return rigOf(tree, false, selectors);
}

function rigOf(tree: SysfsTree, split: boolean, selectors: readonly string[] = []): Rig {
  const supervisor = new FakeSupervisor();
  const events: HostEvent[] = [];
  const usb = new UsbDevices({
    selectors: selectors.map(parseSelector).filter((it) => it.kind !== "sim" && it.kind !== "usbip"),
    take: false,
    ...(split ? { partsOf } : {}),
    roots: tree.roots,
    clock: realClock,
    usbfs: { detachKernelDriver: () => 0, dropPrivileges: () => 0, keeperPath: () => "/nonexistent" },
    sessions: supervisor,
    emit: (event) => events.push(event),
  });
  const refresh = async (): Promise<void> => {
    usb.refresh();
    await usb.idle();
  };
  return { usb, supervisor, events, refresh };
}

const stick: FakeUsbDevice = { path: "1-1", deviceNumber: 2, strings: { serial: "S1" } };
const keyboard: FakeUsbDevice = { path: "1-2", deviceNumber: 3, interfaces: [{ ids: [3, 1, 1] }] };

test("no descriptors for the list: told, and read again by itself; a device that could not be served is tried again", async () => {
  using tree = new SysfsTree([stick]);
  const supervisor = new FakeSupervisor();
  const events: HostEvent[] = [];
  let unreadable = 0;
  const usb = new UsbDevices({
    selectors: [],
    take: false,
    roots: {
      dev: tree.roots.dev,
      get sysfs() {
        if (unreadable-- > 0) throw Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" });
        return tree.roots.sysfs;
      },
    },
    clock: realClock,
    usbfs: { detachKernelDriver: () => 0, dropPrivileges: () => 0, keeperPath: () => "/nonexistent" },
    sessions: supervisor,
    emit: (event) => events.push(event),
  });
  await usb.start();
  tree.plug({ path: "1-3", deviceNumber: 4 });
  unreadable = 1;
  usb.refresh();
  await vi.waitFor(() => expect(events).toHaveLength(1));
  expect(events).toEqual([
    {
      event: "error",
      code: "NO_RESOURCES",
      message: expect.stringMatching(/^reading the list of USB devices: EMFILE/),
    },
  ]);
  expect(supervisor.keys).toEqual(["1-1"]);
  supervisor.fails = "NO_RESOURCES";
  await vi.waitFor(() => expect(supervisor.keys).toEqual(["1-1", "1-3"]), { timeout: 10_000 });
  supervisor.fails = undefined;
  await vi.waitFor(() => expect(supervisor.keys).toEqual(["1-1", "1-3", "1-3"]), { timeout: 10_000 });
  await usb.close();
});

describe("without selectors", () => {
  test("every device that a driver matches, now and as plugged in; others are nobody's business", async () => {
    using tree = new SysfsTree([stick, keyboard]);
    const { usb, supervisor, events, refresh } = rig(tree);
    expect(await usb.start()).toEqual([undefined]);
    tree.plug({ path: "1-3", deviceNumber: 4 });
    await refresh();
    expect(supervisor.keys).toEqual(["1-1", "1-3"]);
    expect(events).toEqual([]);
  });

  test("unplugged: its session is stopped; plugged in again: a new one", async () => {
    using tree = new SysfsTree([stick]);
    const { usb, supervisor, refresh } = rig(tree);
    await usb.start();
    tree.unplug(stick);
    await refresh();
    expect(supervisor.launches[0]?.stops).toEqual(["unplugged"]);
    tree.plug({ ...stick, deviceNumber: 3 });
    await refresh();
    expect(supervisor.keys).toEqual(["1-1", "1-1"]);
  });

  test("pulled out and in again, also in another port: its session goes on with it; another stick gets one of its own", async () => {
    using tree = new SysfsTree([stick]);
    const { usb, supervisor, refresh } = rig(tree);
    supervisor.awaits = true;
    await usb.start();
    tree.unplug(stick);
    await refresh();
    tree.plug({ ...stick, path: "1-3", deviceNumber: 4, strings: { serial: "S2" } });
    await refresh();
    expect(supervisor.keys).toEqual(["1-1", "1-3"]);
    tree.plug({ ...stick, path: "1-4", deviceNumber: 5 });
    await refresh();
    expect(supervisor.launches[0]?.stops).toEqual(["unplugged", "back at 1-4"]);
    expect(supervisor.keys).toEqual(["1-1", "1-3"]);
    tree.unplug({ ...stick, path: "1-4", deviceNumber: 5 });
    await refresh();
    expect(supervisor.launches[0]?.stops).toEqual(["unplugged", "back at 1-4", "unplugged"]);
  });

  test("in again without permission yet: its session is told when it may be opened", async () => {
    using tree = new SysfsTree([stick]);
    const { usb, supervisor, refresh } = rig(tree);
    supervisor.awaits = true;
    await usb.start();
    tree.unplug(stick);
    await refresh();
    const back: FakeUsbDevice = { ...stick, deviceNumber: 5 };
    tree.plug(back);
    tree.removeNode(back);
    await refresh();
    expect(supervisor.launches.map(({ stops }) => stops)).toEqual([["unplugged"]]);
    tree.plug(back); // the same plug-in, with its node
    await refresh();
    expect(supervisor.launches.map(({ stops }) => stops)).toEqual([["unplugged", "back at 1-1"]]);
  });

  test("replaced between two looks: the old session is stopped and a new one started", async () => {
    using tree = new SysfsTree([stick]);
    const { usb, supervisor, refresh } = rig(tree);
    await usb.start();
    tree.unplug(stick);
    tree.plug({ ...stick, deviceNumber: 9 });
    await refresh();
    expect(supervisor.launches[0]?.stops).toEqual(["unplugged"]);
    expect(supervisor.keys).toEqual(["1-1", "1-1"]);
  });

  test("a session that ended is not started again while the device stays plugged in", async () => {
    using tree = new SysfsTree([stick]);
    const { usb, supervisor, refresh } = rig(tree);
    await usb.start();
    await supervisor.launches[0]?.end(new HostError("RUMP_LOST", "scripted"));
    await refresh();
    await refresh();
    expect(supervisor.keys).toEqual(["1-1"]);
  });

  test("after close nothing is started", async () => {
    using tree = new SysfsTree();
    const { usb, supervisor, refresh } = rig(tree);
    await usb.start();
    await usb.close();
    tree.plug(stick);
    await refresh();
    expect(supervisor.keys).toEqual([]);
  });
});

describe("what was refused is tried again when the reason has visibly gone", () => {
  test("DEVICE_BUSY: when the kernel driver has let go", async () => {
    const busy = { ...stick, interfaces: [{ ...MASS_STORAGE, kernelDriver: "usb-storage" }] };
    using tree = new SysfsTree([busy]);
    const { usb, supervisor, refresh } = rig(tree);
    supervisor.fails = "DEVICE_BUSY";
    expect((await usb.start()).map((outcome) => outcome?.code)).toEqual(["DEVICE_BUSY"]);
    await refresh();
    expect(supervisor.keys).toHaveLength(1);
    tree.unplug(busy);
    tree.plug(stick); // the same plug-in, without the driver
    await refresh();
    expect(supervisor.keys).toHaveLength(2);
  });

  test("NOT_PERMITTED: when the node may be opened that could not be before", async () => {
    using tree = new SysfsTree([stick]);
    tree.removeNode(stick);
    const { usb, supervisor, refresh } = rig(tree);
    supervisor.fails = "NOT_PERMITTED";
    await usb.start();
    await refresh();
    expect(supervisor.keys).toHaveLength(1);
    tree.plug(stick); // the same plug-in, with its node
    await refresh();
    await refresh(); // open(2) says no though access(2) says yes: once is enough
    expect(supervisor.keys).toHaveLength(2);
  });

  test("NOT_PERMITTED: also when that came while its session still tried, and once for each look", async () => {
    using tree = new SysfsTree([stick]);
    tree.removeNode(stick);
    const { usb, supervisor, refresh } = rig(tree);
    await usb.start();
    tree.plug(stick); // the same plug-in, with its node
    await refresh();
    expect(supervisor.keys).toEqual(["1-1"]);
    const refusal = new HostError("NOT_PERMITTED", "as it was when it was opened");
    await supervisor.launches[0]?.end(refusal);
    await vi.waitFor(() => expect(supervisor.keys).toEqual(["1-1", "1-1"]));
    await supervisor.launches[1]?.end(refusal);
    await usb.idle();
    expect(supervisor.keys).toEqual(["1-1", "1-1"]);
  });

  test("NO_DRIVER: when its interfaces have appeared", async () => {
    using tree = new SysfsTree([{ ...stick, interfaces: [] }]);
    const { usb, supervisor, events, refresh } = rig(tree, "1-1");
    expect((await usb.start()).map((outcome) => outcome?.code)).toEqual(["NO_DRIVER"]);
    expect(events).toMatchObject([{ event: "error", code: "NO_DRIVER", device: "1-1" }]);
    tree.plug(stick);
    await refresh();
    expect(supervisor.keys).toEqual(["1-1"]);
  });
});

describe("with selectors", () => {
  test.each(["1-1", "0951:1666", "@S1"])("%s: that device and no other", async (selector) => {
    using tree = new SysfsTree([stick, { path: "1-3", deviceNumber: 4, product: "1667" }]);
    const { usb, supervisor } = rig(tree, selector);
    expect(await usb.start()).toEqual([undefined]);
    expect(supervisor.keys).toEqual(["1-1"]);
  });

  test("one that is not plugged in is an error, and is taken when it comes", async () => {
    using tree = new SysfsTree();
    const { usb, supervisor, events, refresh } = rig(tree, "0951:1666");
    expect((await usb.start()).map((outcome) => outcome?.code)).toEqual(["NO_SUCH_DEVICE"]);
    expect(events).toMatchObject([
      { event: "error", code: "NO_SUCH_DEVICE", message: "no USB device 0951:1666 is plugged in; see: rumpusb list" },
    ]);
    tree.plug(stick);
    await refresh();
    expect(supervisor.keys).toEqual(["1-1"]);
  });
});

describe("split", () => {
  const KEYBOARD = { ids: [3, 1, 1] } as const;
  const twin: FakeUsbDevice = { ...stick, interfaces: [MASS_STORAGE, KEYBOARD, MASS_STORAGE] };

  test("a session for each function of a device that has several; without it, one for the device", async () => {
    using tree = new SysfsTree([twin, { path: "1-2", deviceNumber: 3, interfaces: [KEYBOARD, MASS_STORAGE] }]);
    const split = rigOf(tree, true);
    expect(await split.usb.start()).toEqual([undefined, undefined, undefined]);
    await split.refresh();
    expect(split.supervisor.keys).toEqual(["1-1:0", "1-1:2", "1-2"]);
    const whole = rig(tree);
    await whole.usb.start();
    expect(whole.supervisor.keys).toEqual(["1-1", "1-2"]);
  });

  test("a selector names the device, with all its functions; one that fails costs only itself", async () => {
    using tree = new SysfsTree([twin, { path: "1-3", deviceNumber: 4 }]);
    const { usb, supervisor, refresh } = rigOf(tree, true, ["@S1"]);
    await usb.start();
    await supervisor.launches[0]?.end(new HostError("DRIVER", "scripted"));
    await refresh();
    expect(supervisor.keys).toEqual(["1-1:0", "1-1:2"]);
    expect(supervisor.launches.map(({ stops }) => stops)).toEqual([[], []]);
  });

  test("unplugged: every function ends; back: each session goes on with its own", async () => {
    using tree = new SysfsTree([twin]);
    const { usb, supervisor, refresh } = rigOf(tree, true);
    supervisor.awaits = true;
    await usb.start();
    tree.unplug(twin);
    await refresh();
    tree.plug({ ...twin, path: "1-4", deviceNumber: 5 });
    await refresh();
    expect(supervisor.launches.map(({ key, stops }) => [key, stops])).toEqual([
      ["1-1:0", ["unplugged", "back at 1-4:0"]],
      ["1-1:2", ["unplugged", "back at 1-4:2"]],
    ]);
  });

  test("a device of which one function was seen first stays whole while it is driven", async () => {
    using tree = new SysfsTree([{ ...twin, interfaces: [MASS_STORAGE] }]);
    const { usb, supervisor, refresh } = rigOf(tree, true);
    await usb.start();
    tree.plug(twin);
    await refresh();
    expect(supervisor.keys).toEqual(["1-1"]);
    expect(supervisor.launches[0]?.stops).toEqual([]);
  });

  test("the function that a kernel driver has let go of is tried again, and no other", async () => {
    const held: FakeUsbDevice = {
      ...twin,
      interfaces: [MASS_STORAGE, KEYBOARD, { ...MASS_STORAGE, kernelDriver: "x" }],
    };
    using tree = new SysfsTree([held]);
    const { usb, supervisor, refresh } = rigOf(tree, true);
    await usb.start();
    await supervisor.launches[1]?.end(new HostError("DEVICE_BUSY", "scripted"));
    await refresh();
    expect(supervisor.keys).toEqual(["1-1:0", "1-1:2"]);
    tree.unplug(held);
    tree.plug(twin); // the same plug-in, without the driver
    await refresh();
    expect(supervisor.keys).toEqual(["1-1:0", "1-1:2", "1-1:2"]);
  });
});
