/**
 * Where a device comes from: usbfs, a USB/IP server, or a simulation. A source opens it for one rump process; what that
 * changed outside is undone by `release`.
 */
import type net from "node:net";
import type { RumpProcessConfig } from "../../rump-process.js";

export interface OpenedDevice {
  readonly bus: RumpProcessConfig["bus"];
  /** Drivers that the rump process may load. */
  readonly drivers: RumpProcessConfig["drivers"];
  /** Inherited by the rump process as descriptor 4. */
  readonly descriptor: number | net.Socket;
  /** The rump process has its copy, or will never have one: closes ours. Safe to call twice. */
  closeDescriptor(): void;
  /** After the rump process has ended: gives back what was taken from the OS. Bounded in time; safe to call twice. */
  release(): Promise<void>;
}

export interface DeviceSource {
  /** How events call the device: `1-1.2`, `sim:flash-drive`. */
  readonly key: string;
  /**
   * @throws HostError NOT_PERMITTED, DEVICE_BUSY, DEVICE_GONE, USBIP, … with nothing left behind.
   */
  open(): Promise<OpenedDevice>;
}
