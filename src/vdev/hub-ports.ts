/**
 * The downstream ports of a hub model: their states, features and changes (USB 2.0 §11.5, §11.24.2), and what is plugged
 * into them.
 */
import { viewOf } from "../bytes.js";
import { HUB_FEATURE, PORT_CHANGE, PORT_STATUS } from "../dev/usb/usb.js";
import type { Clock, Speed, Timer } from "../rumpuser/rumpuser.js";
import type { DeviceModel, HubBus } from "./model.js";

interface Port {
  readonly number: number;
  device: DeviceModel | undefined;
  /** wPortStatus without the bits for the device's speed, and wPortChange (§11.24.2.7). */
  status: number;
  change: number;
  resetTimer: Timer | undefined;
}

const MAX_PORTS = 15;
/** TDRST of a hub (§11.5.1.5, Table 7-14). */
const PORT_RESET_MS = 10;
const SPEED_BITS: Readonly<Partial<Record<Speed, number>>> = {
  low: PORT_STATUS.LOW_SPEED,
  full: 0,
  high: PORT_STATUS.HIGH_SPEED,
};

type PortAction = (ports: HubPorts, port: Port) => void;

/** What SET_FEATURE does (§11.24.2.13), by feature. */
const SET_FEATURE: ReadonlyMap<number, PortAction> = new Map<number, PortAction>([
  [HUB_FEATURE.PORT_POWER, (ports, port) => ports.powerOn(port)],
  [HUB_FEATURE.PORT_RESET, (ports, port) => ports.startReset(port)],
  [
    HUB_FEATURE.PORT_SUSPEND,
    (_ports, port) => {
      if ((port.status & PORT_STATUS.ENABLE) !== 0) port.status |= PORT_STATUS.SUSPEND;
    },
  ],
]);

/** What CLEAR_FEATURE does (§11.24.2.2), by feature. */
const CLEAR_FEATURE: ReadonlyMap<number, PortAction> = new Map<number, PortAction>([
  [HUB_FEATURE.PORT_POWER, (ports, port) => ports.powerOff(port)],
  [HUB_FEATURE.PORT_ENABLE, (ports, port) => ports.disable(port)],
  [
    HUB_FEATURE.PORT_SUSPEND,
    (_ports, port) => {
      if ((port.status & PORT_STATUS.SUSPEND) === 0) return;
      port.status &= ~PORT_STATUS.SUSPEND;
      port.change |= PORT_CHANGE.SUSPEND;
    },
  ],
  [HUB_FEATURE.C_PORT_CONNECTION, acknowledge(PORT_CHANGE.CONNECTION)],
  [HUB_FEATURE.C_PORT_ENABLE, acknowledge(PORT_CHANGE.ENABLE)],
  [HUB_FEATURE.C_PORT_SUSPEND, acknowledge(PORT_CHANGE.SUSPEND)],
  [HUB_FEATURE.C_PORT_OVER_CURRENT, acknowledge(PORT_CHANGE.OVER_CURRENT)],
  [HUB_FEATURE.C_PORT_RESET, acknowledge(PORT_CHANGE.RESET)],
]);

function acknowledge(change: number): PortAction {
  return (_ports, port) => {
    port.change &= ~change;
  };
}

/** Bytes of the status-change bitmap: a bit for the hub and one for each port (§11.12.4). */
export function bitmapBytes(portCount: number): number {
  return Math.floor(portCount / 8) + 1;
}

export class HubPorts {
  readonly #speed: Speed;
  readonly #clock: Clock;
  readonly #changed: () => void;
  readonly #ports: readonly Port[];
  /** Whoever carries the hub. */
  bus: HubBus | undefined;

