/**
 * Standard descriptors: USB 2.0 §9.6, USB 3.2 §9.6, and the walk over a block of them.
 *
 * A device's bytes are input from a stranger: every step moves forward or throws.
 */
import { record, u16le, u8, viewOf } from "../../bytes.js";
import { DescriptorError } from "./errors.js";
import { DESCRIPTOR } from "./usb.js";

/** Device descriptor — USB 2.0 §9.6.1, Table 9-8. */
export const deviceDescriptor = record("device descriptor", "USB 2.0 §9.6.1", {
  bLength: u8,
  bDescriptorType: u8,
  bcdUSB: u16le,
  bDeviceClass: u8,
  bDeviceSubClass: u8,
  bDeviceProtocol: u8,
  bMaxPacketSize0: u8,
  idVendor: u16le,
  idProduct: u16le,
  bcdDevice: u16le,
  iManufacturer: u8,
  iProduct: u8,
  iSerialNumber: u8,
  bNumConfigurations: u8,
});
export type DeviceDescriptor = ReturnType<typeof deviceDescriptor.decode>;

/** Configuration descriptor — USB 2.0 §9.6.3, Table 9-10. `bMaxPower` in 2 mA units (8 mA at SuperSpeed). */
export const configurationDescriptor = record("configuration descriptor", "USB 2.0 §9.6.3", {
  bLength: u8,
  bDescriptorType: u8,
  wTotalLength: u16le,
  bNumInterfaces: u8,
  bConfigurationValue: u8,
  iConfiguration: u8,
  bmAttributes: u8,
  bMaxPower: u8,
});

/** Interface descriptor — USB 2.0 §9.6.5, Table 9-12. */
export const interfaceDescriptor = record("interface descriptor", "USB 2.0 §9.6.5", {
  bLength: u8,
  bDescriptorType: u8,
  bInterfaceNumber: u8,
  bAlternateSetting: u8,
  bNumEndpoints: u8,
  bInterfaceClass: u8,
  bInterfaceSubClass: u8,
  bInterfaceProtocol: u8,
  iInterface: u8,
});

/**
 * Endpoint descriptor — USB 2.0 §9.6.6, Table 9-13.
 * `wMaxPacketSize`: bits 10..0 are bytes; bits 12..11 count extra transactions per microframe and mean something only on
 * high-speed periodic endpoints.
 */
export const endpointDescriptor = record("endpoint descriptor", "USB 2.0 §9.6.6", {
  bLength: u8,
  bDescriptorType: u8,
  bEndpointAddress: u8,
  bmAttributes: u8,
  wMaxPacketSize: u16le,
  bInterval: u8,
});

/** Interface association descriptor — USB ECN IAD, Table 9-Z. */
export const associationDescriptor = record("interface association descriptor", "USB 3.2 §9.6.4", {
  bLength: u8,
  bDescriptorType: u8,
  bFirstInterface: u8,
  bInterfaceCount: u8,
  bFunctionClass: u8,
  bFunctionSubClass: u8,
  bFunctionProtocol: u8,
  iFunction: u8,
});
export type AssociationDescriptor = ReturnType<typeof associationDescriptor.decode>;

/** SuperSpeed endpoint companion — USB 3.2 §9.6.7. Bits 4..0 of bmAttributes: log2 of the bulk streams. */
export const companionDescriptor = record("SuperSpeed endpoint companion", "USB 3.2 §9.6.7", {
  bLength: u8,
  bDescriptorType: u8,
  bMaxBurst: u8,
  bmAttributes: u8,
  wBytesPerInterval: u16le,
});
export type CompanionDescriptor = ReturnType<typeof companionDescriptor.decode>;

/** Binary device object store header — USB 3.2 §9.6.2. */
export const bosDescriptor = record("BOS descriptor", "USB 3.2 §9.6.2", {
  bLength: u8,
  bDescriptorType: u8,
  wTotalLength: u16le,
  bNumDeviceCaps: u8,
});

/** Hub descriptor up to the variable bitmaps — USB 2.0 §11.23.2.1, Table 11-13. */
export const hubDescriptor = record("hub descriptor", "USB 2.0 §11.23.2.1", {
  bDescLength: u8,
  bDescriptorType: u8,
  bNbrPorts: u8,
  wHubCharacteristics: u16le,
  bPwrOn2PwrGood: u8,
  bHubContrCurrent: u8,
});

/**
 * The descriptors of a block, each as a view of it.
 * @throws DescriptorError at the first one whose length cannot be.
 */
export function* walkDescriptors(block: Uint8Array): Generator<Uint8Array> {
  let at = 0;
  while (at < block.length) {
    const length = block[at] ?? 0;
    if (length < 2 || at + length > block.length)
      throw new DescriptorError(
        `descriptor at byte ${at} claims ${length} of ${block.length - at} bytes (USB 2.0 §9.5)`,
        block.subarray(at),
      );
    yield block.subarray(at, at + length);
    at += length;
  }
}

/** A device capability of the BOS: its type (USB 3.2 Table 9-14) and its bytes after the 3-byte header. */
export interface DeviceCapability {
  readonly capabilityType: number;
  readonly data: Uint8Array;
}

/** The capabilities in a BOS block. @throws DescriptorError, RecordError */
export function parseBos(block: Uint8Array): DeviceCapability[] {
  const header = bosDescriptor.decode(block);
  if (header.bDescriptorType !== DESCRIPTOR.BOS)
    throw new DescriptorError(`BOS has descriptor type ${header.bDescriptorType} (USB 3.2 §9.6.2)`, block);
  const capabilities: DeviceCapability[] = [];
  const whole = block.subarray(0, Math.min(header.wTotalLength, block.length));
  for (const one of walkDescriptors(
    whole.subarray(Math.min(Math.max(header.bLength, bosDescriptor.size), whole.length)),
  )) {
    if (one[1] !== DESCRIPTOR.DEVICE_CAPABILITY || one.length < 3) continue;
    capabilities.push({ capabilityType: one[2] ?? 0, data: one.subarray(3) });
    if (capabilities.length === header.bNumDeviceCaps) break;
  }
  return capabilities;
}

/** Language ids of string descriptor 0 — USB 2.0 §9.6.7, Table 9-15. */
export function parseLanguages(block: Uint8Array): number[] {
  const body = stringBody(block);
  const view = viewOf(body);
  const languages: number[] = [];
  for (let at = 0; at + 2 <= body.length; at += 2) languages.push(view.getUint16(at, true));
  return languages;
}

/**
 * The text of a string descriptor (UTF-16LE, USB 2.0 §9.6.7, Table 9-16), made safe to print: control, format and unpaired
 * surrogate code points become "?", and the ends are trimmed.
 */
export function parseString(block: Uint8Array): string {
  const body = stringBody(block);
  const view = viewOf(body);
  let text = "";
  for (let at = 0; at + 2 <= body.length; at += 2) text += String.fromCharCode(view.getUint16(at, true));
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, "?").trim();
}

function stringBody(block: Uint8Array): Uint8Array {
  const length = block[0] ?? 0;
  if (length < 2 || length > block.length || block[1] !== DESCRIPTOR.STRING)
    throw new DescriptorError(`string descriptor claims ${length} of ${block.length} bytes (USB 2.0 §9.6.7)`, block);
  return block.subarray(2, length);
}
