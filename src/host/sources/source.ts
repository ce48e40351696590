/**
 * Where a device comes from: usbfs, a USB/IP server, or a simulation. A source opens it for one rump process; what that
 * changed outside is undone by `release`.
 */
import type net from "node:net";
import type { DeviceConfig } from "../../rump-process/config.js";

export interface OpenedDevice {
  readonly bus: DeviceConfig["bus"];
  /** Drivers that the rump process may load. */
  readonly drivers: DeviceConfig["drivers"];
  /** The interfaces that it may attach; left out: any. */
  readonly interfaces?: readonly number[];
  /** For the next rump process. @throws Error it has been closed: it is sent once after each opening. */
  readonly descriptor: number | net.Socket;
  /** The rump process has its copy, or will never have one: closes ours. Safe to call twice. */
  closeDescriptor(): void;
  /**
   * Opens the device anew after its rump process has ended; what was taken from the OS stays taken. A descriptor is not used
   * twice: what the process before had in flight hangs on it.
   *
   * @returns true when the device kept its power and its place; false when nobody knows.
   * @throws HostError DEVICE_GONE, NOT_PERMITTED, NO_RESOURCES, FAILED; the old descriptor is closed all the same.
   */
  reopen(): Promise<boolean>;
  /** After the rump process has ended: closes the descriptor, gives back what was taken from the OS. Bounded in time; safe to call twice. */
  release(): Promise<void>;
}

export interface DeviceSource {
  /** How events call the device: `1-1.2`, `1-1.2:0` (one function of it), `sim:flash-drive`. */
  readonly key: string;
  /** The device may come back behind this source, and nobody tells: it is tried. Otherwise a new source is made then. */
  readonly mayReturn: boolean;
  /**
   * @throws HostError NOT_PERMITTED, DEVICE_BUSY, DEVICE_GONE, USBIP, … with nothing left behind.
   */
  open(): Promise<OpenedDevice>;
}
