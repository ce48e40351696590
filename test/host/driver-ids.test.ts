/** `--driver-id`: what it takes, and what the rump process is told. */
import { expect, test } from "vitest";
import { findMatches } from "../../src/dev/usb/match.js";
import { driverToLoad } from "../../src/dev/usb/driver-modules.js";
import { DRIVERS } from "../../src/dev/usb/drivers.js";
import { parseDriverId } from "../../src/host/driver-ids.js";

const IDS = {
  vendor: 0x1234,
  product: 0xabcd,
  revision: 0x0100,
  deviceClass: 0,
  deviceSubClass: 0,
  deviceProtocol: 0,
  interfaceClass: 0x02,
  interfaceSubClass: 0x02,
  interfaceProtocol: 0x01,
  interfaceNumber: 0,
};

test("an id beats the class that the device says it has", () => {
  const drivers = [parseDriverId("1234:ABCD=uftdi"), ...DRIVERS];
  expect(findMatches(DRIVERS, IDS)[0]?.driver.name).toBe("umodem");
  expect(findMatches(drivers, IDS)[0]?.driver).toMatchObject({ name: "uftdi", byId: true });
});

test("the rump process is told the rules of an id alone; those of a module are in the module", () => {
  expect(driverToLoad(parseDriverId("1234:abcd=uplcom"))).toEqual({
    name: "uplcom",
    specifier: "./ucom/uplcom.js",
    match: [{ vendor: 0x1234, product: 0xabcd }],
  });
  for (const driver of DRIVERS) expect(Object.keys(driverToLoad(driver))).toEqual(["name", "specifier"]);
});

test.each(["", "1234=uftdi", "1234:5678", "1234:5678=nothing", "12345:5678=uftdi", "1234:5678=uftdi "])(
  "%o is refused",
  (text) => {
    expect(() => parseDriverId(text)).toThrow(/idVendor:idProduct=driver, one of umass, uas, umodem/);
  },
);
