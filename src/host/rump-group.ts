/**
 * The rump processes that devices share (`--group`): who gets a place in which, and when another one is started.
 *
 * A place is used once. The place in reserve for a device is in another process than the one that serves it, so that all that
 * lose theirs together meet again in the next one.
 */
import type { DriverToLoad } from "../dev/usb/driver-modules.js";
import { type DeviceConfig, MAX_SLOTS, RUMP_CONFIG_VERSION } from "../rump-process/config.js";
import type { RumpPlace, RumpStart } from "./spawn.js";
import { type SharedProcess, type SharedSpawn, spawnShared } from "./spawn-shared.js";

/** What a group needs of a process. */
export type Shared = Pick<SharedProcess, "lease" | "exited">;

export interface RumpGroupContext extends Omit<RumpStart, "ahead"> {
  /** What any of the devices may need. */
  readonly drivers: readonly DriverToLoad[];
  /** How a process is started; for tests. */
  readonly spawn?: (options: SharedSpawn) => Promise<Shared>;
}

/** A process, from the moment at which it is asked for. */
interface Home {
  readonly process: Promise<Shared>;
  /** Places that nobody has been given. */
  free: number;
}

export class RumpGroup {
  readonly #context: RumpGroupContext;
  /** Oldest first. */
  readonly #homes = new Set<Home>();
  readonly #homeOf = new WeakMap<RumpPlace, Home>();

  constructor(context: RumpGroupContext) {
    this.#context = context;
  }

  /**
   * A place in a process that has one free, or in a new one.
   *
   * @param ahead    It will be needed later.
   * @param besides  Not in the process of this one.
   * @throws HostError: a process cannot be started.
   */
  async lease(config: DeviceConfig, ahead: boolean, besides: RumpPlace | undefined): Promise<RumpPlace> {
    const away = besides === undefined ? undefined : this.#homeOf.get(besides);
    for (;;) {
      const home = [...this.#homes].find((one) => one.free > 0 && one !== away) ?? this.#start(ahead);
      home.free--;
      const place = (await home.process).lease(config);
      if (place === undefined) {
        this.#homes.delete(home); // it has ended meanwhile
        continue;
      }
      this.#homeOf.set(place, home);
      return place;
    }
  }

  #start(ahead: boolean): Home {
    const { drivers, spawn = spawnShared, ...start } = this.#context;
    const config = { version: RUMP_CONFIG_VERSION, slots: MAX_SLOTS, drivers } as const;
    const home: Home = { process: spawn({ ...start, config, ahead }), free: MAX_SLOTS };
    this.#homes.add(home);
    const forget = (): void => void this.#homes.delete(home);
    home.process.then(async (process) => await process.exited.then(forget), forget); // who leases is told why
    return home;
  }
}
