/**
 * The device framework of USB 2.0 chapter 9 from the device's side: configuration, alternate settings, halts, and the
 * standard requests that read and change them.
 *
 * A request that is malformed, unknown or out of state is stalled (§9.2.7).
 */
import { DESCRIPTOR, ENDPOINT_IN, FEATURE, LANGID_EN_US, REQUEST, REQUEST_TYPE } from "../dev/usb/usb.js";
import type { SetupPacket } from "../dev/usb/usb.js";
import type { TransferStatus } from "../rumpuser/rumpuser.js";
import { buildDescriptors, type DescriptorSet, endpointPacketBytes, isSuperSpeed } from "./descriptor-set.js";
import type { FunctionDescription, InterfaceDescription } from "./descriptor-set.js";
import { InEndpoint, OutEndpoint } from "./endpoint.js";

/** The data of an IN request (cut to what was asked), `ACKNOWLEDGED` for an OUT request, or a stall. */
export type ControlReply = Uint8Array | "stalled";
export const ACKNOWLEDGED = new Uint8Array(0);

/** What the model hears when a request changed its state. */
export interface Chapter9Listener {
  transferEnded(endpointAddress: number, status: TransferStatus, bytes: number): void;
  /** A configuration (0 = none) or an alternate setting was selected: its endpoints start anew (§9.1.1.5). */
  configured(configurationValue: number): void;
  haltChanged(endpointAddress: number, halted: boolean): void;
}

const CONFIGURATION_VALUE = 1;
const MAX_ADDRESS = 127;
const { IN, DEVICE, INTERFACE, ENDPOINT } = REQUEST_TYPE;
/** USB 3.2 Table 9-7: U1, U2 and LTM enable; function suspend on an interface. */
const SUPER_DEVICE_FEATURES: readonly number[] = [48, 49, 50];
const FUNCTION_SUSPEND = 0;
/** USB 3.2 §9.4.12: system exit latencies, 6 bytes. */
const SEL_BYTES = 6;
/** USB 2.0 Figure 9-4. */
const STATUS_SELF_POWERED = 1;

export class Chapter9 {
  readonly descriptors: DescriptorSet;
  readonly #description: FunctionDescription;
  readonly #listener: Chapter9Listener;
  readonly #endpoints = new Map<number, InEndpoint | OutEndpoint>();
  readonly #alternates = new Map<number, number>();
  #configuration = 0;

