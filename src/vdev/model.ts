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
