/**
 * The host process: finds or makes the devices that were asked for, has a session run for each (sessions.ts), and ends in order.
 *
 * ```ts
 * const host = await RumpHost.open({ selectors, links, take: false, readOnly: false, runtimeDir, emit });
 * const failure = await host.start();      // undefined: ready
 * const last = await host.finished;        // nothing is left that could come back
 * await host.shutdown("SIGTERM");
 * ```
 */
import createDebug from "debug";
import { allDrivers, type DriverEntry } from "../dev/usb/driver-modules.js";
import type { Link, LinkSpec } from "../pud/links/links.js";
import { realClock } from "../rumpuser/real/clock.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import type { DiscoveryRoots } from "./discovery.js";
import { HostError } from "./errors.js";
import type { EmitEvent } from "./events.js";
import type { LocalUsb } from "./local-usb.js";
import type { Mode } from "./modes.js";
import type { RumpGroup } from "./rump-group.js";
import { ensureRuntimeDir } from "./runtime-dir.js";
import type { Selector, SimSelector, UsbipSelector, UsbSelector } from "./selector.js";
import type { Sandbox } from "./sandbox/sandbox.js";
import type { Launched, Sessions } from "./sessions.js";
import type { StreamDevices } from "./stream-devices.js";
import { sharedUnits } from "./units.js";
import { type Deferred, deferred } from "./waits.js";

export interface HostOptions {
  /** None: every USB device that a driver matches, now and as plugged in. */
  readonly selectors: readonly Selector[];
  /** Opened at once; undefined: one for each kind of device, opened when there is one. */
  readonly links: readonly LinkSpec[] | undefined;
  /** Links of the caller's own, for what it wants to serve itself. */
  readonly ownLinks?: readonly Link[];
  /** Take devices from their kernel drivers, and give them back at the end. */
  readonly take: boolean;
  /** A process for each function of a USB device, in place of one for the device. */
  readonly split?: boolean;
  /** Several devices in one process, for memory: a driver that goes wrong reaches them all. Not with `split`. */
  readonly group?: boolean;
  readonly readOnly: boolean;
  /** Received bytes of serial lines may be late by so many milliseconds, 1 to 255. Default: as their drivers have it. */
  readonly latencyMs?: number;
  /** How long a device that was unplugged is waited for, with its nodes and requests kept; 0 = not at all. Default 5000. */
  readonly graceMs?: number;
  readonly runtimeDir: string;
  readonly emit: EmitEvent;
  readonly sandbox: Sandbox;
  /** Sessions and links run in a locked process of their own. Not with `ownLinks`. Default false: in this one. */
  readonly apart?: boolean;
  /** The user's own, before those that come with the project. */
  readonly drivers?: readonly DriverEntry[];
  /** Where to look for USB devices. */
  readonly roots?: DiscoveryRoots;
  readonly clock?: Clock;
  /** How mass storage is driven. Default auto. */
  readonly mode?: Mode;
  /** False: large payloads are sent to the drivers' processes, not shared with them. Default true. */
  readonly sharesMemory?: boolean;
  /** Script to run in place of the rump process; for tests. */
  readonly rumpScript?: string;
}

/** A stick that is pulled out by mistake is in again by then, and nobody who pulled it out for good waits long. */
const DEFAULT_GRACE_MS = 5_000;
/** More that the pud process tells of are not kept for the "ready" event. */
const MAX_READY_NODES = 4096;

/** What became of one thing that was asked for. */
type Outcome = HostError | undefined;

/** What a host is made of. */
interface Opened {
  readonly clock: Clock;
  readonly sessions: Sessions;
  readonly emit: EmitEvent;
  readonly nodes: ReadonlySet<string>;
  readonly finished: Deferred<Outcome>;
}

export class RumpHost {
  readonly #options: HostOptions;
  readonly #clock: Clock;
  readonly #emit: EmitEvent;
  readonly #nodes: ReadonlySet<string>;
  readonly #finished: Deferred<Outcome>;
  readonly #sessions: Sessions;
  #usb: LocalUsb | undefined;
  #streams: StreamDevices | undefined;
  /** Sessions of devices that do not come back by themselves. */
  #oneTime = 0;
  #stopping: Promise<Outcome> | undefined;

  private constructor(options: HostOptions, { clock, sessions, emit, nodes, finished }: Opened) {
    this.#options = options;
    this.#clock = clock;
    this.#sessions = sessions;
    this.#emit = emit;
    this.#nodes = nodes;
    this.#finished = finished;
  }

  /**
   * Makes the runtime directory and opens the links; devices are touched by `start`.
   *
   * @throws HostError RUNTIME_DIR, LINK, USAGE, SANDBOX_UNAVAILABLE, INSTALLATION; nothing is left behind.
   */
  static async open(options: HostOptions): Promise<RumpHost> {
    const { runtimeDir, links, sandbox, readOnly, rumpScript, clock = realClock } = options;
    if (options.split === true) checkDivisible(options);
    await ensureRuntimeDir(runtimeDir, process.getuid?.() ?? 0);
    const nodes = new Set<string>();
    const finished = deferred<Outcome>();
    const emit: EmitEvent = (event) => {
      if (event.event === "node" && nodes.size < MAX_READY_NODES) nodes.add(event.node);
      if (event.event === "node-gone") nodes.delete(event.node);
      options.emit(event);
    };
    const group = options.group === true ? await openGroup(options, clock) : undefined;
    const openSessions =
      options.apart === true ? (await import("./apart.js")).openApart : (await import("./inside.js")).openInside;
    const sessions = await openSessions({
      clock,
      runtimeDir,
      takeUnit: await sharedUnits(runtimeDir),
      links,
      ownLinks: options.ownLinks ?? [],
      readOnly,
      latencyMs: options.latencyMs,
      emit,
      sandbox,
      graceMs: options.graceMs ?? DEFAULT_GRACE_MS,
      mode: options.mode ?? "auto",
      sharesMemory: options.sharesMemory ?? true,
      onLost: (error) => finished.resolve(error),
      ...(group === undefined ? {} : { group }),
      ...(rumpScript === undefined ? {} : { rumpScript }),
    });
    return new RumpHost(options, { clock, sessions, emit, nodes, finished });
  }

