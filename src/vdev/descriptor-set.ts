/**
 * The descriptors of a model, built from a description: device, configuration, strings, device qualifier, other-speed
 * configuration and BOS (USB 2.0 §9.6, USB 3.2 §9.6).
 */
import { concat } from "../bytes.js";
import {
  bosDescriptor,
  companionDescriptor,
  configurationDescriptor,
  deviceDescriptor,
  endpointDescriptor,
  interfaceDescriptor,
} from "../dev/usb/descriptors.js";
import { DESCRIPTOR, LANGID_EN_US, TRANSFER_TYPES } from "../dev/usb/usb.js";
import type { Speed, TransferType } from "../rumpuser/rumpuser.js";

export interface EndpointDescription {
  /** With the direction bit. */
  readonly endpointAddress: number;
  readonly type: Exclude<TransferType, "control">;
  /** Absent: the largest that the speed has (bulk: USB 2.0 §5.8.3, USB 3.2 §4.4.6). */
  readonly maxPacketBytes?: number;
  readonly bInterval?: number;
  /** SuperSpeed bulk: the log2 of its streams, 1 to 16 (USB 3.2 §9.6.7). Absent: none. */
  readonly streamsExponent?: number;
  /** Class-specific descriptors, after the endpoint's and its companion. */
  readonly extra?: readonly Uint8Array[];
}

export interface InterfaceDescription {
  readonly interfaceNumber: number;
  readonly alternateSetting?: number;
  readonly interfaceClass: number;
  readonly interfaceSubClass: number;
  readonly interfaceProtocol: number;
  readonly name?: string;
  readonly endpoints: readonly EndpointDescription[];
  /** Class-specific descriptors, after the interface descriptor. */
  readonly extra?: readonly Uint8Array[];
}

/** A device with one configuration. */
export interface FunctionDescription {
  readonly speed: Speed;
  readonly vendor: number;
  readonly product: number;
  /** bcdDevice. */
  readonly revision: number;
  readonly deviceClass?: number;
  readonly deviceSubClass?: number;
  readonly deviceProtocol?: number;
  readonly manufacturer?: string;
  readonly productName?: string;
  readonly serial?: string;
  readonly selfPowered?: boolean;
  readonly maxPowerMa?: number;
  readonly interfaces: readonly InterfaceDescription[];
}

export interface DescriptorSet {
  readonly device: Uint8Array;
  readonly configuration: Uint8Array;
  /** By index; 0 is the language list (USB 2.0 §9.6.7). */
  readonly strings: readonly Uint8Array[];
  /** High speed only: a device that works at full speed alone must stall the request (USB 2.0 §9.6.2). */
  readonly qualifier?: Uint8Array;
  readonly otherSpeed?: Uint8Array;
  /** SuperSpeed only. */
  readonly bos?: Uint8Array;
}

interface SpeedRow {
  readonly bcdUSB: number;
  /** SuperSpeed gives the exponent (USB 3.2 §9.6.1). */
  readonly bMaxPacketSize0: number;
  readonly bulkPacketBytes: number;
  /** Unit of bMaxPower (USB 2.0 Table 9-10, USB 3.2 Table 9-22). */
  readonly powerUnitMa: number;
}

const SPEEDS: Readonly<Record<Speed, SpeedRow>> = {
  low: { bcdUSB: 0x0200, bMaxPacketSize0: 8, bulkPacketBytes: 8, powerUnitMa: 2 },
  full: { bcdUSB: 0x0200, bMaxPacketSize0: 64, bulkPacketBytes: 64, powerUnitMa: 2 },
  high: { bcdUSB: 0x0200, bMaxPacketSize0: 64, bulkPacketBytes: 512, powerUnitMa: 2 },
  super: { bcdUSB: 0x0320, bMaxPacketSize0: 9, bulkPacketBytes: 1024, powerUnitMa: 8 },
  superPlus: { bcdUSB: 0x0320, bMaxPacketSize0: 9, bulkPacketBytes: 1024, powerUnitMa: 8 },
};

const CONFIGURATION_VALUE = 1;
/** USB 2.0 Table 9-10: bit 7 is always set, bit 6 = self-powered. */
const ATTRIBUTES = { RESERVED: 0x80, SELF_POWERED: 0x40 };
/** Characters that fit a string descriptor: (255 - 2) / 2. */
const MAX_STRING_CHARS = 126;
/** Packets of a burst minus one (USB 3.2 §9.6.7). */
const MAX_BURST = 15;

export function isSuperSpeed(speed: Speed): boolean {
  return speed === "super" || speed === "superPlus";
}

/** Bytes of a packet on an endpoint at this speed. */
export function endpointPacketBytes(endpoint: EndpointDescription, speed: Speed): number {
  return endpoint.maxPacketBytes ?? SPEEDS[speed].bulkPacketBytes;
}

