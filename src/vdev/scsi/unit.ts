/** A logical unit: its medium, what the host has set, and what it has to be told (SPC-4 §5.9 unit attention, SBC-3 §4). */
import { ImageError, type ImageStore } from "../image.js";
import { VolatileCache } from "../volatile-cache.js";
import { CheckCondition, SENSE, type Sense } from "./sense.js";

/** What cannot change while the device is powered. */
export interface UnitOptions {
  /** Undefined: no medium is inserted; the unit must be removable. Taken over: closed with the unit. */
  readonly store: ImageStore | undefined;
  /** 512, 1024, 2048 or 4096. */
  readonly blockBytes: number;
  readonly writeProtected?: boolean;
  readonly removable?: boolean;
  /** A volatile write-back cache in front of the medium, switched on. */
  readonly writeCache?: boolean;
  /** Commands that need the medium and are answered "becoming ready" before the unit is ready. */
  readonly startupCommands?: number;
  /** Report "power on" to the first command (SPC-4 §5.9). */
  readonly powerOnAttention?: boolean;
  /** UNMAP and WRITE SAME with UNMAP are supported (SBC-3 §4.7). */
  readonly thinProvisioning?: boolean;
}

/** Unit attentions waiting to be reported; more are dropped, as SPC-4 §5.9 allows. */
const MAX_ATTENTIONS = 4;

export class LogicalUnit {
  readonly blockBytes: number;
  readonly removable: boolean;
  readonly hasWriteCache: boolean;
  readonly thinProvisioning: boolean;
  /** WCE of the caching mode page (SBC-3 §6.5.5): a write is answered before it is on the medium. */
  writeCacheEnabled: boolean;
  /** PREVENT ALLOW MEDIUM REMOVAL said so. */
  removalPrevented = false;
  /** START STOP UNIT said so. */
  stopped = false;
  #store: ImageStore | undefined;
  #ejected: ImageStore | undefined;
  #writeProtected: boolean;
  #startupCommands: number;
  #sense: Sense = SENSE.NONE;
  readonly #attentions: Sense[] = [];

  constructor(options: UnitOptions) {
    this.blockBytes = options.blockBytes;
    this.removable = options.removable ?? false;
    this.hasWriteCache = options.writeCache ?? false;
    this.writeCacheEnabled = this.hasWriteCache;
    this.thinProvisioning = options.thinProvisioning ?? true;
    this.#writeProtected = options.writeProtected ?? false;
    this.#startupCommands = options.startupCommands ?? 0;
    if (options.store === undefined && !this.removable)
      throw new ImageError("no medium: only a removable unit can be without one");
    this.#store = options.store === undefined ? undefined : this.#cached(options.store);
    if (options.powerOnAttention === true) this.attention(SENSE.POWER_ON);
  }

  get blockCount(): number {
    return this.#store === undefined ? 0 : Math.floor(this.#store.bytes / this.blockBytes);
  }

  get writeProtected(): boolean {
    return this.#writeProtected || this.#store?.readOnly === true;
  }

  get hasMedium(): boolean {
    return this.#store !== undefined;
  }

  /** What is behind the cache and what is in it; undefined without a medium or a cache. */
  get cache(): VolatileCache | undefined {
    return this.#store instanceof VolatileCache ? this.#store : undefined;
  }

  /** The medium, when the unit is ready. @throws CheckCondition: not present, stopped, becoming ready. */
  readyMedium(): ImageStore {
    if (this.#store === undefined) throw new CheckCondition(SENSE.MEDIUM_NOT_PRESENT);
    if (this.stopped) throw new CheckCondition(SENSE.INITIALIZING_COMMAND_REQUIRED);
    if (this.#startupCommands > 0) {
      this.#startupCommands--;
      throw new CheckCondition(SENSE.BECOMING_READY);
    }
    return this.#store;
  }

  /** Switches the write-protect tab; the host hears of it as "mode parameters changed". */
  setWriteProtected(writeProtected: boolean): void {
    this.#writeProtected = writeProtected;
    this.attention(SENSE.MODE_PARAMETERS_CHANGED);
  }

  /** Puts a medium in, taking over the store. @throws ImageError when there is one already, or the unit is fixed. */
  insert(store: ImageStore): void {
    if (!this.removable) throw new ImageError("the unit is not removable: no medium can be inserted");
    if (this.#store !== undefined) throw new ImageError("a medium is inserted already: eject it first");
    this.#ejected?.close();
    this.#ejected = undefined;
    this.#store = this.#cached(store);
    this.#inserted();
  }

  /**
   * Takes the medium out after writing what is cached. It is kept for `load`.
   * @returns false when there is none or the host has locked it and `force` is not set.
   * @throws ImageError when the cache cannot be written.
   */
  eject(force = false): boolean {
    if (!this.removable || this.#store === undefined || (this.removalPrevented && !force)) return false;
    this.#store.sync();
    this.#ejected = this.#store;
    this.#store = undefined;
    return true;
  }

  /** Draws the medium that was ejected last back in. @returns false when there is none. */
  load(): boolean {
    if (this.#store !== undefined || this.#ejected === undefined) return false;
    this.#store = this.#ejected;
    this.#ejected = undefined;
    this.#inserted();
    return true;
  }

  /** Bus reset (SPC-4 §5.9.5): locks are released; sense data is forgotten. */
  reset(): void {
    this.removalPrevented = false;
    this.#sense = SENSE.NONE;
  }

  /** Queues a unit attention for the next command that reports one; not what waits already. */
  attention(sense: Sense): void {
    if (this.#attentions.includes(sense)) return;
    if (this.#attentions.length < MAX_ATTENTIONS) this.#attentions.push(sense);
  }

  takeAttention(): Sense | undefined {
    return this.#attentions.shift();
  }

  /** Sense data of the last command, for REQUEST SENSE. */
  setSense(sense: Sense): void {
    this.#sense = sense;
  }

  /** The sense data to report: of the last command, or else a waiting unit attention (SPC-4 §6.39). */
  takeSense(): Sense {
    const sense = this.#sense;
    this.#sense = SENSE.NONE;
    return sense === SENSE.NONE ? (this.takeAttention() ?? SENSE.NONE) : sense;
  }

  close(): void {
    this.#store?.close();
    this.#ejected?.close();
    this.#store = undefined;
    this.#ejected = undefined;
  }

  #cached(store: ImageStore): ImageStore {
    return this.hasWriteCache && !store.readOnly ? new VolatileCache(store) : store;
  }

  #inserted(): void {
    this.stopped = false;
    this.attention(SENSE.MEDIUM_CHANGED);
  }
}
