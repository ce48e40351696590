/** One device as it is open now, and the rump processes that are started for it: one serves it, the next one waits. */
import type { Clock, Timer } from "../rumpuser/rumpuser.js";
import { messageOf } from "../host/errors.js";
import { type AllDriverOptions, demotedMode, demotedOptionsOf, driverOptionsOf, type Mode } from "../host/modes.js";
import type { SessionDevice, SessionSource, SharedMemory } from "./rights.js";
import { RumpLife } from "./rump-life.js";

/** Short: the next death may come soon. A process at its start needs a processor for about 100 ms. */
const SPARE_DELAY_MS = 50;

export interface RumpSupplyContext {
  readonly clock: Clock;
  /** How mass storage is driven. Default auto. */
  readonly mode?: Mode;
  /** Devices share processes. */
  readonly shares?: boolean;
  /** False: processes get no memory to share with this one, and data go through the channel. Default true. */
  readonly sharesMemory?: boolean;
}

/** What a process is started for. */
interface Demand {
  /** A process that drove the device before was ended in the middle of it. Default true. */
  readonly interrupted?: boolean;
  readonly ahead?: boolean;
  readonly alone?: boolean;
}

export class RumpSupply {
  readonly #context: RumpSupplyContext;
  readonly #debug: (message: string) => void;
  #source: SessionSource;
  #opened: SessionDevice | undefined;
  /** The same for all processes, so that what one was to write can be asked of the next. */
  #memory: SharedMemory | undefined;
  /** The next one, started before it is needed. */
  #spare: Promise<RumpLife> | undefined;
  /** The one that was taken last. */
  #current: RumpLife | undefined;
  /** Starts it. */
  #due: Timer | undefined;
  /** Resolves when those that were one, and are of no use any more, have been ended. */
  #discarded: Promise<unknown> = Promise.resolve();
  #mode: Mode;
  /** For the next process. */
  #driverOptions: AllDriverOptions;
  #isOver = false;

  constructor(source: SessionSource, context: RumpSupplyContext, debug: (message: string) => void) {
    this.#source = source;
    this.#context = context;
    this.#debug = debug;
    this.#mode = context.mode ?? "auto";
    this.#driverOptions = driverOptionsOf(this.#mode);
  }

  get source(): SessionSource {
    return this.#source;
  }

  /** Undefined before `open`. */
  get opened(): SessionDevice | undefined {
    return this.#opened;
  }

  /** Everything is being undone: what is still under way must not begin anything. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** @throws HostError as the source says. */
  async open(): Promise<void> {
    this.#opened = await this.#source.open();
    if (this.#context.sharesMemory === false) return;
    try {
      this.#memory = await this.#source.createMemory();
    } catch (error) {
      this.#debug(`no memory to share with the driver's process: ${messageOf(error)}`); // data are sent then
    }
  }

  /** The device has come back: from now on it is this one. */
  moveTo(source: SessionSource, opened: SessionDevice): void {
    this.#source = source;
    this.#opened = opened;
  }

  /** The first process of the device. @throws HostError */
  async first(): Promise<RumpLife> {
    this.#current = await this.#spawn({ interrupted: false });
    return this.#current;
  }

  /**
   * So that the next one has its code loaded and is locked when it is needed. It waits without a wake-up. It starts a little
   * later: those that waited for the one before get their answers first.
   */
  prepareSpare(): void {
    this.#due?.cancel();
    this.#due = this.#context.clock.startTimer(SPARE_DELAY_MS, () => {
      if (this.#isOver) return;
      this.#spare ??= this.#spawn({ ahead: true });
      this.#spare.catch((error: unknown) => this.#debug(`no spare process: ${messageOf(error)}`)); // taken: thrown there
    });
  }

  /**
   * A process after the first one.
   *
   * @param alone  One that no other device shares.
   * @throws HostError; Error when the session has ended.
   */
  async takeSpare(alone = false): Promise<RumpLife> {
    this.#due?.cancel();
    const spare = this.#spare;
    this.#spare = undefined;
    let life = await spare?.catch(() => undefined);
    if (alone && this.#context.shares === true) {
      life?.discard();
      life = undefined;
    }
    if (life === undefined || life.hasEnded) life = await this.#spawn({ alone });
    this.#current = life;
    if (!this.#isOver) return life;
    life.discard();
    throw new Error(`${this.#source.key}: the session has ended`);
  }

  /**
   * The device went wrong as it was driven: every process from the next one on begins in a calmer mode.
   *
   * @param word    What the process that drives it says, which may lie: it can choose among the calmer modes.
   * @returns the mode; undefined when the word does not stand for one.
   */
  demote(word: string, reason: string): Mode | undefined {
    const mode = demotedMode(this.#mode, word);
    if (mode === undefined) return undefined;
    this.#mode = mode;
    this.#driverOptions = demotedOptionsOf(mode, reason);
    if (this.#spare === undefined) return mode;
    // It was started for the mode before.
    this.#discardSpare();
    this.prepareSpare();
    return mode;
  }

  /** Nothing is started any more. */
  end(): void {
    this.#isOver = true;
    this.#due?.cancel();
  }

  /** After `end`: resolves when the spare process was ended. */
  async killSpare(): Promise<void> {
    this.#discardSpare();
    await this.#discarded;
    this.#memory?.close();
    this.#memory = undefined;
  }

  #discardSpare(): void {
    const spare = this.#spare?.then(
      (life) => life.discard(),
      () => {}, // it did not start
    );
    this.#spare = undefined;
    this.#discarded = Promise.all([this.#discarded, spare]);
  }

  async #spawn({ interrupted = true, ahead = false, alone = false }: Demand): Promise<RumpLife> {
    const opened = this.#opened;
    if (opened === undefined || this.#isOver)
      throw new Error("a rump process is started for a device that was not opened");
    const process = await opened.start({
      interrupted,
      driverOptions: this.#driverOptions,
      memory: this.#memory,
      ahead,
      alone,
      besides: this.#current?.process,
    });
    return new RumpLife(process, this.#context.clock);
  }
}
