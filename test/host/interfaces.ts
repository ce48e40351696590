import type { UsbDevice } from "../../src/host/discovery.js";

/** A device with interfaces of these classes, of which some have a driver of ours. */
export function deviceOf(classes: readonly number[], matched: readonly number[]): UsbDevice {
  return {
    path: "1-1",
    interfaces: classes.map((interfaceClass, interfaceNumber) => ({
      interfaceNumber,
      interfaceClass,
      interfaceSubClass: 0,
      interfaceProtocol: 0,
      kernelDriver: undefined,
    })),
    matches: matched.map((interfaceNumber) => ({ interfaceNumber, driver: "any", rank: 1, kernelDriver: undefined })),
  } as unknown as UsbDevice;
}
