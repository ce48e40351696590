/** Devices that lie about themselves: the device or the interface is left out, with the rule it broke in the log. */
import { expect, test } from "vitest";
import { DESCRIPTOR, REQUEST, type SetupPacket } from "../../../src/dev/usb/usb.js";
import type { Driver } from "../../../src/dev/usb/usbdi.js";
import { type ControlReply, UsbFunction } from "../../../src/vdev/function.js";
import { makeRig, treeNames } from "./rig.js";

const anyDriver: Driver = { name: "any", match: [{ vendor: 0x1209 }], endpoints: {}, attach: async () => {} };

/** Changes answers to GET_DESCRIPTOR of one type. */
interface Lie {
  readonly descriptor: number;
  /** Every so manieth answer of that type; undefined = every one. */
  readonly every?: number;
  readonly change: (bytes: Uint8Array) => Uint8Array | "stalled";
}

class Liar extends UsbFunction {
  readonly #lie: Lie;
  #asked = 0;

  constructor(lie: Lie) {
    const one = { interfaceNumber: 0, interfaceClass: 8, interfaceSubClass: 6, interfaceProtocol: 0x50, endpoints: [] };
    super({ speed: "high", vendor: 0x1209, product: 4, revision: 1, productName: "Liar", interfaces: [one] });
    this.#lie = lie;
  }

  protected override onControl(setup: SetupPacket, answer: () => ControlReply): ControlReply {
    const reply = answer();
    if (setup.bRequest !== REQUEST.GET_DESCRIPTOR || setup.wValue >> 8 !== this.#lie.descriptor) return reply;
    this.#asked++;
    if (this.#asked % (this.#lie.every ?? 1) !== 0) return reply;
    return reply === "stalled" ? reply : this.#lie.change(reply.slice());
  }
}

function put(at: number, ...values: number[]): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => {
    bytes.set(values, at);
    return bytes;
  };
}

const LIES: readonly [name: string, lie: Lie, said: RegExp][] = [
  [
    "a device descriptor that changes between two reads",
    { descriptor: DESCRIPTOR.DEVICE, every: 2, change: put(4, 0xff) },
    /changed between two reads/,
  ],
  ["a device descriptor of another type", { descriptor: DESCRIPTOR.DEVICE, change: put(1, 2) }, /type 2, wanted 1/],
  ["a device descriptor that is cut", { descriptor: DESCRIPTOR.DEVICE, change: (b) => b.slice(0, 5) }, /5 of 8 bytes/],
  ["a device descriptor that stalls", { descriptor: DESCRIPTOR.DEVICE, change: () => "stalled" }, /stalled/],
  ["no configuration", { descriptor: DESCRIPTOR.DEVICE, change: put(17, 0) }, /no configuration can be read/],
  [
    "255 configurations that all stall",
    { descriptor: DESCRIPTOR.CONFIGURATION, change: () => "stalled" },
    /configuration 0 left out/,
  ],
  [
    "a configuration that grows between the 9-byte read and the whole",
    { descriptor: DESCRIPTOR.CONFIGURATION, every: 2, change: put(2, 0xff) },
    /changed between two reads/,
  ],
  ["wTotalLength 8", { descriptor: DESCRIPTOR.CONFIGURATION, change: put(2, 8, 0) }, /wTotalLength 8, allowed/],
  [
    "wTotalLength 65535",
    { descriptor: DESCRIPTOR.CONFIGURATION, change: put(2, 0xff, 0xff) },
    /wTotalLength 65535, allowed/,
  ],
];

test.each(LIES)("%s: left out, and the log says which rule", async (_, lie, said) => {
  const rig = makeRig([anyDriver]);
  rig.vhc.plug(1, new Liar(lie));
  await rig.boot();
  await rig.settle();
  expect(rig.log().join("\n")).toMatch(said);
  expect(treeNames(rig)).toEqual(["vhc0", "usb0", "uhub0"]);
});

test.each([
  ["an endless string", { descriptor: DESCRIPTOR.STRING, change: put(0, 255) }],
  ["an empty language list", { descriptor: DESCRIPTOR.STRING, change: () => Uint8Array.of(2, 3) }],
  ["strings that stall", { descriptor: DESCRIPTOR.STRING, change: () => "stalled" as const }],
  ["an interface descriptor of length 0", { descriptor: DESCRIPTOR.CONFIGURATION, every: 2, change: put(9, 0) }],
] as const)("%s does not cost the device", async (_, lie) => {
  const rig = makeRig([anyDriver]);
  rig.vhc.plug(1, new Liar(lie));
  await rig.boot();
  expect(treeNames(rig)).toContain("usbdev0");
});
