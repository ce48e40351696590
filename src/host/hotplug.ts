/**
 * Tells that the devices of the machine may have changed; the listener reads sysfs again.
 *
 * Two sources, because neither is always there: the kernel's uevents (no udev daemon needed; not delivered into other
 * network namespaces), and inotify on /dev/bus/usb and its bus folders (also sees udev changing permissions). Where
 * the folder does not exist yet, its nearest existing parent is watched. Nothing polls.
 */
import { type FSWatcher, watch } from "node:fs";
import { readdir } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import { errnoOf, messageOf } from "./errors.js";

/** A plug-in makes some ten events (device, interfaces, permissions) within this time. */
const DEBOUNCE_MS = 150;
/** Linux has at most 64 buses with default settings; more folders than this are not ours. */
const MAX_BUS_FOLDERS = 256;

export interface HotplugOptions {
  /** /dev/bus/usb. */
  readonly devRoot: string;
  readonly clock: Clock;
  /** Called after each burst of changes. */
  readonly changed: () => void;
  /** Called with a source that cannot be used, and why; the others go on. */
  readonly unavailable: (source: string, reason: string) => void;
  /** Starts a uevent listener that calls back for each USB event; the result stops it. Absent: inotify alone. */
  readonly watchUevents?: (usbEvent: () => void) => () => void;
}

export class HotplugWatch {
  readonly #options: HotplugOptions;
  readonly #watchers = new Map<string, FSWatcher>();
  #stopUevents: (() => void) | undefined;
  #burst: Timer | undefined;
  #refresh: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: HotplugOptions) {
    this.#options = options;
  }

  /** Resolves when the watches are in place: a change after that is told. */
  async start(): Promise<void> {
    try {
      this.#stopUevents = this.#options.watchUevents?.(() => this.#noteChange());
    } catch (error) {
      this.#options.unavailable("kernel uevents", messageOf(error));
    }
    await this.#refreshWatches();
  }

  close(): void {
    this.#closed = true;
    this.#burst?.cancel();
    this.#stopUevents?.();
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** Starts the wait of a burst; later changes of the same burst are covered by it. */
  #noteChange(): void {
    if (this.#closed || this.#burst !== undefined) return;
    this.#burst = this.#options.clock.startTimer(DEBOUNCE_MS, () => {
      this.#burst = undefined;
      this.#refresh = this.#refresh
        .then(() => this.#refreshWatches())
        .catch((error: unknown) => this.#options.unavailable(this.#options.devRoot, messageOf(error)))
        .then(() => (this.#closed ? undefined : this.#options.changed()));
    });
  }

  /** Watches what there is to watch now, and lets go of what has gone. */
  async #refreshWatches(): Promise<void> {
    const wanted = await foldersToWatch(this.#options.devRoot);
    if (this.#closed) return;
    for (const [folder, watcher] of this.#watchers) {
      if (wanted.includes(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    for (const folder of wanted) if (!this.#watchers.has(folder)) this.#watch(folder);
  }

  #watch(folder: string): void {
    const drop = (error: unknown): void => {
      this.#watchers.get(folder)?.close();
      this.#watchers.delete(folder);
      if (errnoOf(error) !== "ENOENT") this.#options.unavailable(folder, messageOf(error));
    };
    // Of a parent, only the next step down matters: other programs work in /dev all day.
    const onlyName = folder === this.#options.devRoot ? undefined : nextStep(folder, this.#options.devRoot);
    try {
      const watcher = watch(folder, (_event, name) => {
        if (onlyName === undefined || name === null || name === onlyName) this.#noteChange();
      });
      watcher.on("error", drop);
      this.#watchers.set(folder, watcher);
    } catch (error) {
      drop(error);
    }
  }
}

/** The device folder and its bus folders, or the nearest parent that exists. */
async function foldersToWatch(devRoot: string): Promise<string[]> {
  for (let folder = devRoot; ; folder = dirname(folder)) {
    try {
      const entries = await readdir(folder, { withFileTypes: true });
      if (folder !== devRoot) return [folder];
      const buses = entries.filter((entry) => entry.isDirectory()).slice(0, MAX_BUS_FOLDERS);
      return [devRoot, ...buses.map((bus) => join(devRoot, bus.name))];
    } catch (error) {
      if (errnoOf(error) !== "ENOENT" || folder === dirname(folder)) throw error;
    }
  }
}

/** The name in `parent` that leads to `target`; undefined when `parent` does not lie above it. */
function nextStep(parent: string, target: string): string | undefined {
  const [first] = relative(parent, target).split(sep);
  return first === ".." ? undefined : first;
}