  /** `changed` is called when a change bit may have been set. @throws RangeError for a count that cannot be. */
  constructor(count: number, speed: Speed, clock: Clock, changed: () => void) {
    if (!Number.isInteger(count) || count < 1 || count > MAX_PORTS)
      throw new RangeError(`${count} ports; a hub model has 1 to ${MAX_PORTS}`);
    this.#speed = speed;
    this.#clock = clock;
    this.#changed = changed;
    this.#ports = Array.from({ length: count }, (_, index) => ({
      number: index + 1,
      device: undefined,
      status: 0,
      change: 0,
      resetTimer: undefined,
    }));
  }

  get count(): number {
    return this.#ports.length;
  }

  device(number: number): DeviceModel | undefined {
    return this.#ports[number - 1]?.device;
  }

  /** Traffic passes: enabled and not suspended. */
  enabled(number: number): boolean {
    const status = this.#ports[number - 1]?.status ?? 0;
    return (status & (PORT_STATUS.ENABLE | PORT_STATUS.SUSPEND)) === PORT_STATUS.ENABLE;
  }

  /** wPortStatus and wPortChange, 4 bytes; undefined when there is no such port. */
  status(number: number): Uint8Array | undefined {
    const port = this.#ports[number - 1];
    if (port === undefined) return undefined;
    const connected = (port.status & PORT_STATUS.CONNECTION) !== 0;
    const speed = connected && port.device !== undefined ? (SPEED_BITS[port.device.speed] ?? 0) : 0;
    const status = new Uint8Array(4);
    viewOf(status).setUint16(0, port.status | speed, true);
    viewOf(status).setUint16(2, port.change, true);
    return status;
  }

  /** The status-change bitmap; undefined when nothing has changed. */
  changeBitmap(): Uint8Array | undefined {
    const bitmap = new Uint8Array(bitmapBytes(this.count));
    for (const { number, change } of this.#ports) {
      if (change !== 0) bitmap[number >> 3] = (bitmap[number >> 3] ?? 0) | (1 << (number & 7));
    }
    return bitmap.some((byte) => byte !== 0) ? bitmap : undefined;
  }

  /** @returns false for a port or a feature that does not exist. */
  setFeature(number: number, feature: number): boolean {
    return this.#act(SET_FEATURE, number, feature);
  }

  /** @returns false for a port or a feature that does not exist. */
  clearFeature(number: number, feature: number): boolean {
    return this.#act(CLEAR_FEATURE, number, feature);
  }

  /** @throws RangeError: no such port, taken, or a model that is faster than the hub. */
  plug(number: number, device: DeviceModel): void {
    const port = this.#port(number);
    if (port.device !== undefined) throw new RangeError(`port ${number} is taken`);
    const fits = device.speed === "low" || device.speed === "full" || device.speed === this.#speed;
    if (!fits)
      throw new RangeError(`a ${device.speed}-speed model does not fit a ${this.#speed}-speed hub (USB 2.0 §11.1)`);
    port.device = device;
    device.onUnplug(() => {
      if (port.device === device) this.unplug(number);
    });
    if ((port.status & PORT_STATUS.POWER) !== 0) this.#connect(port);
    this.#changed();
  }

  /** @returns what was there. @throws RangeError: no such port. */
  unplug(number: number): DeviceModel | undefined {
    const port = this.#port(number);
    const { device } = port;
    if (device === undefined) return undefined;
    this.disable(port);
    port.device = undefined;
    if ((port.status & PORT_STATUS.CONNECTION) !== 0) {
      port.status &= ~PORT_STATUS.CONNECTION;
      port.change |= PORT_CHANGE.CONNECTION;
    }
    this.#changed();
    return device;
  }

  /** The hub lost its configuration: ports without power, no changes (§11.11). */
  powerOffAll(): void {
    for (const port of this.#ports) this.powerOff(port);
  }

  powerOn(port: Port): void {
    if ((port.status & PORT_STATUS.POWER) !== 0) return;
    port.status = PORT_STATUS.POWER;
    if (port.device !== undefined) this.#connect(port);
  }

  powerOff(port: Port): void {
    this.disable(port);
    port.status = 0;
    port.change = 0;
  }

  /** Ends whatever went on at the port, a reset too. */
  disable(port: Port): void {
    port.resetTimer?.cancel();
    port.resetTimer = undefined;
    const wasEnabled = (port.status & PORT_STATUS.ENABLE) !== 0;
    port.status &= ~(PORT_STATUS.ENABLE | PORT_STATUS.SUSPEND | PORT_STATUS.RESET);
    if (wasEnabled && port.device !== undefined) this.bus?.portDisabled(port.number, port.device);
  }

  /** Resets the device; the port is enabled and its change bit set when that is over. Nothing at an empty port. */
  startReset(port: Port): void {
    const { device } = port;
    if (device === undefined || (port.status & PORT_STATUS.CONNECTION) === 0) return;
    this.disable(port);
    port.status |= PORT_STATUS.RESET;
    port.resetTimer = this.#clock.startTimer(PORT_RESET_MS, () => {
      port.resetTimer = undefined;
      device.reset();
      port.status = (port.status & ~PORT_STATUS.RESET) | PORT_STATUS.ENABLE;
      port.change |= PORT_CHANGE.RESET;
      this.bus?.portReset(port.number, device);
      this.#changed();
    });
  }

  async close(): Promise<void> {
    this.powerOffAll();
    for (const { device } of this.#ports) await device?.close();
  }

  #connect(port: Port): void {
    port.status |= PORT_STATUS.CONNECTION;
    port.change |= PORT_CHANGE.CONNECTION;
  }

  #act(actions: ReadonlyMap<number, PortAction>, number: number, feature: number): boolean {
    const port = this.#ports[number - 1];
    const action = actions.get(feature);
    if (port === undefined || action === undefined) return false;
    action(this, port);
    this.#changed();
    return true;
  }

  #port(number: number): Port {
    const port = this.#ports[number - 1];
    if (port === undefined) throw new RangeError(`no port ${number}: the hub has 1 to ${this.count}`);
    return port;
  }
}
