/**
 * An external hub as a device model, USB 2.0 ch. 11: several ports with individual power, models plugged in at run time, a
 * status-change endpoint. What a bus needs of it is `HubModel` in model.ts.
 */
import { concat } from "../bytes.js";
import { hubDescriptor } from "../dev/usb/descriptors.js";
import { CLASS, DESCRIPTOR, REQUEST, REQUEST_TYPE, type SetupPacket } from "../dev/usb/usb.js";
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import type { InEndpoint } from "./endpoint.js";
import { ACKNOWLEDGED, type ControlReply, UsbFunction } from "./function.js";
import { bitmapBytes, HubPorts } from "./hub-ports.js";
import type { DeviceModel, HubBus, HubModel } from "./model.js";

export { isHubModel, type HubBus, type HubModel } from "./model.js";

export interface HubOptions {
  readonly clock: Clock;
  /** 1 to 15; default 4. */
  readonly portCount?: number;
  /** Default "high". */
  readonly speed?: "full" | "high";
  readonly serial?: string;
}

const STATUS_CHANGE = 0x81;
/** bInterval of the status-change endpoint: 2^(9-1) microframes at high speed, frames at full speed; both 32 ms. */
const B_INTERVAL = { high: 9, full: 32 };
const INTERVAL_MS = 32;
const PIDCODES_TEST = { vendor: 0x1209, product: 0x0002 };
/** bDeviceProtocol: full speed, or high speed with one transaction translator (§11.23.1). */
const PROTOCOL = { full: 0, high: 1 };
/** Individual power switching and over-current protection (Table 11-13). */
const CHARACTERISTICS = 0x0009;
const POWER_GOOD_2MS = 1;
/** Requests to the transaction translator (Table 11-15). */
const CLEAR_TT_BUFFER = 8;
const RESET_TT = 9;
/** C_HUB_LOCAL_POWER and C_HUB_OVER_CURRENT (Table 11-17). */
const HUB_CHANGES: readonly number[] = [0, 1];

export class Hub extends UsbFunction implements HubModel {
  readonly #clock: Clock;
  readonly #ports: HubPorts;
  readonly #statusChange: InEndpoint;
  #lastReportMs = Number.NEGATIVE_INFINITY;
  #reportTimer: Timer | undefined;

  /** @throws RangeError for a number of ports that cannot be. */
  constructor(options: HubOptions) {
    const { speed = "high", portCount = 4 } = options;
    super({
      speed,
      vendor: PIDCODES_TEST.vendor,
      product: PIDCODES_TEST.product,
      revision: 0x0100,
      deviceClass: CLASS.HUB,
      deviceProtocol: PROTOCOL[speed],
      productName: "Hub",
      serial: options.serial ?? "",
      selfPowered: true,
      maxPowerMa: 0,
      interfaces: [
        {
          interfaceNumber: 0,
          interfaceClass: CLASS.HUB,
          interfaceSubClass: 0,
          interfaceProtocol: 0,
          endpoints: [
            {
              endpointAddress: STATUS_CHANGE,
              type: "interrupt",
              maxPacketBytes: bitmapBytes(portCount),
              bInterval: B_INTERVAL[speed],
            },
          ],
        },
      ],
    });
    this.#clock = options.clock;
    this.#ports = new HubPorts(portCount, speed, options.clock, () => this.onEndpointReady());
    this.#statusChange = this.inEndpoint(STATUS_CHANGE);
  }

  get portCount(): number {
    return this.#ports.count;
  }

  portDevice(port: number): DeviceModel | undefined {
    return this.#ports.device(port);
  }

  portEnabled(port: number): boolean {
    return this.#ports.enabled(port);
  }

  attachBus(bus: HubBus): void {
    this.#ports.bus = bus;
  }

  /**
   * Plugs a model into a port; the hub closes it with itself.
   * @throws RangeError when there is no such port, it is taken, or the model is faster than the hub.
   */
  plugPort(port: number, device: DeviceModel): void {
    this.#ports.plug(port, device);
  }

  /** Takes the model out of a port; the caller owns it again. @returns undefined when the port was empty. */
  unplugPort(port: number): DeviceModel | undefined {
    return this.#ports.unplug(port);
  }

