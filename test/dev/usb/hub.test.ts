import { describe, expect, test } from "vitest";
import type { Driver } from "../../../src/dev/usb/usbdi.js";
import type { DeviceModel } from "../../../src/vdev/model.js";
import { DESCRIPTOR, type SetupPacket } from "../../../src/dev/usb/usb.js";
import { type ControlReply, UsbFunction } from "../../../src/vdev/function.js";
import { Hub } from "../../../src/vdev/hub-model.js";
import { makeRig, type StackRig, treeNames } from "./rig.js";

const GADGET_CLASS = 0xff;
const gadgetDriver: Driver = {
  name: "gadget",
  match: [{ interfaceClass: GADGET_CLASS }],
  endpoints: {},
  attach: async () => {},
};

function makeGadget(serial: string): DeviceModel {
  return new UsbFunction({
    speed: "high",
    vendor: 0x1209,
    product: 3,
    revision: 0x0100,
    serial,
    interfaces: [
      { interfaceNumber: 0, interfaceClass: GADGET_CLASS, interfaceSubClass: 0, interfaceProtocol: 0, endpoints: [] },
    ],
  });
}

function makeHub(rig: StackRig, portCount = 4): Hub {
  return new Hub({ clock: rig.sim.clock, portCount });
}

const gadgetsOf = (rig: StackRig): string[] => treeNames(rig).filter((name) => name.startsWith("gadget"));

/** Long enough for every hub on the way to report, debounce and reset. */
async function pass(rig: StackRig, ms = 3000): Promise<void> {
  await rig.sim.clock.advance(ms);
}

describe("external hubs (USB 2.0 ch. 11)", () => {
  test("what is behind a hub at boot is found", async () => {
    const rig = makeRig([gadgetDriver]);
    const hub = makeHub(rig);
    hub.plugPort(1, makeGadget("A"));
    hub.plugPort(4, makeGadget("B"));
    rig.vhc.plug(1, hub);
    await rig.boot();
    expect(rig.notices.map((n) => n.identity.serial)).toEqual(["A", "B"]);
  });

  test("plugged and unplugged at run time behind a hub; the neighbour does not notice", async () => {
    const rig = makeRig([gadgetDriver]);
    const hub = makeHub(rig);
    hub.plugPort(1, makeGadget("stays"));
    rig.vhc.plug(1, hub);
    await rig.boot();
    for (let round = 0; round < 3; round++) {
      hub.plugPort(2, makeGadget("comes"));
      await pass(rig);
      expect(gadgetsOf(rig)).toEqual(["gadget0", "gadget1"]);
      hub.unplugPort(2);
      await pass(rig);
      expect(gadgetsOf(rig)).toEqual(["gadget0"]);
    }
    expect(rig.notices.map((n) => n.identity.serial)).toEqual(["stays", "comes", "comes", "comes"]);
  });

  test("five hubs in a chain work, what is behind a sixth is refused (USB 2.0 §4.1.1)", async () => {
    const rig = makeRig([gadgetDriver]);
    const hubs = Array.from({ length: 6 }, () => makeHub(rig, 2));
    hubs.forEach((hub, level) => {
      const next = hubs[level + 1];
      hub.plugPort(1, makeGadget(`level ${level + 1}`));
      if (next !== undefined) hub.plugPort(2, next);
    });
    const [first] = hubs;
    if (first === undefined) throw new Error("no hub");
    rig.vhc.plug(1, first);
    await rig.boot();
    await pass(rig, 20_000);
    expect(rig.notices.map((n) => n.identity.serial).sort()).toEqual([1, 2, 3, 4, 5].map((n) => `level ${n}`));
    expect(rig.log().join("\n")).toContain("at most 5 in a chain");
  });

  test("a hub that is pulled takes everything behind it along, and works again when it is back", async () => {
    const rig = makeRig([gadgetDriver]);
    const [outer, inner] = [makeHub(rig), makeHub(rig)];
    outer.plugPort(1, makeGadget("A"));
    outer.plugPort(3, inner);
    inner.plugPort(2, makeGadget("B"));
    rig.vhc.plug(1, outer);
    await rig.boot();
    await pass(rig);
    expect(gadgetsOf(rig)).toHaveLength(2);
    rig.vhc.unplug(1);
    await pass(rig);
    expect(treeNames(rig)).toEqual(["vhc0", "usb0", "uhub0"]);
    rig.vhc.plug(1, outer);
    await pass(rig, 10_000);
    expect(gadgetsOf(rig)).toHaveLength(2);
  });

  test("a port that connects all the time is left alone for a while, then looked at again", async () => {
    const rig = makeRig([gadgetDriver]);
    const hub = makeHub(rig);
    rig.vhc.plug(1, hub);
    await rig.boot();
    const device = makeGadget("flaps");
    for (let n = 0; n < 30; n++) {
      hub.plugPort(1, device);
      await pass(rig, 200);
      hub.unplugPort(1);
      await pass(rig, 50);
    }
    const attached = rig.notices.length;
    expect(attached).toBeLessThanOrEqual(10);
    expect(rig.log().filter((line) => line.includes("left alone"))).toHaveLength(1);
    hub.plugPort(1, device);
    await pass(rig, 20_000);
    expect(rig.notices).toHaveLength(attached + 1);
  });

  test.each([0, 32, 255])(
    "one that says it has %i ports is left alone, and its neighbour is not (§11.23.2.1)",
    async (portCount) => {
      class Liar extends Hub {
        protected override onControl(setup: SetupPacket, answer: () => ControlReply): ControlReply {
          const reply = answer();
          if (setup.wValue === DESCRIPTOR.HUB << 8 && typeof reply === "object") reply.set([portCount], 2);
          return reply;
        }
      }
      const rig = makeRig([gadgetDriver]);
      const hub = makeHub(rig);
      hub.plugPort(1, new Liar({ clock: rig.sim.clock }));
      hub.plugPort(2, makeGadget("neighbour"));
      rig.vhc.plug(1, hub);
      await rig.boot();
      expect(rig.notices.map((n) => n.identity.serial)).toEqual(["neighbour"]);
      expect(rig.log().join("\n")).toMatch(new RegExp(`hub with ${portCount} ports: 1 to 31`));
    },
  );
});
