/** Devices that need something of their own: the rows of the quirk tables, each on a model with its ids. */
import { describe, expect, test } from "vitest";
import { isJtag } from "../../../../src/dev/usb/ucom/uftdi-match.js";
import { AcmModel, type AcmShape } from "../../../../src/vdev/serial-acm.js";
import { Cp210xModel } from "../../../../src/vdev/serial-cp210x.js";
import { Pl2303Model } from "../../../../src/vdev/serial-pl2303.js";
import { pattern } from "../../../vdev/bus.js";
import { attachSerial, DRIVERS, SETTINGS, until } from "./rig.js";

const acm = (vendorId: number, productId: number, shape: AcmShape = "union") => {
  return (options: ConstructorParameters<typeof AcmModel>[0]) =>
    new AcmModel({ ...options, vendorId, productId, shape });
};

describe("umodem", () => {
  test("what only says that it is a modem is left alone", async () => {
    const rig = await attachSerial(acm(0x04e2, 0x1410));
    expect(rig.kernel.devices).toEqual([]);
    expect(rig.problems()[0]).toContain("umodem leaves it: it says that it is a modem, and is none");
  });

  test("without a descriptor that names it, the data is on interface 1", async () => {
    const rig = await attachSerial(acm(0x0572, 0x1329, "bare"));
    const { port, collector } = await rig.openPort();
    await rig.sim.run(() => port.write(pattern(100, 1)));
    await until(rig, () => collector.bytes === 100);
  });

  test("a device that SET_CONTROL_LINE_STATE stops gets none", async () => {
    const requests: number[] = [];
    const rig = await attachSerial(acm(0x20df, 0x0001), DRIVERS, ({ transfer: { setup } }) => {
      if (setup?.[0] === 0x21) requests.push(setup[1] ?? 0);
    });
    const { port } = await rig.openPort();
    await rig.sim.run(() => port.setOutputs({ dtr: false }));
    await rig.sim.run(() => port.close());
    expect(requests).toEqual([0x20]);
  });

  test("endpoints that begin halted are cleared at open", async () => {
    const rig = await attachSerial(acm(0x2912, 0x0001));
    rig.model.port(0).bulkIn.halt();
    rig.model.port(0).bulkOut.halt();
    const { port, collector } = await rig.openPort();
    expect([rig.model.port(0).bulkIn.halted, rig.model.port(0).bulkOut.halted]).toEqual([false, false]);
    await rig.sim.run(() => port.write(pattern(10, 1)));
    await until(rig, () => collector.bytes === 10);
  });

  test.each([
    ["a device that bears one read at a time gets one", 0x0ace, 0x1611, 1],
    ["any other gets 200", 0x1209, 0x0002, 200],
  ] as const)("%s", async (_what, vendor, product, expected) => {
    const rig = await attachSerial((options) => acm(vendor, product)({ ...options, wiring: "open" }));
    await rig.openPort();
    await rig.sim.clock.advance(10);
    expect(rig.model.port(0).bulkIn.pendingTransfers).toBe(expected);
  });
});

test("uplcom: the status is the first byte of what these telephones tell", async () => {
  const make = (productId: number) => (options: ConstructorParameters<typeof AcmModel>[0]) =>
    new Pl2303Model("pl2303-hx", { ...options, wiring: "open", vendorId: 0x11f5, productId });
  for (const [product, dsr] of [
    [0x0001, true],
    [0x0005, false],
  ] as const) {
    const rig = await attachSerial(make(product));
    const { collector } = await rig.openPort();
    await rig.sim.clock.advance(10);
    // DSR in the first byte, DCD in the ninth.
    rig.model.port(0).interruptIn?.send(Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 1, 0), true);
    await rig.sim.clock.advance(10);
    expect(collector.statuses.at(-1)?.lines).toMatchObject({ dsr, dcd: !dsr });
  }
});

test("uftdi: boards that say by their names that the first port is JTAG", () => {
  const chip = { manufacturer: "FTDI", productName: "Dual RS232-HS" };
  expect([isJtag(chip, 0), isJtag({ ...chip, manufacturer: "CALAO Systems" }, 0)]).toEqual([false, true]);
  expect(isJtag({ ...chip, manufacturer: "CALAO Systems" }, 1)).toBe(false);
  expect(isJtag({ ...chip, productName: "BeagleBone/XDS100V2" }, 0)).toBe(true);
});

test("uslsa: the CP2101 has plain frames alone, and refuses others", async () => {
  const rig = await attachSerial((options) => new Cp210xModel("cp2101", options));
  const { port } = await rig.openPort();
  const settings = { ...SETTINGS, dataBits: 7, parity: "even", stopBits: 2 } as const;
  await expect(rig.sim.run(() => port.configure(settings))).rejects.toMatchObject({
    code: "EINVAL",
    nearest: { dataBits: 8, parity: "even", stopBits: 1 },
  });
  await rig.sim.run(() => port.configure({ ...SETTINGS, parity: "odd" }));
  expect(rig.model.port(0).uart.settings).toMatchObject({ dataBits: 8, parity: "odd", stopBits: 1 });
});
