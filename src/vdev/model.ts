/**
 * A device model: what answers behind an export or a simulated port. Written from the specification of the device, with
 * no knowledge of the driver that will talk to it.
 */
import type { Speed, TransferStatus, TransferType } from "../rumpuser/rumpuser.js";

/** A transfer that has arrived at the device. The model completes each exactly once, now or later. */
export interface Urb {
  readonly type: TransferType;
  /** With the direction bit; 0 for the default pipe. */
  readonly endpointAddress: number;
  /** Control only: 8 bytes. */
  readonly setup?: Uint8Array;
  /** Bulk streams (USB 3.2 §4.4.6.4): the stream that it is on. */
  readonly streamId?: number;
  /** OUT: the payload. Lent until completion. */
  readonly out: Uint8Array;
  /** IN: the most bytes the host takes. */
  readonly maxBytes: number;
  /** IN: `data` (at most maxBytes) is lent to the bus until it is delivered. OUT: `actualBytes` taken. */
  complete(status: TransferStatus, data?: Uint8Array, actualBytes?: number): void;
}

export interface DeviceModel {
  readonly speed: Speed;
  /** The device descriptor, 18 bytes (USB 2.0 §9.6.1). */
  readonly deviceDescriptor: Uint8Array;
  /** The first configuration with everything in it (USB 2.0 §9.6.3). */
  readonly configurationDescriptor: Uint8Array;
  submit(urb: Urb): void;
  /** Takes back an URB that is not complete; the model completes it as "cancelled". */
  unlink(urb: Urb): void;
  /** A bus reset (USB 2.0 §7.1.7.5): back to the default state, every URB ended as "cancelled". */
  reset(): void;
  /** The model unplugs itself (a scripted fault, an eject): whoever carries it sets this. */
  onUnplug(unplugged: () => void): void;
  /** Ends everything: files closed, timers stopped. */
  close(): Promise<void>;
}

/**
 * A hub as a device model (USB 2.0 ch. 11). The hub knows its ports and what is plugged into them; the bus that carries
 * it knows addresses. `HubBus` is how the hub tells the bus what happens at its ports. Ports count from 1.
 */
export interface HubModel extends DeviceModel {
  readonly portCount: number;
  /** What is plugged into a port, whether or not the port is powered or enabled. */
  portDevice(port: number): DeviceModel | undefined;
  /** The port passes traffic: powered, connected, reset and not suspended or disabled since (USB 2.0 §11.5.1). */
  portEnabled(port: number): boolean;
  /** Whoever carries the hub sets this before the first transfer; a later call replaces the earlier one. */
  attachBus(bus: HubBus): void;
}

/** What the bus does when something happens at a port of an external hub. Called synchronously by the hub. */
export interface HubBus {
  /**
   * The port was reset and is enabled: `device` (already reset) answers at address 0 until it is given another; the
   * address that it had is free, and so are those of everything behind it.
   */
  portReset(port: number, device: DeviceModel): void;
  /**
   * The port no longer passes traffic (unplugged, disabled, power off, hub reset): `device` and everything behind it
   * have no address any more, and their transfers in flight end as "disconnected".
   */
  portDisabled(port: number, device: DeviceModel): void;
}

/** A hub is a model that says what stands behind it. */
export function isHubModel(model: DeviceModel): model is HubModel {
  return "attachBus" in model;
}
