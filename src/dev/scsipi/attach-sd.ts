/**
 * The life of a disk unit: wait for a medium, publish it, take it away when it is lost, look for the next one.
 *
 * While no medium is in, TEST UNIT READY is sent every 2 s: a bulk-only target has no other way to tell (BOT 1.0 has no
 * notification). That is the only polling there is; it stops with the first medium.
 */
import { DeviceError } from "../../rump/devsw.js";
import { preventAllow } from "./cdb.js";
import type { Inquiry } from "./replies.js";
import { runCommand } from "./retry.js";
import { type MediumLoss, ScsiDisk } from "./sd.js";
import { ScsiError } from "./sd-errors.js";
import type { SenseMeaning } from "./sense.js";
import { awaitReady, CapacityError, type Medium, type ProbeContext, probeMedium } from "./sd-probe.js";
import { type ScsiHost, type ScsiQuirks, ScsiTransportError } from "./transport.js";
import { type LogicalUnit, sleep } from "./unit.js";

const MEDIUM_POLL_MS = 2_000;
/** A medium that does not stay this long is looked for at the pace of the poll. */
const SETTLED_MS = 2_000;
/** Looks in a row that failed for another reason than a missing medium; after these the unit is left in peace. */
const MAX_SEARCH_FAILURES = 5;
/** Flush and unlock at detach: the device may be slow, we may not. */
const DETACH_MS = 10_000;

/**
 * Brings up the disk of a unit and keeps it up until detach. Resolves when its medium is published, or when it is known
 * that none is in.
 * @throws ScsiError, ScsiTransportError, CapacityError when the unit cannot be used.
 */
export async function attachSd(unit: LogicalUnit, inquiry: Inquiry, host: ScsiHost, quirks: ScsiQuirks): Promise<void> {
  const sd = new SdUnit(unit, inquiry, host, quirks);
  host.onDetach(() => sd.detach());
  await sd.attach();
}

interface Published {
  readonly disk: ScsiDisk;
  readonly node: { readonly name: string; remove(reason: string): void };
  readonly sinceMs: number;
}

class SdUnit {
  readonly #host: ScsiHost;
  readonly #context: ProbeContext;
  readonly #stop = new AbortController();
  #current: Published | undefined;
  /** The search for a medium, while one is on. */
  #search: Promise<void> = Promise.resolve();
  #canLock: boolean;

