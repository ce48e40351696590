/** The node of a device, and whether this user may open it. */
import { access, constants } from "node:fs/promises";
import { join } from "node:path";

export const DEV_BUS_USB = "/dev/bus/usb";

/** `/dev/bus/usb/001/002`. */
export function devicePath(devRoot: string, busNumber: number, deviceNumber: number): string {
  return join(devRoot, String(busNumber).padStart(3, "0"), String(deviceNumber).padStart(3, "0"));
}

/** Whether the node may be opened for reading and writing (access(2), so with the real user's rights). */
export async function mayOpen(path: string): Promise<boolean> {
  try {
    await access(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false; // whichever errno it is: the answer is no, and opening it will say why
  }
}
