/** `--driver-id 1234:5678=uftdi`: a device whose ids no driver lists, driven by one that knows its kind. */
import { type DriverEntry, DRIVER_MODULES } from "../dev/usb/driver-modules.js";
import { HostError } from "./errors.js";

export const DRIVER_ID_HELP = `idVendor:idProduct=driver, one of ${DRIVER_MODULES.map(({ name }) => name).join(", ")}`;

/** @returns the driver with the ids in place of its own. @throws HostError USAGE */
export function parseDriverId(text: string): DriverEntry {
  const [, vendor, product, name] = /^([0-9a-f]{4}):([0-9a-f]{4})=([a-z]+)$/i.exec(text) ?? [];
  const driver = DRIVER_MODULES.find((one) => one.name === name);
  if (vendor === undefined || product === undefined || driver === undefined)
    throw new HostError("USAGE", `--driver-id "${text}" is not ${DRIVER_ID_HELP}`);
  const match = [{ vendor: Number.parseInt(vendor, 16), product: Number.parseInt(product, 16) }];
  return { ...driver, match, byId: true };
}