  /** Resolves when every device has gone and none can come back, with the error of the last one. */
  get finished(): Promise<Outcome> {
    return this.#finished.promise;
  }

  /**
   * Starts everything that was asked for.
   *
   * @returns undefined when it runs (`ready` has been told); else why nothing could be attached, which has been told as
   *   an event. Call `shutdown` in either case.
   */
  async start(): Promise<Outcome> {
    const { selectors, sandbox } = this.#options;
    sandbox.plan().catch(() => {}); // tried while devices are opened; whoever starts a process is told what came of it
    const streams = selectors.filter(isStream);
    const usb = selectors.filter((one) => !isStream(one));
    this.#oneTime++; // one that ends early is not the last while others are still starting
    const outcomes = (
      await Promise.all([
        streams.length > 0 ? this.#startStreams(streams) : [],
        usb.length > 0 || selectors.length === 0 ? this.#startUsb(usb) : [],
      ])
    ).flat();
    const failures = outcomes.filter((outcome) => outcome !== undefined);
    this.#oneTimeEnded(failures.at(-1));
    if (selectors.length > 0 && failures.length === outcomes.length) return failures[0];
    if (this.#stopping === undefined) this.#emit({ event: "ready", nodes: [...this.#nodes] });
    return undefined;
  }

  /**
   * Flush, detach, remove links and sockets, end simulations. Bounded in time; later calls wait for the first.
   * @returns why it was not done in order, which has been told as an event.
   */
  async shutdown(reason: string): Promise<Outcome> {
    this.#stopping ??= this.#shutdown(reason);
    return await this.#stopping;
  }

  /** Tries devices again whose drivers died too often. */
  resume(): void {
    this.#sessions.resumeAll();
  }

  /** The short way: every process of ours ends now, and what links made is taken back. What the rump processes held is lost. */
  async kill(): Promise<void> {
    this.#streams?.kill();
    await this.#sessions.killAll();
  }

  async #shutdown(reason: string): Promise<Outcome> {
    await this.#usb?.close();
    const error = await this.#sessions.stopAll(reason);
    await this.#streams?.close();
    this.#finished.resolve(undefined);
    return error;
  }

  async #startStreams(selectors: readonly (SimSelector | UsbipSelector)[]): Promise<Outcome[]> {
    const { runtimeDir, drivers = [] } = this.#options;
    const { StreamDevices: Streams } = await import("./stream-devices.js");
    if (this.#stopping !== undefined) return [];
    this.#streams = new Streams({
      runtimeDir,
      clock: this.#clock,
      drivers,
      sessions: this.#sessions,
      emit: this.#emit,
      launched: (session) => this.#oneTimeBegan(session),
    });
    return await this.#streams.start(selectors);
  }

  #oneTimeBegan({ ended }: Launched): void {
    this.#oneTime++;
    void ended.then((error) => this.#oneTimeEnded(error));
  }

  #oneTimeEnded(error: Outcome): void {
    this.#oneTime--;
    if (this.#oneTime === 0 && this.#usb === undefined) this.#finished.resolve(error);
  }

  async #startUsb(selectors: readonly UsbSelector[]): Promise<Outcome[]> {
    const { take, split, roots, drivers = [] } = this.#options;
    const { LocalUsb: Usb } = await import("./local-usb.js");
    const partsOf = split === true ? (await import("./functions.js")).partsOf : undefined;
    if (this.#stopping !== undefined) return [];
    this.#usb = new Usb({
      selectors,
      take,
      ...(partsOf === undefined ? {} : { partsOf }),
      ...(roots === undefined ? {} : { roots }),
      clock: this.#clock,
      drivers,
      sessions: this.#sessions,
      emit: this.#emit,
      noHotplug: (source, reason) => createDebug("rumpusb:hotplug")(`${source}: ${reason}`),
    });
    return await this.#usb.start();
  }
}

/** Only usbfs opens a device more than once. @throws HostError USAGE */
function checkDivisible({ selectors, group }: HostOptions): void {
  if (group === true)
    throw new HostError("USAGE", "--split: every function alone, --group: devices together; not both");
  const stream = selectors.find(isStream);
  if (stream !== undefined)
    throw new HostError("USAGE", `--split: ${stream.text} is reached over one connection, which cannot be split`);
}

async function openGroup({ sandbox, drivers, rumpScript }: HostOptions, clock: Clock): Promise<RumpGroup> {
  const { RumpGroup: Group } = await import("./rump-group.js");
  return new Group({
    clock,
    sandbox,
    drivers: allDrivers(drivers),
    onLine: createDebug("rumpusb:group"),
    ...(rumpScript === undefined ? {} : { script: rumpScript }),
  });
}

function isStream(selector: Selector): selector is SimSelector | UsbipSelector {
  return selector.kind === "sim" || selector.kind === "usbip";
}
