/** One device on the bus: its address, what it says of itself, its default pipe, and how it is reset. */
import { DeviceNode } from "../../rump/autoconf.js";
import type { UsbBus } from "./bus.js";
import {
  type Configuration,
  MAX_CONFIGURATION_BYTES,
  MAX_CONFIGURATIONS,
  parseConfiguration,
} from "./configuration.js";
import {
  configurationDescriptor,
  type DeviceDescriptor,
  deviceDescriptor,
  parseLanguages,
  parseString,
} from "./descriptors.js";
import { DescriptorError, ProtocolError, TransferError } from "./errors.js";
import { DefaultPipe } from "./pipes.js";
import { findQuirks } from "./quirks.js";
import { getDescriptor, getStringDescriptor, setAddress, setConfiguration, setInterface } from "./requests.js";
import { TransferScope } from "./scope.js";
import { DESCRIPTOR, LANGID_EN_US } from "./usb.js";
import type { ControlRequest, DeviceIdentity } from "./usbdi.js";
import type { Speed } from "./usbdivar.js";
import { RecordError } from "../../bytes.js";

/** Recovery interval after SET_ADDRESS (USB 2.0 §9.2.6.3). */
const SET_ADDRESS_RECOVERY_MS = 2;
/** Requests without a data stage must end in 50 ms, others in 5 s (USB 2.0 §9.2.6.4); slow devices get a little more. */
const DESCRIPTOR_TIMEOUT_MS = 2000;
const MAX_STRING_BYTES = 255;
/** The first part of a device descriptor: as much as the smallest default pipe carries (USB 2.0 §5.5.3). */
const DEVICE_DESCRIPTOR_HEAD_BYTES = 8;

/** The hub port that a device hangs on. */
export interface UpstreamPort {
  readonly portNumber: number;
  /** The root hub's ports are 0 deep. */
  readonly depth: number;
  /** Resets the port and says at what speed the device came up; it answers at address 0 afterwards. */
  reset(): Promise<Speed>;
}

/** The device on a port as uhub holds it. */
export interface ExploredDevice {
  /** The device has gone without asking: everything on it ends at once. */
  disconnected(): Promise<void>;
}

export class UsbDevice {
  readonly bus: UsbBus;
  readonly node: DeviceNode;
  readonly port: UpstreamPort;
  readonly control: DefaultPipe;
  /** Transfers of the stack itself; drivers have scopes of their own. */
  readonly scope: TransferScope;
  /** Interfaces that a driver has. */
  readonly takenInterfaces = new Set<number>();
  #address = 0;
  #speed: Speed = "full";
  #descriptor: Uint8Array = new Uint8Array(0);
  #configuration: Configuration | undefined;
  readonly #alternates = new Map<number, number>();
  readonly #driverScopes = new Set<TransferScope>();

  constructor(bus: UsbBus, node: DeviceNode, port: UpstreamPort) {
    this.bus = bus;
    this.node = node;
    this.port = port;
    this.scope = new TransferScope(bus, bus.kernel.clock);
    this.control = new DefaultPipe(this.scope, this.address);
  }

  readonly address = (): number => this.#address;

