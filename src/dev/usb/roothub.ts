/**
 * The root hub: a controller's ports dressed as a hub, so that attaching a device is ordinary hub work (USB 2.0 ch. 11).
 *
 * Answers transfers addressed to ROOT_HUB_ADDRESS; everything else goes on to the controller. Wrong requests stall.
 */
import { hubDescriptor } from "./descriptors.js";
import { configurationDescriptor, deviceDescriptor, endpointDescriptor, interfaceDescriptor } from "./descriptors.js";
import { concat } from "../../bytes.js";
import type { Clock } from "../../rumpuser/rumpuser.js";
import {
  CLASS,
  DESCRIPTOR,
  ENDPOINT_IN,
  HUB_FEATURE,
  PORT_CHANGE,
  PORT_STATUS,
  REQUEST,
  REQUEST_TYPE,
  type SetupPacket,
  setupPacket,
} from "./usb.js";
import type { HcCompletion, HcTransfer, RootPorts } from "./usbdivar.js";

export const ROOT_HUB_ADDRESS = 1;
const STATUS_ENDPOINT = ENDPOINT_IN | 1;
/** The request has no answer here. */
const STALL = undefined;

type Reply = Uint8Array | undefined;

export class RootHub {
  readonly #ports: RootPorts;
  readonly #clock: Clock;
  readonly #descriptors: ReadonlyMap<number, Uint8Array>;
  /** The pending transfer of the status-change endpoint. */
  #waiting: { data: Uint8Array; done: (completion: HcCompletion) => void } | undefined;

  constructor(ports: RootPorts, clock: Clock) {
    this.#ports = ports;
    this.#clock = clock;
    this.#descriptors = rootHubDescriptors(ports.count);
    ports.onChange(() => this.#reportChanges());
  }

  /** As HostController.submit. */
  submit(transfer: HcTransfer, done: (completion: HcCompletion) => void): () => void {
    if (transfer.endpointAddress === STATUS_ENDPOINT) return this.#waitForChange(transfer.data, done);
    void this.#answer(transfer).then(
      (completion) => done(completion),
      () => done({ status: "error", actualBytes: 0 }),
    );
    return () => {};
  }

  async #answer(transfer: HcTransfer): Promise<HcCompletion> {
    if (transfer.setup === undefined) return { status: "stalled", actualBytes: 0 };
    const reply = await this.#control(setupPacket.decode(transfer.setup));
    if (reply === STALL) return { status: "stalled", actualBytes: 0 };
    const actualBytes = Math.min(reply.length, transfer.data.length);
    transfer.data.set(reply.subarray(0, actualBytes));
    return { status: "ok", actualBytes };
  }

  async #control(setup: SetupPacket): Promise<Reply> {
    const type = setup.bmRequestType & REQUEST_TYPE.TYPE_MASK;
    const recipient = setup.bmRequestType & REQUEST_TYPE.RECIPIENT_MASK;
    if (type === REQUEST_TYPE.STANDARD) return this.#standard(setup);
    if (type !== REQUEST_TYPE.CLASS) return STALL;
    if (recipient === REQUEST_TYPE.OTHER) return this.#portRequest(setup);
    switch (setup.bRequest) {
      case REQUEST.GET_DESCRIPTOR:
        return this.#descriptors.get(DESCRIPTOR.HUB << 8);
      case REQUEST.GET_STATUS:
        return new Uint8Array(4);
      default:
        return STALL;
    }
  }

  #standard(setup: SetupPacket): Reply {
    switch (setup.bRequest) {
      case REQUEST.GET_DESCRIPTOR:
        return this.#descriptors.get(setup.wValue);
      case REQUEST.GET_CONFIGURATION:
        return Uint8Array.of(1);
      case REQUEST.GET_STATUS:
        return Uint8Array.of(1, 0);
      case REQUEST.SET_CONFIGURATION:
      case REQUEST.SET_ADDRESS:
      case REQUEST.CLEAR_FEATURE:
        return new Uint8Array(0);
      default:
        return STALL;
    }
  }

  async #portRequest(setup: SetupPacket): Promise<Reply> {
    const port = setup.wIndex & 0xff;
    if (port < 1 || port > this.#ports.count) return STALL;
    switch (setup.bRequest) {
      case REQUEST.GET_STATUS:
        return this.#portStatus(port);
      case REQUEST.SET_FEATURE:
        if (setup.wValue === HUB_FEATURE.PORT_RESET) await this.#ports.reset(port);
        return new Uint8Array(0);
      case REQUEST.CLEAR_FEATURE:
        if (setup.wValue === HUB_FEATURE.C_PORT_CONNECTION) this.#ports.acknowledge(port, "connect");
        if (setup.wValue === HUB_FEATURE.C_PORT_RESET) this.#ports.acknowledge(port, "reset");
        if (setup.wValue === HUB_FEATURE.PORT_ENABLE) this.#ports.disable(port);
        return new Uint8Array(0);
      default:
        return STALL;
    }
  }

  #portStatus(port: number): Uint8Array {
    const s = this.#ports.status(port);
    const status =
      PORT_STATUS.POWER |
      (s.connected ? PORT_STATUS.CONNECTION : 0) |
      (s.enabled ? PORT_STATUS.ENABLE : 0) |
      (s.speed === "low" ? PORT_STATUS.LOW_SPEED : s.speed === "full" ? 0 : PORT_STATUS.HIGH_SPEED);
    const change = (s.connectChanged ? PORT_CHANGE.CONNECTION : 0) | (s.resetChanged ? PORT_CHANGE.RESET : 0);
    return Uint8Array.of(status & 0xff, status >> 8, change & 0xff, change >> 8);
  }

  #waitForChange(data: Uint8Array, done: (completion: HcCompletion) => void): () => void {
    const waiting = { data, done };
    this.#waiting = waiting;
    // Never synchronous: what has changed already is reported on the next turn.
    this.#clock.startTimer(0, () => this.#reportChanges());
    return () => {
      if (this.#waiting !== waiting) return;
      this.#waiting = undefined;
      this.#clock.startTimer(0, () => done({ status: "cancelled", actualBytes: 0 }));
    };
  }

  #reportChanges(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    const bitmap = new Uint8Array(Math.min(statusBytes(this.#ports.count), waiting.data.length));
    let changed = false;
    for (let port = 1; port <= this.#ports.count; port++) {
      const s = this.#ports.status(port);
      if (!s.connectChanged && !s.resetChanged) continue;
      changed = true;
      const at = port >> 3;
      bitmap[at] = (bitmap[at] ?? 0) | (1 << (port & 7));
    }
    if (!changed) return;
    this.#waiting = undefined;
    waiting.data.set(bitmap);
    waiting.done({ status: "ok", actualBytes: bitmap.length });
  }
}