/** @throws RangeError when a string is longer than a descriptor holds. */
export function buildDescriptors(description: FunctionDescription): DescriptorSet {
  const strings = new StringTable();
  const iManufacturer = strings.add(description.manufacturer);
  const iProduct = strings.add(description.productName);
  const iSerialNumber = strings.add(description.serial);
  const row = SPEEDS[description.speed];
  const identity = {
    bcdUSB: row.bcdUSB,
    bDeviceClass: description.deviceClass ?? 0,
    bDeviceSubClass: description.deviceSubClass ?? 0,
    bDeviceProtocol: description.deviceProtocol ?? 0,
  };
  const device = deviceDescriptor.encode({
    bLength: deviceDescriptor.size,
    bDescriptorType: DESCRIPTOR.DEVICE,
    ...identity,
    bMaxPacketSize0: row.bMaxPacketSize0,
    idVendor: description.vendor,
    idProduct: description.product,
    bcdDevice: description.revision,
    iManufacturer,
    iProduct,
    iSerialNumber,
    bNumConfigurations: 1,
  });
  const configuration = buildConfiguration(description, description.speed, DESCRIPTOR.CONFIGURATION, strings);
  const base = { device, configuration };
  if (description.speed === "high") {
    // The qualifier is the device descriptor as it would be at full speed, without the ids (USB 2.0 Table 9-9).
    const qualifier = Uint8Array.of(10, DESCRIPTOR.DEVICE_QUALIFIER, ...device.subarray(2, 7), 64, 1, 0);
    const otherSpeed = buildConfiguration(description, "full", DESCRIPTOR.OTHER_SPEED_CONFIGURATION, strings);
    return { ...base, strings: strings.descriptors(), qualifier, otherSpeed };
  }
  if (isSuperSpeed(description.speed)) return { ...base, strings: strings.descriptors(), bos: buildBos() };
  return { ...base, strings: strings.descriptors() };
}

function buildConfiguration(
  description: FunctionDescription,
  speed: Speed,
  bDescriptorType: number,
  strings: StringTable,
): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const one of description.interfaces) {
    parts.push(
      interfaceDescriptor.encode({
        bLength: interfaceDescriptor.size,
        bDescriptorType: DESCRIPTOR.INTERFACE,
        bInterfaceNumber: one.interfaceNumber,
        bAlternateSetting: one.alternateSetting ?? 0,
        bNumEndpoints: one.endpoints.length,
        bInterfaceClass: one.interfaceClass,
        bInterfaceSubClass: one.interfaceSubClass,
        bInterfaceProtocol: one.interfaceProtocol,
        iInterface: strings.add(one.name),
      }),
      ...(one.extra ?? []),
      ...one.endpoints.flatMap((endpoint) => buildEndpoint(endpoint, speed)),
    );
  }
  const body = concat(parts);
  const header = configurationDescriptor.encode({
    bLength: configurationDescriptor.size,
    bDescriptorType,
    wTotalLength: configurationDescriptor.size + body.length,
    bNumInterfaces: new Set(description.interfaces.map((one) => one.interfaceNumber)).size,
    bConfigurationValue: CONFIGURATION_VALUE,
    iConfiguration: 0,
    bmAttributes: ATTRIBUTES.RESERVED | (description.selfPowered === true ? ATTRIBUTES.SELF_POWERED : 0),
    bMaxPower: Math.ceil((description.maxPowerMa ?? 100) / SPEEDS[speed].powerUnitMa),
  });
  return concat([header, body]);
}

function buildEndpoint(endpoint: EndpointDescription, speed: Speed): Uint8Array[] {
  const descriptor = endpointDescriptor.encode({
    bLength: endpointDescriptor.size,
    bDescriptorType: DESCRIPTOR.ENDPOINT,
    bEndpointAddress: endpoint.endpointAddress,
    bmAttributes: TRANSFER_TYPES.indexOf(endpoint.type),
    wMaxPacketSize: endpointPacketBytes(endpoint, speed),
    bInterval: endpoint.bInterval ?? 0,
  });
  const extra = endpoint.extra ?? [];
  if (!isSuperSpeed(speed)) return [descriptor, ...extra];
  const companion = companionDescriptor.encode({
    bLength: companionDescriptor.size,
    bDescriptorType: DESCRIPTOR.SS_ENDPOINT_COMPANION,
    bMaxBurst: endpoint.type === "bulk" ? MAX_BURST : 0,
    bmAttributes: endpoint.streamsExponent ?? 0,
    wBytesPerInterval: endpoint.type === "bulk" ? 0 : endpointPacketBytes(endpoint, speed),
  });
  return [descriptor, companion, ...extra];
}

/** The two capabilities that every SuperSpeed device has (USB 3.2 §9.6.2.1, §9.6.2.2). */
function buildBos(): Uint8Array {
  const usb2Extension = Uint8Array.of(7, DESCRIPTOR.DEVICE_CAPABILITY, 0x02, 0x02, 0, 0, 0);
  // Speeds: full, high and 5 Gbit/s; all functions from full speed on; exit latencies 0.
  const superSpeed = Uint8Array.of(10, DESCRIPTOR.DEVICE_CAPABILITY, 0x03, 0, 0x0e, 0, 1, 0, 0, 0);
  const header = bosDescriptor.encode({
    bLength: bosDescriptor.size,
    bDescriptorType: DESCRIPTOR.BOS,
    wTotalLength: bosDescriptor.size + usb2Extension.length + superSpeed.length,
    bNumDeviceCaps: 2,
  });
  return concat([header, usb2Extension, superSpeed]);
}

/** Gives each different string one index, from 1; 0 means none. */
class StringTable {
  readonly #texts: string[] = [];

  add(text: string | undefined): number {
    if (text === undefined || text === "") return 0;
    if (text.length > MAX_STRING_CHARS)
      throw new RangeError(
        `string "${text.slice(0, 20)}…" has ${text.length} characters, a string descriptor holds ` +
          `${MAX_STRING_CHARS} (USB 2.0 §9.6.7)`,
      );
    const known = this.#texts.indexOf(text);
    return known >= 0 ? known + 1 : this.#texts.push(text);
  }

  descriptors(): Uint8Array[] {
    const languages = Uint8Array.of(4, DESCRIPTOR.STRING, LANGID_EN_US & 0xff, LANGID_EN_US >> 8);
    return [languages, ...this.#texts.map(encodeString)];
  }
}

function encodeString(text: string): Uint8Array {
  const body = Buffer.from(text, "utf16le");
  return concat([Uint8Array.of(2 + body.length, DESCRIPTOR.STRING), body]);
}