  protected override onRequest(setup: SetupPacket): ControlReply {
    const handler = HUB_REQUESTS.get(key(setup.bmRequestType, setup.bRequest));
    return this.configured && handler !== undefined ? handler(this.#ports, setup) : "stalled";
  }

  /**
   * Reports changes when there are some and the host asks. While a change is not acknowledged it is reported again, not
   * more often than the interval of the endpoint (§11.12.1).
   */
  protected override onEndpointReady(): void {
    const { room } = this.#statusChange;
    const bitmap = this.#ports.changeBitmap();
    if (this.#reportTimer !== undefined || room === undefined || bitmap === undefined) return;
    const waitMs = this.#lastReportMs + INTERVAL_MS - this.#clock.nowMs();
    if (waitMs > 0) {
      this.#reportTimer = this.#clock.startTimer(waitMs, () => {
        this.#reportTimer = undefined;
        this.onEndpointReady();
      });
      return;
    }
    this.#lastReportMs = this.#clock.nowMs();
    this.#statusChange.send(bitmap.subarray(0, room), true);
  }

  /** A hub that is configured anew has its ports without power (§11.11). */
  protected override onConfigured(): void {
    this.onReset();
  }

  protected override onReset(): void {
    this.#reportTimer?.cancel();
    this.#reportTimer = undefined;
    this.#lastReportMs = Number.NEGATIVE_INFINITY;
    this.#ports.powerOffAll();
  }

  protected override onClose(): Promise<void> {
    return this.#ports.close();
  }
}

type HubHandler = (ports: HubPorts, setup: SetupPacket) => ControlReply;

const { IN, DEVICE, OTHER } = REQUEST_TYPE;
const TO_HUB = REQUEST_TYPE.CLASS | DEVICE;
const TO_PORT = REQUEST_TYPE.CLASS | OTHER;

function key(bmRequestType: number, bRequest: number): number {
  return (bmRequestType << 8) | bRequest;
}

function when(known: boolean): ControlReply {
  return known ? ACKNOWLEDGED : "stalled";
}

/** Class requests, by bmRequestType and bRequest (USB 2.0 Table 11-15). */
const HUB_REQUESTS: ReadonlyMap<number, HubHandler> = new Map<number, HubHandler>([
  [
    key(IN | TO_HUB, REQUEST.GET_DESCRIPTOR),
    (ports, setup) => (setup.wValue === DESCRIPTOR.HUB << 8 ? hubDescriptorOf(ports.count) : "stalled"),
  ],
  [key(IN | TO_HUB, REQUEST.GET_STATUS), () => new Uint8Array(4)],
  [key(TO_HUB, REQUEST.CLEAR_FEATURE), (_ports, setup) => when(HUB_CHANGES.includes(setup.wValue))],
  [key(IN | TO_PORT, REQUEST.GET_STATUS), (ports, setup) => ports.status(setup.wIndex) ?? "stalled"],
  [key(TO_PORT, REQUEST.SET_FEATURE), (ports, setup) => when(ports.setFeature(setup.wIndex, setup.wValue))],
  [key(TO_PORT, REQUEST.CLEAR_FEATURE), (ports, setup) => when(ports.clearFeature(setup.wIndex, setup.wValue))],
  [key(TO_PORT, CLEAR_TT_BUFFER), () => ACKNOWLEDGED],
  [key(TO_PORT, RESET_TT), () => ACKNOWLEDGED],
]);

/** §11.23.2.1: no device is fixed to its port, and the last bitmap is all ones. */
function hubDescriptorOf(portCount: number): Uint8Array {
  const bitmaps = new Uint8Array(2 * bitmapBytes(portCount)).fill(0xff, bitmapBytes(portCount));
  const header = hubDescriptor.encode({
    bDescLength: hubDescriptor.size + bitmaps.length,
    bDescriptorType: DESCRIPTOR.HUB,
    bNbrPorts: portCount,
    wHubCharacteristics: CHARACTERISTICS,
    bPwrOn2PwrGood: POWER_GOOD_2MS,
    bHubContrCurrent: 0,
  });
  return concat([header, bitmaps]);
}
