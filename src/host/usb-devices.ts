/**
 * Which USB devices of this machine are driven: those that were asked for, now and as they are plugged in.
 *
 * With `--split`, each function of a device is driven by itself (functions.ts); what is said of a device here holds for each.
 * After every change the list is read again and compared with the sessions. A device that failed is not tried again
 * until it is plugged in anew, except where the reason has visibly gone (RETRY_WHEN), or was this machine's own.
 */
import type { DriverEntry } from "../dev/usb/driver-modules.js";
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import { type DiscoveryRoots, identityOf, listDevices, type UsbDevice } from "./discovery.js";
import { failureCode, HostError, type HostErrorCode, isOutOfResources, messageOf } from "./errors.js";
import type { EmitEvent } from "./events.js";
import type { UsbfsCalls } from "./kernel-driver.js";
import { type DevicePart, wholeDevice } from "./parts.js";
import { selects, type UsbSelector } from "./selector.js";
import { usbfsSource } from "./sources/usbfs.js";
import type { Launched, Sessions } from "./sessions.js";

export interface UsbDevicesOptions {
  /** None: every device that a driver matches. */
  readonly selectors: readonly UsbSelector[];
  readonly take: boolean;
  /** What of a device is a session by itself; left out: the device. */
  readonly partsOf?: (device: UsbDevice) => readonly DevicePart[];
  /** Left out: those that come with the project. */
  readonly drivers?: readonly DriverEntry[] | undefined;
  readonly roots: DiscoveryRoots;
  readonly clock: Clock;
  readonly usbfs: UsbfsCalls;
  readonly sessions: Pick<Sessions, "launch">;
  readonly emit: EmitEvent;
}

/** What became of a device while it is plugged in. */
interface Slot {
  /** Bus address and ids: another plug-in has another. */
  readonly identity: string;
  /** As it was when it was taken or refused. */
  readonly part: DevicePart;
  readonly launched: Launched | undefined;
  /** Why it is left alone; undefined while its session runs. */
  refused: HostErrorCode | undefined;
}

/** The reasons that can go while the device stays plugged in, and how that is seen. */
const RETRY_WHEN: Partial<Record<HostErrorCode, (now: UsbDevice, then: UsbDevice) => boolean>> = {
  NOT_PERMITTED: (now, then) => now.mayOpen && !then.mayOpen,
  DEVICE_BUSY: (now) => now.matches.every((match) => match.kernelDriver === undefined),
  NO_DRIVER: (now) => now.matches.length > 0,
  NO_RESOURCES: () => true,
};

/** When this machine had no descriptors for the list, or no process for a device. */
const AGAIN_MS = 2_000;

const NO_USB = "this machine has no USB (the kernel offers no /sys/bus/usb)";

export class UsbDevices {
  readonly #options: UsbDevicesOptions;
  /** By the key of the part. */
  readonly #slots = new Map<string, Slot>();
  /** Sessions whose device was pulled out. */
  readonly #away = new Set<{ readonly ids: string; readonly launched: Launched }>();
  /** Sessions of each key that are still ending: the next one waits for them. */
  readonly #ending = new Map<string, Promise<unknown>>();
  #work: Promise<void> = Promise.resolve();
  #again: Timer | undefined;
  /** How often the list was compared with the sessions. */
  #looks = 0;
  #closed = false;

  constructor(options: UsbDevicesOptions) {
    this.#options = options;
  }

