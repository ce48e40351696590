/** Devices that bend chapter 9: one row, one fact, one reason. Class drivers keep their own tables. */

export type QuirkName =
  /** A string must be asked for with its exact length: a 255-byte read of it hangs the device. */
  "stringsByLength";

export interface DeviceQuirk {
  readonly vendor: number;
  readonly product: number;
  readonly quirk: QuirkName;
  readonly reason: string;
}

export const DEVICE_QUIRKS: readonly DeviceQuirk[] = [
  { vendor: 0x03f0, product: 0x0701, quirk: "stringsByLength", reason: "HP 5300/5370C scanner (Linux usbcore quirks)" },
  {
    vendor: 0x0638,
    product: 0x0a13,
    quirk: "stringsByLength",
    reason: "Avision AV600U scanner (Linux usbcore quirks)",
  },
  {
    vendor: 0x10d6,
    product: 0x2200,
    quirk: "stringsByLength",
    reason: "Action Semiconductor flash disk (Linux usbcore quirks)",
  },
];

/** The rows that apply to a device. */
export function findQuirks(vendor: number, product: number): readonly DeviceQuirk[] {
  return DEVICE_QUIRKS.filter((row) => row.vendor === vendor && row.product === product);
}
