/**
 * The rump kernel: what is there when nothing is plugged in. Boots on an implementation of the hypercalls, holds the root of
 * the device tree, the device switch and the event log, and loads drivers by module specifier.
 */
import { viewOf } from "../bytes.js";
import { type Clock, type LogLevel, RUMPUSER_VERSION, type Rumpuser } from "../rumpuser/rumpuser.js";
import { DeviceNode, Units } from "./autoconf.js";
import type { Device } from "./devsw.js";

/** A device in the switch: `sd0`. */
export interface SwitchEntry {
  readonly name: string;
  readonly className: string;
  readonly device: Device;
  /** The driver instance that published it. */
  readonly owner: string;
}

/** Whoever links published devices to the outside (pud's server half). */
export interface SwitchListener {
  added(entry: SwitchEntry): void;
  removed(entry: SwitchEntry, reason: string): void;
}

export class RumpKernel {
  readonly clock: Clock;
  readonly mainbus: DeviceNode;
  readonly #rumpuser: Rumpuser;
  readonly #units = new Units();
  readonly #entries = new Map<string, SwitchEntry>();
  readonly #listeners = new Set<SwitchListener>();

  constructor(rumpuser: Rumpuser) {
    if (rumpuser.version !== RUMPUSER_VERSION)
      throw new Error(`hypercalls of version ${rumpuser.version}, this kernel needs ${RUMPUSER_VERSION}`);
    this.#rumpuser = rumpuser;
    this.clock = rumpuser.clock;
    this.mainbus = DeviceNode.root("mainbus0", this.log);
  }

  readonly log = (level: LogLevel, source: string, message: string): void => {
    this.#rumpuser.log.write({ level, source, message });
  };

  /** 32 random bits. */
  random32(): number {
    const bytes = new Uint8Array(4);
    this.#rumpuser.random.fill(bytes);
    return viewOf(bytes).getUint32(0);
  }

  /** The devices in the switch, oldest first. */
  get devices(): readonly SwitchEntry[] {
    return [...this.#entries.values()];
  }

  /** Tells the listener about every device that is there and that comes and goes. */
  listen(listener: SwitchListener): void {
    this.#listeners.add(listener);
    for (const entry of this.#entries.values()) listener.added(entry);
  }

  /**
   * Puts a device into the switch as the next free unit of `className`.
   * @returns its name and the way to take it out again (idempotent).
   * @throws what a listener throws that cannot serve it; it is not in the switch then.
   */
  publish(owner: string, className: string, device: Device): { name: string; remove(reason: string): void } {
    const unit = this.#units.take(className);
    const entry: SwitchEntry = { name: `${className}${unit}`, className, device, owner };
    this.#entries.set(entry.name, entry);
    const remove = (reason: string): void => {
      if (this.#entries.get(entry.name) !== entry) return;
      this.#entries.delete(entry.name);
      this.#units.release(className, unit);
      for (const listener of this.#listeners) listener.removed(entry, reason);
    };
    try {
      for (const listener of this.#listeners) listener.added(entry);
    } catch (error) {
      remove("nobody serves it");
      throw error;
    }
    return { name: entry.name, remove };
  }

  /**
   * Loads a component and returns what it exports under `name`.
   * @throws Error naming the module when it has no such export.
   */
  async loadComponent(specifier: string, name: string): Promise<unknown> {
    const module = await this.#rumpuser.loadComponent(specifier);
    const component = typeof module === "object" && module !== null ? Reflect.get(module, name) : undefined;
    if (component === undefined) throw new Error(`component ${specifier} does not export "${name}"`);
    return component;
  }

  /** Detaches everything, leaves first. */
  async shutdown(): Promise<void> {
    await this.mainbus.detach();
  }
}