  get descriptor(): DeviceDescriptor {
    return deviceDescriptor.decode(this.#descriptor);
  }

  get configuration(): Configuration | undefined {
    return this.#configuration;
  }

  /** A scope for one driver, ended with the device. */
  openScope(): TransferScope {
    const scope = new TransferScope(this.bus, this.bus.kernel.clock);
    this.#driverScopes.add(scope);
    return scope;
  }

  /** Drivers that have a part of it. */
  get driverCount(): number {
    return this.#driverScopes.size;
  }

  closeScope(scope: TransferScope): void {
    scope.end("disconnected");
    this.#driverScopes.delete(scope);
  }

  /** The device has gone: every transfer on it, now and later, ends as disconnected. */
  disconnected(): void {
    this.scope.end("disconnected");
    for (const scope of this.#driverScopes) scope.end("disconnected");
  }

  /** Resets the port, gives the device its address and reads its descriptor (USB 2.0 §9.1.2), alone on the bus. */
  enumerate(address: number): Promise<void> {
    return this.bus.exclusively(async () => {
      this.#speed = await this.port.reset();
      this.#address = 0;
      await this.#addressDevice(address);
    });
  }

  /** Takes over a device that has its address from the start: the root hub. */
  async adopt(address: number): Promise<void> {
    this.#address = address;
    this.#descriptor = await this.#readDescriptor(DESCRIPTOR.DEVICE, 0, deviceDescriptor.size, "device descriptor");
  }

  async #addressDevice(address: number): Promise<void> {
    const head = await this.#readDescriptor(DESCRIPTOR.DEVICE, 0, DEVICE_DESCRIPTOR_HEAD_BYTES, "first bytes");
    const { status } = await this.control.out(setAddress(address));
    if (status === "stalled") throw new ProtocolError(`SET_ADDRESS ${address} stalled`, "USB 2.0 §9.4.6");
    await this.bus.delay(SET_ADDRESS_RECOVERY_MS, this.node.signal);
    this.#address = address;
    const descriptor = await this.#readDescriptor(DESCRIPTOR.DEVICE, 0, deviceDescriptor.size, "device descriptor");
    if (head.some((byte, at) => byte !== descriptor[at]))
      throw new DescriptorError("device descriptor changed between two reads (USB 2.0 §9.4.3)", descriptor);
    if (this.#descriptor.length > 0 && !sameBytes(this.#descriptor, descriptor))
      throw new DescriptorError("another device descriptor after a reset: another device", descriptor);
    this.#descriptor = descriptor;
  }

  /** Every configuration that can be read; what could not is logged. Each is read once and that one is used. */
  async readConfigurations(): Promise<Configuration[]> {
    const configurations: Configuration[] = [];
    const count = Math.min(this.descriptor.bNumConfigurations, MAX_CONFIGURATIONS);
    for (let index = 0; index < count; index++) {
      try {
        const configuration = parseConfiguration(await this.#readConfigurationBlock(index));
        for (const problem of configuration.problems)
          this.log("warn", `configuration ${configuration.configurationValue}: ${problem}`);
        configurations.push(configuration);
      } catch (error) {
        if (!(error instanceof DescriptorError || error instanceof RecordError || error instanceof ProtocolError))
          throw error;
        this.log("warn", `configuration ${index} left out: ${error.message}`);
      }
    }
    return configurations;
  }

  /** SET_CONFIGURATION (USB 2.0 §9.4.7). Every interface is at alternate setting 0 afterwards. */
  async configure(configuration: Configuration): Promise<void> {
    await this.#mustAccept(setConfiguration(configuration.configurationValue), "USB 2.0 §9.4.7");
    this.#configuration = configuration;
    this.#alternates.clear();
  }

  /** SET_INTERFACE (USB 2.0 §9.4.10), left out where the setting is selected already. */
  async selectAlternate(interfaceNumber: number, alternateSetting: number): Promise<void> {
    if (this.#selectedAlternate(interfaceNumber) === alternateSetting) return;
    await this.#mustAccept(setInterface(interfaceNumber, alternateSetting), "USB 2.0 §9.4.10");
    this.#alternates.set(interfaceNumber, alternateSetting);
  }

  /** Undefined: not known. A host OS does not select a configuration again, so that another process may have changed it. */
  #selectedAlternate(interfaceNumber: number): number | undefined {
    const selected = this.#alternates.get(interfaceNumber);
    if (selected !== undefined) return selected;
    const one = this.#configuration?.interfaces.find((found) => found.interfaceNumber === interfaceNumber);
    return this.bus.interrupted && (one?.alternates.length ?? 0) > 1 ? undefined : 0;
  }

  /** Port reset, then address, configuration and alternate settings as they were. Rejects when it does not come back. */
  async reset(): Promise<void> {
    const address = this.#address;
    const configuration = this.#configuration;
    const alternates = [...this.#alternates];
    await this.enumerate(address);
    if (configuration === undefined) return;
    await this.configure(configuration);
    for (const [interfaceNumber, setting] of alternates) await this.selectAlternate(interfaceNumber, setting);
  }

  /** Reads the three strings that name the device; one that cannot be read is empty. */
  async readIdentity(): Promise<DeviceIdentity> {
    const d = this.descriptor;
    const language = await this.#chooseLanguage();
    const read = (index: number): Promise<string> =>
      index === 0 || language === undefined ? Promise.resolve("") : this.#readString(index, language);
    return {
      vendor: d.idVendor,
      product: d.idProduct,
      revision: d.bcdDevice,
      deviceClass: d.bDeviceClass,
      deviceSubClass: d.bDeviceSubClass,
      deviceProtocol: d.bDeviceProtocol,
      manufacturer: await read(d.iManufacturer),
      productName: await read(d.iProduct),
      serial: await read(d.iSerialNumber),
      speed: this.#speed,
    };
  }

  log(level: "debug" | "info" | "warn" | "error", message: string): void {
    this.bus.kernel.log(level, this.node.name, message);
  }

  async #readConfigurationBlock(index: number): Promise<Uint8Array> {
    const what = `configuration descriptor ${index}`;
    const head = await this.#readDescriptor(DESCRIPTOR.CONFIGURATION, index, configurationDescriptor.size, what);
    const { wTotalLength } = configurationDescriptor.decode(head);
    if (wTotalLength < configurationDescriptor.size || wTotalLength > MAX_CONFIGURATION_BYTES)
      throw new DescriptorError(
        `${what}: wTotalLength ${wTotalLength}, allowed are ${configurationDescriptor.size} to ${MAX_CONFIGURATION_BYTES} (USB 2.0 §9.6.3)`,
        head,
      );
    const { status, data } = await this.#getDescriptor(DESCRIPTOR.CONFIGURATION, index, wTotalLength);
    if (status === "stalled") throw new ProtocolError(`${what} stalled`, "USB 2.0 §9.4.3");
    if (head.some((byte, at) => byte !== data[at]))
      throw new DescriptorError(`${what} changed between two reads (USB 2.0 §9.4.3)`, data);
    return data;
  }

  /** English where the device has it, else its first language; undefined = it has no strings (USB 2.0 §9.6.7). */
  async #chooseLanguage(): Promise<number | undefined> {
    const d = this.descriptor;
    if (d.iManufacturer === 0 && d.iProduct === 0 && d.iSerialNumber === 0) return undefined;
    try {
      const languages = parseLanguages(await this.#readStringBlock(0, 0));
      return languages.includes(LANGID_EN_US) ? LANGID_EN_US : languages[0];
    } catch (error) {
      return this.#withoutString(error, "language list", undefined);
    }
  }

  async #readString(index: number, language: number): Promise<string> {
    try {
      return parseString(await this.#readStringBlock(index, language));
    } catch (error) {
      return this.#withoutString(error, `string ${index}`, "");
    }
  }

  /** A string is not worth a device; only an unplug is let pass. */
  #withoutString<T>(error: unknown, what: string, instead: T): T {
    const known = error instanceof DescriptorError || error instanceof ProtocolError || error instanceof TransferError;
    if (!known || error.code === "USB_DISCONNECTED") throw error;
    this.log("debug", `${what}: ${error.message}`);
    return instead;
  }

  async #readStringBlock(index: number, language: number): Promise<Uint8Array> {
    const { idVendor, idProduct } = this.descriptor;
    const exact = findQuirks(idVendor, idProduct).some((row) => row.quirk === "stringsByLength");
    const read = async (maxBytes: number): Promise<Uint8Array> => {
      const { status, data } = await this.control.in(getStringDescriptor(index, language), maxBytes, {
        timeoutMs: DESCRIPTOR_TIMEOUT_MS,
      });
      if (status === "stalled") throw new ProtocolError(`string descriptor ${index} stalled`, "USB 2.0 §9.4.3");
      return data;
    };
    if (!exact) return read(MAX_STRING_BYTES);
    const head = await read(2);
    return read(head[0] ?? 2);
  }

  async #readDescriptor(type: number, index: number, bytes: number, what: string): Promise<Uint8Array> {
    const { status, data } = await this.#getDescriptor(type, index, bytes);
    if (status === "stalled") throw new ProtocolError(`${what} stalled`, "USB 2.0 §9.4.3");
    if (data.length < bytes || data[1] !== type)
      throw new DescriptorError(
        `${what}: ${data.length} of ${bytes} bytes, type ${data[1] ?? "none"}, wanted ${type}`,
        data,
      );
    return data;
  }

  #getDescriptor(type: number, index: number, bytes: number): ReturnType<DefaultPipe["in"]> {
    return this.control.in(getDescriptor(type, index), bytes, { timeoutMs: DESCRIPTOR_TIMEOUT_MS });
  }

  async #mustAccept(request: ControlRequest, spec: string): Promise<void> {
    const { status } = await this.control.out(request);
    if (status === "stalled")
      throw new ProtocolError(`request ${request.request} with value ${request.value} stalled`, spec);
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
