/**
 * A configuration as the device describes it: interfaces, alternate settings, endpoints.
 *
 * The codec is strict, the reader forgiving: what stands before the first impossible descriptor is kept, and `problems`
 * says what was left out and why. Limits are those of the Linux kernel (32 interfaces, 128 alternate settings, 30 endpoints).
 */
import { hex16, RecordError } from "../../bytes.js";
import {
  type AssociationDescriptor,
  associationDescriptor,
  type CompanionDescriptor,
  companionDescriptor,
  configurationDescriptor,
  endpointDescriptor,
  interfaceDescriptor,
  walkDescriptors,
} from "./descriptors.js";
import { DescriptorError } from "./errors.js";
import { DESCRIPTOR, ENDPOINT_IN, ENDPOINT_NUMBER_MASK, TRANSFER_TYPES } from "./usb.js";
import type { TransferType } from "./usbdivar.js";

export const MAX_CONFIGURATIONS = 8;
/** The largest block that is read; wTotalLength may claim 65,535. */
export const MAX_CONFIGURATION_BYTES = 16 * 1024;
const MAX_INTERFACES = 32;
const MAX_ALTERNATE_SETTINGS = 128;
const MAX_ENDPOINTS = 30;
const MAX_PACKET_BYTES = 1024;
const MAX_PROBLEMS = 16;

export interface Endpoint {
  /** With the direction bit. */
  readonly endpointAddress: number;
  readonly type: TransferType;
  readonly maxPacketBytes: number;
  /** High-speed periodic endpoints: 1..3 transactions in a microframe (USB 2.0 §5.9). */
  readonly transactionsPerMicroframe: number;
  readonly interval: number;
  companion?: CompanionDescriptor;
  /** Class- and vendor-specific descriptors that follow it, in wire order; the alternate setting has them, too. */
  readonly extraDescriptors: Uint8Array[];
}

/** USB 3.2 §9.6.7: bits 4..0 of bmAttributes of a bulk endpoint, 1 to 16, are the log2 of its streams; 0 = none. */
const MAX_STREAMS_EXPONENT = 16;

/** Bulk streams that an endpoint says it has; 0 = none. */
export function maxStreams({ type, companion }: Endpoint): number {
  const exponent = type === "bulk" ? (companion?.bmAttributes ?? 0) & 0x1f : 0;
  return exponent === 0 || exponent > MAX_STREAMS_EXPONENT ? 0 : 2 ** exponent;
}

export interface AlternateSetting {
  readonly interfaceNumber: number;
  readonly alternateSetting: number;
  readonly interfaceClass: number;
  readonly interfaceSubClass: number;
  readonly interfaceProtocol: number;
  readonly endpoints: Endpoint[];
  /** Class- and vendor-specific descriptors that follow it, in wire order. */
  readonly extraDescriptors: Uint8Array[];
}

export interface Interface {
  readonly interfaceNumber: number;
  /** At least one; sorted by alternateSetting. */
  readonly alternates: AlternateSetting[];
}

export interface Configuration {
  readonly configurationValue: number;
  readonly maxPowerMilliamps: number;
  readonly selfPowered: boolean;
  readonly interfaces: Interface[];
  readonly associations: AssociationDescriptor[];
  /** What could not be used, in words. */
  readonly problems: string[];
}

/**
 * Reads a configuration block.
 * @throws DescriptorError or RecordError when not even the configuration descriptor can be read.
 */
export function parseConfiguration(block: Uint8Array): Configuration {
  const header = configurationDescriptor.decode(block);
  if (header.bDescriptorType !== DESCRIPTOR.CONFIGURATION || header.bLength < configurationDescriptor.size)
    throw new DescriptorError(
      `configuration descriptor has type ${header.bDescriptorType}, length ${header.bLength} (USB 2.0 §9.6.3)`,
      block,
    );
  const reader = new ConfigurationReader();
  if (header.wTotalLength > block.length)
    reader.problem(`wTotalLength ${header.wTotalLength}, but ${block.length} bytes came (USB 2.0 §9.6.3)`);
  reader.readAll(block.subarray(Math.min(header.bLength, block.length), Math.min(header.wTotalLength, block.length)));
  if (reader.interfaces.size !== header.bNumInterfaces)
    reader.problem(`bNumInterfaces ${header.bNumInterfaces}, but ${reader.interfaces.size} found (USB 2.0 §9.6.3)`);
  return {
    configurationValue: header.bConfigurationValue,
    maxPowerMilliamps: header.bMaxPower * 2,
    selfPowered: (header.bmAttributes & 0x40) !== 0,
    interfaces: reader.sortedInterfaces(),
    associations: reader.associations,
    problems: reader.problems,
  };
}

class ConfigurationReader {
  readonly interfaces = new Map<number, AlternateSetting[]>();
  readonly associations: AssociationDescriptor[] = [];
  readonly problems: string[] = [];
  #alternate: AlternateSetting | undefined;
  #endpoint: Endpoint | undefined;
  #alternateCount = 0;