/** Bytes of the status-change bitmap: bit 0 is the hub, bit n is port n (USB 2.0 §11.12.4). */
export function statusBytes(portCount: number): number {
  return Math.ceil((portCount + 1) / 8);
}

/** What GET_DESCRIPTOR answers, by wValue. */
function rootHubDescriptors(portCount: number): ReadonlyMap<number, Uint8Array> {
  const device = deviceDescriptor.encode({
    bLength: deviceDescriptor.size,
    bDescriptorType: DESCRIPTOR.DEVICE,
    bcdUSB: 0x0200,
    bDeviceClass: CLASS.HUB,
    bDeviceSubClass: 0,
    bDeviceProtocol: 0,
    bMaxPacketSize0: 64,
    idVendor: 0,
    idProduct: 0,
    bcdDevice: 0x0100,
    iManufacturer: 0,
    iProduct: 0,
    iSerialNumber: 0,
    bNumConfigurations: 1,
  });
  const interfaceBytes = interfaceDescriptor.encode({
    bLength: interfaceDescriptor.size,
    bDescriptorType: DESCRIPTOR.INTERFACE,
    bInterfaceNumber: 0,
    bAlternateSetting: 0,
    bNumEndpoints: 1,
    bInterfaceClass: CLASS.HUB,
    bInterfaceSubClass: 0,
    bInterfaceProtocol: 0,
    iInterface: 0,
  });
  const endpoint = endpointDescriptor.encode({
    bLength: endpointDescriptor.size,
    bDescriptorType: DESCRIPTOR.ENDPOINT,
    bEndpointAddress: STATUS_ENDPOINT,
    bmAttributes: 3,
    wMaxPacketSize: statusBytes(portCount),
    bInterval: 12,
  });
  const configuration = configurationDescriptor.encode({
    bLength: configurationDescriptor.size,
    bDescriptorType: DESCRIPTOR.CONFIGURATION,
    wTotalLength: configurationDescriptor.size + interfaceDescriptor.size + endpointDescriptor.size,
    bNumInterfaces: 1,
    bConfigurationValue: 1,
    iConfiguration: 0,
    bmAttributes: 0xc0,
    bMaxPower: 0,
  });
  const hub = hubDescriptor.encode({
    bDescLength: hubDescriptor.size + 2 * statusBytes(portCount),
    bDescriptorType: DESCRIPTOR.HUB,
    bNbrPorts: portCount,
    wHubCharacteristics: 0,
    bPwrOn2PwrGood: 0,
    bHubContrCurrent: 0,
  });
  return new Map([
    [DESCRIPTOR.DEVICE << 8, device],
    [DESCRIPTOR.CONFIGURATION << 8, concat([configuration, interfaceBytes, endpoint])],
    [DESCRIPTOR.HUB << 8, concat([hub, new Uint8Array(2 * statusBytes(portCount))])],
  ]);
}