  constructor(unit: LogicalUnit, inquiry: Inquiry, host: ScsiHost, quirks: ScsiQuirks) {
    this.#host = host;
    this.#canLock = inquiry.removable && quirks.noPreventAllow !== true;
    this.#context = {
      unit,
      inquiry,
      quirks,
      clock: host.clock,
      // Not the host's: at detach the command in flight ends, and a flush follows (detach).
      signal: this.#stop.signal,
      log: (level, message) => host.log(level, `lun ${unit.lun}: ${message}`),
    };
  }

  async attach(): Promise<void> {
    if (await this.#bringUp()) return;
    this.#context.log("info", `no medium; looking every ${MEDIUM_POLL_MS / 1000} s`);
    this.#startSearch(MEDIUM_POLL_MS);
  }

  /** @returns false when no medium is in. */
  async #bringUp(): Promise<boolean> {
    const { unit, signal, log } = this.#context;
    let medium: Medium;
    try {
      medium = await unit.exclusive(() => probeMedium(this.#context), signal);
      await unit.exclusive(() => this.#lock(true), signal);
    } catch (error) {
      if (error instanceof ScsiError && error.sense.meaning === "noMedium") return false;
      throw error;
    }
    const disk = new ScsiDisk(this.#context, medium, (loss) => this.#lost(loss));
    const node = this.#host.publish("sd", disk);
    this.#current = { disk, node, sinceMs: this.#host.clock.nowMs() };
    log("info", `${node.name}: ${describeMedium(medium)}`);
    return true;
  }

  #lost({ error, replaceable }: MediumLoss): void {
    const lost = this.#current;
    this.#current = undefined;
    lost?.node.remove(error.message);
    if (!replaceable || this.#host.signal.aborted) return;
    const livedMs = this.#host.clock.nowMs() - (lost?.sinceMs ?? 0);
    this.#startSearch(livedMs < SETTLED_MS ? MEDIUM_POLL_MS : 0);
  }

  #startSearch(firstDelayMs: number): void {
    this.#search = this.#searchMedium(firstDelayMs).catch((error: unknown) => {
      if (error instanceof ScsiTransportError && error.code === "SCSI_CANCELLED") return;
      this.#context.log("error", `no further medium is looked for: ${describe(error)}`);
    });
  }

  /** Ends with a medium that is published, or refused. @throws what no next look will change. */
  async #searchMedium(firstDelayMs: number): Promise<void> {
    const { unit, clock, signal, log } = this.#context;
    if (firstDelayMs > 0) await sleep(clock, firstDelayMs, signal);
    for (let failures = 0; ; ) {
      try {
        await unit.exclusive(() => awaitReady(this.#context), signal);
        if (await this.#bringUp()) return;
        failures = 0;
      } catch (error) {
        if (error instanceof CapacityError) return log("error", `this medium cannot be served: ${error.message}`);
        failures = isNotYet(error) ? 0 : failures + 1;
        if (!mayPass(error) || failures === MAX_SEARCH_FAILURES) throw error;
      }
      await sleep(clock, MEDIUM_POLL_MS, signal);
    }
  }

  /** Keeps the medium in while it is in use. A unit that has no lock is not asked again. */
  async #lock(prevent: boolean): Promise<void> {
    if (!this.#canLock) return;
    try {
      await runCommand(this.#context, { block: preventAllow(prevent) });
    } catch (error) {
      if (!(error instanceof ScsiError) || error.sense.meaning === "noMedium") throw error;
      this.#canLock = false;
      this.#context.log("debug", error.message);
    }
  }

  /** Stops looking; flushes and unlocks as far as the device still answers. Never rejects. */
  async detach(): Promise<void> {
    const { disk } = this.#current ?? {};
    this.#current = undefined;
    if (disk !== undefined) await this.#letGo(disk);
    this.#stop.abort(new Error("detached"));
    await this.#search;
  }

  async #letGo(disk: ScsiDisk): Promise<void> {
    const { unit, clock, log } = this.#context;
    const limit = new AbortController();
    const timer = clock.startTimer(DETACH_MS, () => {
      limit.abort(new Error(`not done in ${DETACH_MS} ms`));
      this.#stop.abort(limit.signal.reason);
    });
    try {
      await disk.shutdown(new DeviceError("ENODEV", "the device was detached"), limit.signal);
      await unit.exclusive(() => this.#lock(false), limit.signal);
    } catch (error) {
      const isUnplugged = error instanceof ScsiTransportError && error.code === "SCSI_GONE";
      if (!isUnplugged) log("warn", `flush at detach: ${describe(error)}`);
      else if (disk.hasUnflushedWrites) log("warn", "gone before the last writes were flushed; they may be missing");
    } finally {
      timer.cancel();
    }
  }
}

/** What a unit without a medium says, or one whose medium comes or goes just now. */
const NOT_YET: readonly SenseMeaning[] = [
  "noMedium",
  "mediumChanged",
  "capacityChanged",
  "notReady",
  "becomingReady",
  "needsStart",
];

function isNotYet(error: unknown): boolean {
  return error instanceof ScsiError && NOT_YET.includes(error.sense.meaning);
}

/** Worth another look; not so when the target has gone, or on a bug. */
function mayPass(error: unknown): boolean {
  if (error instanceof ScsiTransportError) return error.code === "SCSI_TRANSPORT" || error.code === "SCSI_TIMED_OUT";
  return error instanceof ScsiError;
}

function describeMedium(medium: Medium): string {
  const { model, blockCount, blockBytes, readOnly, removable } = medium;
  const cache = !medium.writeCache ? "write through" : medium.canSynchronize ? "write back" : "cache cannot be flushed";
  const traits = [readOnly ? "read-only" : cache, ...(removable ? ["removable"] : [])];
  return `${model || "unnamed disk"}, ${blockCount} blocks of ${blockBytes} bytes, ${traits.join(", ")}`;
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