  problem(text: string): void {
    if (this.problems.length < MAX_PROBLEMS) this.problems.push(text);
  }

  readAll(body: Uint8Array): void {
    try {
      for (const descriptor of walkDescriptors(body)) this.#readOne(descriptor);
    } catch (error) {
      if (!(error instanceof DescriptorError || error instanceof RecordError)) throw error;
      this.problem(error.message);
    }
  }

  sortedInterfaces(): Interface[] {
    return [...this.interfaces]
      .sort(([a], [b]) => a - b)
      .map(([interfaceNumber, alternates]) => ({
        interfaceNumber,
        alternates: alternates.sort((a, b) => a.alternateSetting - b.alternateSetting),
      }));
  }

  #readOne(descriptor: Uint8Array): void {
    switch (descriptor[1]) {
      case DESCRIPTOR.INTERFACE:
        return this.#readInterface(descriptor);
      case DESCRIPTOR.ENDPOINT:
        return this.#readEndpoint(descriptor);
      case DESCRIPTOR.SS_ENDPOINT_COMPANION:
        if (this.#endpoint !== undefined) this.#endpoint.companion = companionDescriptor.decode(descriptor);
        return;
      case DESCRIPTOR.INTERFACE_ASSOCIATION:
        if (this.associations.length < MAX_INTERFACES) this.associations.push(associationDescriptor.decode(descriptor));
        return;
      default:
        this.#alternate?.extraDescriptors.push(descriptor);
        this.#endpoint?.extraDescriptors.push(descriptor);
    }
  }

  #readInterface(descriptor: Uint8Array): void {
    const d = interfaceDescriptor.decode(descriptor);
    this.#endpoint = undefined;
    this.#alternate = undefined;
    const known = this.interfaces.get(d.bInterfaceNumber) ?? [];
    if (known.length === 0 && this.interfaces.size === MAX_INTERFACES)
      return this.problem(`interface ${d.bInterfaceNumber} left out: more than ${MAX_INTERFACES}`);
    if (this.#alternateCount === MAX_ALTERNATE_SETTINGS)
      return this.problem(
        `interface ${d.bInterfaceNumber} left out: more than ${MAX_ALTERNATE_SETTINGS} alternate settings`,
      );
    if (known.some((a) => a.alternateSetting === d.bAlternateSetting))
      return this.problem(
        `interface ${d.bInterfaceNumber} has alternate setting ${d.bAlternateSetting} twice (USB 2.0 §9.6.5)`,
      );
    this.#alternateCount++;
    this.#alternate = {
      interfaceNumber: d.bInterfaceNumber,
      alternateSetting: d.bAlternateSetting,
      interfaceClass: d.bInterfaceClass,
      interfaceSubClass: d.bInterfaceSubClass,
      interfaceProtocol: d.bInterfaceProtocol,
      endpoints: [],
      extraDescriptors: [],
    };
    known.push(this.#alternate);
    this.interfaces.set(d.bInterfaceNumber, known);
  }

  #readEndpoint(descriptor: Uint8Array): void {
    this.#endpoint = undefined;
    const alternate = this.#alternate;
    if (alternate === undefined) return this.problem("endpoint descriptor outside an interface (USB 2.0 §9.6.6)");
    const d = endpointDescriptor.decode(descriptor);
    const where = `interface ${alternate.interfaceNumber}.${alternate.alternateSetting} endpoint ${d.bEndpointAddress.toString(16)}h`;
    const maxPacketBytes = d.wMaxPacketSize & 0x7ff;
    if (
      (d.bEndpointAddress & ENDPOINT_NUMBER_MASK) === 0 ||
      (d.bEndpointAddress & ~(ENDPOINT_IN | ENDPOINT_NUMBER_MASK)) !== 0
    )
      return this.problem(`${where}: not an endpoint address (USB 2.0 §9.6.6)`);
    if (alternate.endpoints.length === MAX_ENDPOINTS)
      return this.problem(`${where}: more than ${MAX_ENDPOINTS} endpoints`);
    if (alternate.endpoints.some((e) => e.endpointAddress === d.bEndpointAddress))
      return this.problem(`${where}: described twice (USB 2.0 §9.6.6)`);
    const type = TRANSFER_TYPES[d.bmAttributes & 3] ?? "control";
    // An isochronous endpoint may ask for no bandwidth in an alternate setting (USB 2.0 §5.6.3).
    if (maxPacketBytes > MAX_PACKET_BYTES || (maxPacketBytes === 0 && type !== "isochronous"))
      return this.problem(`${where}: wMaxPacketSize ${hex16(d.wMaxPacketSize)}h cannot be (USB 2.0 §9.6.6)`);
    this.#endpoint = {
      endpointAddress: d.bEndpointAddress,
      type,
      maxPacketBytes,
      transactionsPerMicroframe: ((d.wMaxPacketSize >> 11) & 3) + 1,
      interval: d.bInterval,
      extraDescriptors: [],
    };
    alternate.endpoints.push(this.#endpoint);
  }
}