  /** @throws RangeError when a string does not fit its descriptor. */
  constructor(description: FunctionDescription, listener: Chapter9Listener) {
    this.#description = description;
    this.#listener = listener;
    this.descriptors = buildDescriptors(description);
    for (const endpoint of description.interfaces.flatMap((one) => one.endpoints)) {
      const address = endpoint.endpointAddress;
      const Kind = (address & ENDPOINT_IN) !== 0 ? InEndpoint : OutEndpoint;
      const packetBytes = endpointPacketBytes(endpoint, description.speed);
      this.#endpoints.set(
        address,
        new Kind(address, packetBytes, (status, bytes) => listener.transferEnded(address, status, bytes)),
      );
    }
  }

  get superSpeed(): boolean {
    return isSuperSpeed(this.#description.speed);
  }

  get statusBits(): number {
    return this.#description.selfPowered === true ? STATUS_SELF_POWERED : 0;
  }

  /** bConfigurationValue of the selected configuration; 0 = not configured. */
  get configuration(): number {
    return this.#configuration;
  }

  /** Any endpoint of the description, whether or not it is active now. */
  endpoint(endpointAddress: number): InEndpoint | OutEndpoint | undefined {
    return this.#endpoints.get(endpointAddress);
  }

  /** The endpoint, if the device is configured and the selected alternate settings have it. */
  activeEndpoint(endpointAddress: number): InEndpoint | OutEndpoint | undefined {
    if (this.#configuration === 0) return undefined;
    const active = this.#description.interfaces.some(
      (one) =>
        (one.alternateSetting ?? 0) === (this.#alternates.get(one.interfaceNumber) ?? 0) &&
        one.endpoints.some((endpoint) => endpoint.endpointAddress === endpointAddress),
    );
    return active ? this.#endpoints.get(endpointAddress) : undefined;
  }

  /** The alternate setting of an interface of the selected configuration; undefined when there is no such interface. */
  alternateSetting(interfaceNumber: number): number | undefined {
    if (this.#configuration === 0 || this.#settings(interfaceNumber).length === 0) return undefined;
    return this.#alternates.get(interfaceNumber) ?? 0;
  }

  /** Answers a standard request. `out` is the data stage of an OUT request. */
  request(setup: SetupPacket, out: Uint8Array): ControlReply {
    const handler = STANDARD_REQUESTS.get(key(setup.bmRequestType, setup.bRequest));
    return handler === undefined ? "stalled" : handler(this, setup, out);
  }

  /** Back to the default state (§9.1.1.3): every transfer ends with `status`, nothing is halted. */
  leaveConfiguration(status: TransferStatus): void {
    this.#configuration = 0;
    this.#alternates.clear();
    for (const endpoint of this.#endpoints.values()) restart(endpoint, status);
  }

  selectConfiguration(value: number): ControlReply {
    if (value !== 0 && value !== CONFIGURATION_VALUE) return "stalled";
    this.leaveConfiguration("cancelled");
    this.#configuration = value;
    this.#listener.configured(value);
    return ACKNOWLEDGED;
  }

  selectAlternateSetting(interfaceNumber: number, alternateSetting: number): ControlReply {
    const settings = this.#settings(interfaceNumber);
    const known = settings.some((one) => (one.alternateSetting ?? 0) === alternateSetting);
    if (this.#configuration === 0 || !known) return "stalled";
    for (const { endpointAddress } of settings.flatMap((one) => one.endpoints)) {
      const endpoint = this.#endpoints.get(endpointAddress);
      if (endpoint !== undefined) restart(endpoint, "cancelled");
    }
    this.#alternates.set(interfaceNumber, alternateSetting);
    this.#listener.configured(this.#configuration);
    return ACKNOWLEDGED;
  }

  /** SET_FEATURE and CLEAR_FEATURE(ENDPOINT_HALT), §9.4.5. The default pipe takes both and keeps no halt. */
  changeHalt(endpointAddress: number, halted: boolean): ControlReply {
    if (isDefaultPipe(endpointAddress)) return ACKNOWLEDGED;
    const endpoint = this.activeEndpoint(endpointAddress);
    if (endpoint === undefined) return "stalled";
    if (halted) endpoint.halt();
    else endpoint.clearHalt();
    this.#listener.haltChanged(endpointAddress, halted);
    return ACKNOWLEDGED;
  }

  #settings(interfaceNumber: number): InterfaceDescription[] {
    return this.#description.interfaces.filter((one) => one.interfaceNumber === interfaceNumber);
  }
}

function restart(endpoint: InEndpoint | OutEndpoint, status: TransferStatus): void {
  endpoint.clearHalt();
  endpoint.endAll(status);
}

function isDefaultPipe(endpointAddress: number): boolean {
  return (endpointAddress & ~ENDPOINT_IN) === 0;
}

type StandardHandler = (device: Chapter9, setup: SetupPacket, out: Uint8Array) => ControlReply;

function key(bmRequestType: number, bRequest: number): number {
  return (bmRequestType << 8) | bRequest;
}

/** Acknowledges when the request is well-formed. */
function when(wellFormed: boolean): ControlReply {
  return wellFormed ? ACKNOWLEDGED : "stalled";
}

/** The standard requests that a device takes, by bmRequestType and bRequest (USB 2.0 Table 9-3, USB 3.2 Table 9-4). */
const STANDARD_REQUESTS: ReadonlyMap<number, StandardHandler> = new Map<number, StandardHandler>([
  [key(IN | DEVICE, REQUEST.GET_DESCRIPTOR), getDescriptor],
  [key(IN | DEVICE, REQUEST.GET_CONFIGURATION), (device) => Uint8Array.of(device.configuration)],
  [
    key(DEVICE, REQUEST.SET_CONFIGURATION),
    (device, setup) =>
      setup.wLength === 0 && setup.wIndex === 0 ? device.selectConfiguration(setup.wValue) : "stalled",
  ],
  // The bus keeps the addresses; the device only says whether it takes one (§9.4.6).
  [
    key(DEVICE, REQUEST.SET_ADDRESS),
    (_device, setup) => when(setup.wValue <= MAX_ADDRESS && setup.wIndex === 0 && setup.wLength === 0),
  ],
  [
    key(IN | INTERFACE, REQUEST.GET_INTERFACE),
    (device, setup) => {
      const alternate = device.alternateSetting(setup.wIndex);
      return alternate === undefined || setup.wValue !== 0 ? "stalled" : Uint8Array.of(alternate);
    },
  ],
  [
    key(INTERFACE, REQUEST.SET_INTERFACE),
    (device, setup) => (setup.wLength === 0 ? device.selectAlternateSetting(setup.wIndex, setup.wValue) : "stalled"),
  ],
  [key(IN | DEVICE, REQUEST.GET_STATUS), (device) => Uint8Array.of(device.statusBits, 0)],
  [
    key(IN | INTERFACE, REQUEST.GET_STATUS),
    (device, setup) => (device.alternateSetting(setup.wIndex) === undefined ? "stalled" : Uint8Array.of(0, 0)),
  ],
  [
    key(IN | ENDPOINT, REQUEST.GET_STATUS),
    (device, setup) => {
      if (isDefaultPipe(setup.wIndex)) return Uint8Array.of(0, 0);
      const endpoint = device.activeEndpoint(setup.wIndex);
      return endpoint === undefined ? "stalled" : Uint8Array.of(endpoint.halted ? 1 : 0, 0);
    },
  ],
  [key(ENDPOINT, REQUEST.CLEAR_FEATURE), (device, setup) => endpointFeature(device, setup, false)],
  [key(ENDPOINT, REQUEST.SET_FEATURE), (device, setup) => endpointFeature(device, setup, true)],
  [key(DEVICE, REQUEST.CLEAR_FEATURE), deviceFeature],
  [key(DEVICE, REQUEST.SET_FEATURE), deviceFeature],
  [key(INTERFACE, REQUEST.CLEAR_FEATURE), interfaceFeature],
  [key(INTERFACE, REQUEST.SET_FEATURE), interfaceFeature],
  [
    key(DEVICE, REQUEST.SET_SEL),
    (device, setup, out) => when(device.superSpeed && setup.wValue === 0 && out.length === SEL_BYTES),
  ],
  [key(DEVICE, REQUEST.SET_ISOCH_DELAY), (device, setup) => when(device.superSpeed && setup.wLength === 0)],
]);

function getDescriptor(device: Chapter9, setup: SetupPacket): ControlReply {
  const set = device.descriptors;
  const type = setup.wValue >> 8;
  const index = setup.wValue & 0xff;
  if (type === DESCRIPTOR.STRING) {
    if (index > 0 && setup.wIndex !== LANGID_EN_US) return "stalled";
    return set.strings[index] ?? "stalled";
  }
  const single: Readonly<Record<number, Uint8Array | undefined>> = {
    [DESCRIPTOR.DEVICE]: set.device,
    [DESCRIPTOR.CONFIGURATION]: set.configuration,
    [DESCRIPTOR.DEVICE_QUALIFIER]: set.qualifier,
    [DESCRIPTOR.OTHER_SPEED_CONFIGURATION]: set.otherSpeed,
    [DESCRIPTOR.BOS]: set.bos,
  };
  return (index === 0 ? single[type] : undefined) ?? "stalled";
}

function endpointFeature(device: Chapter9, setup: SetupPacket, halted: boolean): ControlReply {
  if (setup.wValue !== FEATURE.ENDPOINT_HALT || setup.wLength !== 0) return "stalled";
  return device.changeHalt(setup.wIndex, halted);
}

/** No model has remote wake-up or test modes; SuperSpeed hosts switch link states that cost the model nothing. */
function deviceFeature(device: Chapter9, setup: SetupPacket): ControlReply {
  return when(device.superSpeed && SUPER_DEVICE_FEATURES.includes(setup.wValue) && setup.wLength === 0);
}

function interfaceFeature(device: Chapter9, setup: SetupPacket): ControlReply {
  const known = device.alternateSetting(setup.wIndex & 0xff) !== undefined;
  return when(device.superSpeed && known && setup.wValue === FUNCTION_SUSPEND && setup.wLength === 0);
}
