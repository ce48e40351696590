/**
 * Devices that are reached over a connection: those of USB/IP servers, and simulated ones, whose processes are started here.
 * Each is asked for by itself and driven once; nobody tells of others.
 */
import { allDrivers, type DriverEntry } from "../dev/usb/driver-modules.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import { hostErrorOf, type HostError } from "./errors.js";
import type { EmitEvent } from "./events.js";
import type { SimSelector, UsbipSelector } from "./selector.js";
import type { Simulator } from "./sources/simulator.js";
import type { DeviceSource } from "./sources/source.js";
import type { Launched, Sessions } from "./sessions.js";

export interface StreamDevicesOptions {
  readonly runtimeDir: string;
  readonly clock: Clock;
  /** The user's own, before those that come with the project. */
  readonly drivers: readonly DriverEntry[];
  readonly sessions: Pick<Sessions, "launch">;
  readonly emit: EmitEvent;
  /** A session has been started. */
  readonly launched: (session: Launched) => void;
}

export class StreamDevices {
  readonly #options: StreamDevicesOptions;
  readonly #simulators: Promise<Simulator>[] = [];

  constructor(options: StreamDevicesOptions) {
    this.#options = options;
  }

  /** @returns for each: undefined when it has attached, else why not, which has been told as an event. */
  async start(selectors: readonly (SimSelector | UsbipSelector)[]): Promise<(HostError | undefined)[]> {
    const sims = selectors.filter((one) => one.kind === "sim");
    const usbip = selectors.filter((one) => one.kind === "usbip");
    return await Promise.all([
      ...sims.map(async (selector, index) => {
        const earlier = sims.slice(0, index).filter(({ model }) => model === selector.model).length;
        const key = earlier === 0 ? `sim:${selector.model}` : `sim:${selector.model}#${earlier + 1}`;
        return await this.#simulate(selector, key, index);
      }),
      ...usbip.map(async (selector) => await this.#connect(selector)),
    ]);
  }

  /** Ends the simulations. Bounded in time. */
  async close(): Promise<void> {
    await Promise.all(
      this.#simulators.map(async (it) => {
        const simulator = await it.catch(() => undefined); // it was told why it did not start
        await simulator?.end();
      }),
    );
  }

  /** SIGKILL to each of them. */
  kill(): void {
    for (const simulator of this.#simulators)
      simulator.then(
        (it) => it.kill(),
        () => {},
      );
  }

  async #simulate(selector: SimSelector, key: string, index: number): Promise<HostError | undefined> {
    const { runtimeDir, clock, drivers, emit } = this.#options;
    const starting = import("./sources/simulator.js").then(
      async ({ startSimulator }) =>
        await startSimulator({ selector, key, index, runtimeDir, clock, drivers: allDrivers(drivers) }),
    );
    this.#simulators.push(starting);
    try {
      const { source, gone } = await starting;
      return await this.#launch(source, gone);
    } catch (error) {
      const failure = hostErrorOf(error);
      emit({ event: "error", code: failure.code, message: failure.message, device: key });
      return failure;
    }
  }

  async #connect({ text, address, busId }: UsbipSelector): Promise<HostError | undefined> {
    const { clock, drivers } = this.#options;
    const { usbipSource } = await import("./sources/usbip.js");
    return await this.#launch(usbipSource({ key: text, address, busId, clock, drivers: allDrivers(drivers) }));
  }

  /** @param gone  Tells that the device is not there any more, where somebody knows before the driver does. */
  async #launch(source: DeviceSource, gone?: Promise<string>): Promise<HostError | undefined> {
    const session = this.#options.sessions.launch(source);
    void gone?.then((reason) => session.session.lost(reason));
    this.#options.launched(session);
    return await session.attached;
  }
}
