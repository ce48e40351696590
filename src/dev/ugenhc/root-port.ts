/** The root hub's one port, in which the device is from the start (USB 2.0 §11.24.2.7: what a port says of itself). */
import type { Clock, Speed } from "../../rumpuser/rumpuser.js";
import type { RootPortStatus, RootPorts } from "../usb/usbdivar.js";

const THE_PORT = 1;

/** What the port asks of the controller. */
export interface PortActions {
  /** Ends what is in flight. */
  quiesce(): void;
  /** Resets the device; false when it has not come back. Never rejects. */
  resetDevice(): Promise<boolean>;
}

export class RootPort implements RootPorts {
  readonly count = 1;
  readonly #speed: Speed;
  readonly #actions: PortActions;
  #connected = true;
  #enabled = false;
  #connectChanged = true;
  #resetChanged = false;
  #wasReset = false;
  #changed: (() => void) | undefined;
  readonly #clock: Clock;

  constructor(speed: Speed, clock: Clock, actions: PortActions) {
    this.#speed = speed;
    this.#clock = clock;
    this.#actions = actions;
  }

  /** The device may be talked to. */
  get enabled(): boolean {
    return this.#enabled;
  }

  status(port: number): RootPortStatus {
    const here = port === THE_PORT;
    return {
      connected: here && this.#connected,
      enabled: here && this.#enabled,
      speed: this.#speed,
      connectChanged: here && this.#connectChanged,
      resetChanged: here && this.#resetChanged,
    };
  }

  /**
   * The first reset is not sent: the OS has just enumerated the device, and a reset would cost it what it keeps over one
   * enumeration only (a firmware that was loaded into it, a mode it was switched to).
   */
  async reset(port: number): Promise<void> {
    if (port !== THE_PORT) return;
    this.#enabled = false;
    this.#actions.quiesce();
    const send = this.#wasReset && this.#connected;
    this.#wasReset = true;
    const alive = send ? await this.#actions.resetDevice() : true;
    this.#enabled = alive && this.#connected;
    this.#resetChanged = true;
    this.#changed?.();
  }

  disable(port: number): void {
    if (port !== THE_PORT) return;
    this.#enabled = false;
    this.#actions.quiesce();
  }

  acknowledge(port: number, change: "connect" | "reset"): void {
    if (port !== THE_PORT) return;
    if (change === "connect") this.#connectChanged = false;
    else this.#resetChanged = false;
  }

  /** The device was there before anyone could listen: a listener hears of that, too. */
  onChange(changed: () => void): void {
    this.#changed = changed;
    if (!this.#connectChanged && !this.#resetChanged) return;
    this.#clock.startTimer(0, () => {
      if (this.#changed === changed) changed();
    });
  }

  /** The device has gone. */
  disconnect(): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#enabled = false;
    this.#connectChanged = true;
    this.#changed?.();
  }
}