  /**
   * Reads the list for the first time.
   *
   * @returns for each device and each selector that found none: undefined when it has attached, else why not. Every
   *   failure has been told as an event.
   */
  async start(): Promise<(HostError | undefined)[]> {
    const { roots, selectors, emit } = this.#options;
    let devices: UsbDevice[] = [];
    let started: Promise<HostError | undefined>[] = [];
    await this.#queue(async () => {
      const found = await listDevices(roots, this.#options.drivers);
      if (found === undefined) emit({ event: "log", level: "warn", source: "usb", message: NO_USB });
      devices = found ?? [];
      started = await this.#reconcile(devices);
    });
    const outcomes = await Promise.all(started);
    for (const selector of selectors) {
      if (devices.some((device) => selects(selector, device))) continue;
      const error = new HostError("NO_SUCH_DEVICE", `no USB device ${selector.text} is plugged in; see: rumpusb list`);
      emit({ event: "error", code: error.code, message: error.message });
      outcomes.push(error);
    }
    return outcomes;
  }

  /** The devices may have changed. Calls may overlap; the work does not. */
  refresh(): void {
    void this.#queue(async () => {
      const devices = await listDevices(this.#options.roots, this.#options.drivers);
      for (const outcome of await this.#reconcile(devices ?? [])) void outcome; // told as events
    });
  }

  /** Resolves when everything that was to be read has been. */
  async idle(): Promise<void> {
    await this.#work;
  }

  /** No session is started any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#again?.cancel();
    await this.idle();
  }

  async #queue(read: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(read).catch((error: unknown) => {
      const message = `reading the list of USB devices: ${messageOf(error)}`;
      this.#options.emit({ event: "error", code: failureCode(error), message });
      if (isOutOfResources(error)) this.#refreshLater();
    });
    await this.#work;
  }

  /** @returns for each device that gets a session of its own: what becomes of it, which is told as an event as well. */
  async #reconcile(devices: readonly UsbDevice[]): Promise<Promise<HostError | undefined>[]> {
    if (this.#closed) return [];
    this.#looks++;
    const byPath = new Map(devices.map((device) => [device.path, device]));
    for (const [key, slot] of this.#slots) {
      const device = byPath.get(slot.part.device.path);
      if (device !== undefined && identityOf(device) === slot.identity) continue;
      this.#slots.delete(key);
      this.#unplugged(slot);
    }
    const started: Promise<HostError | undefined>[] = [];
    for (const part of devices.flatMap(this.#options.partsOf ?? ((device) => [wholeDevice(device)])))
      if (this.#isDue(part) && !(await this.#takeBack(part))) started.push(this.#take(part));
    return started;
  }

  /** Its session may wait for it: it is told of every device that could be it, in whatever port. */
  #unplugged({ launched, part, refused }: Slot): void {
    if (launched === undefined || refused !== undefined) return;
    const away = { ids: idsOf(part), launched };
    this.#away.add(away);
    this.#ending.delete(part.key); // nothing in this port waits for a device that is not there
    void launched.ended.then(() => this.#away.delete(away));
    launched.session.unplugged();
  }

  /** Asked for, and neither driven nor refused for a reason that still stands. */
  #isDue(part: DevicePart): boolean {
    const { key, device, interfaces } = part;
    const { selectors } = this.#options;
    const asked =
      selectors.length === 0 ? device.matches.length > 0 : selectors.some((selector) => selects(selector, device));
    const slot = this.#slots.get(key);
    if (!asked || this.#isDivided(device, interfaces === undefined)) return false;
    // A session that waits for it is told once it may be opened: udev gives permission after the plug-in.
    if (slot === undefined) return device.mayOpen || ![...this.#away].some(({ ids }) => ids === idsOf(part));
    return slot.refused !== undefined && (RETRY_WHEN[slot.refused]?.(device, slot.part.device) ?? false);
  }

  /** It is driven in parts and this would be the whole, or the other way round: its interfaces appear one after another. */
  #isDivided({ path }: UsbDevice, isWhole: boolean): boolean {
    return [...this.#slots.values()].some(
      ({ part, refused }) =>
        refused === undefined && part.device.path === path && (part.interfaces === undefined) !== isWhole,
    );
  }

  /** @returns false: no session waits for it. */
  async #takeBack(part: DevicePart): Promise<boolean> {
    const source = usbfsSource({ ...this.#options, part });
    for (const away of this.#away) {
      if (away.ids !== idsOf(part) || !(await away.launched.session.replugged(source))) continue;
      this.#away.delete(away);
      this.#occupy({ identity: identityOf(part.device), part, launched: away.launched, refused: undefined });
      return true;
    }
    return false;
  }

  /** Starts a session. Resolves when it has attached, or with the reason why it did not; never rejects. */
  async #take(part: DevicePart): Promise<HostError | undefined> {
    const { key, device } = part;
    const { sessions, emit } = this.#options;
    const identity = identityOf(device);
    if (device.matches.length === 0) {
      this.#slots.set(key, { identity, part, launched: undefined, refused: "NO_DRIVER" });
      const error = new HostError("NO_DRIVER", `${device.path}: no driver matches any of its interfaces`);
      emit({ event: "error", code: error.code, message: error.message, device: device.path });
      return error;
    }
    const source = usbfsSource({ ...this.#options, part });
    const earlier = this.#ending.get(key);
    const launched = sessions.launch({
      ...source,
      open: async () => {
        await earlier;
        return await source.open();
      },
    });
    this.#occupy({ identity, part, launched, refused: undefined });
    return await launched.attached;
  }

  #occupy(slot: Slot & { readonly launched: Launched }): void {
    const { key } = slot.part;
    this.#slots.set(key, slot);
    const looksBefore = this.#looks;
    const ended = slot.launched.ended.then((error) => {
      slot.refused = error?.code ?? "DEVICE_GONE";
      if (this.#ending.get(key) === ended) this.#ending.delete(key);
      if (error?.code === "NO_RESOURCES") this.#refreshLater();
      // The reason may have gone while it was not known yet: nobody tells of it again.
      else if (error !== undefined && this.#looks !== looksBefore && !this.#closed) this.refresh();
    });
    this.#ending.set(key, ended);
  }

  /** Nobody tells when there is room again. */
  #refreshLater(): void {
    if (this.#closed) return;
    this.#again?.cancel();
    this.#again = this.#options.clock.startTimer(AGAIN_MS, () => this.refresh());
  }
}

/** What a part of a device keeps when it is plugged in again. */
function idsOf({ device: { vendor, product, serial }, interfaces }: DevicePart): string {
  return `${vendor}:${product}:${interfaces?.join() ?? ""}:${serial}`;
}
