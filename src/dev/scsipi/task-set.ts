/**
 * What runs at a unit at the same time: as many commands as its transport takes, but none beside another that touches the
 * same blocks.
 *
 * A target may carry out queued commands in any order (SAM-5 §8.6.2, SIMPLE tasks), so what has an order is not in flight
 * together: commands start in the order in which they were asked for; one whose blocks overlap those of a running one, where
 * either writes, waits for it, and so does whatever stands behind. A command without a claim runs alone.
 */
import { PendingSet } from "../../pending.js";
import { ScsiTransportError } from "./transport.js";

/** The blocks that a command touches. */
export interface Claim {
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly writes: boolean;
}

/** A turn that has begun. */
export class Turn {
  readonly claim: Claim | undefined;
  /** Set while it waits to be alone. */
  grant: (() => void) | undefined;
  isAlone: boolean;
  readonly #change: () => void;

  /** @param change  Told when it begins to wait. */
  constructor(claim: Claim | undefined, change: () => void) {
    this.claim = claim;
    this.isAlone = claim === undefined;
    this.#change = change;
  }

  /**
   * Resolves when nothing else runs; until the end of the turn nothing else starts. What goes wrong is dealt with alone: a
   * reset of the unit, or another medium in it, concerns every command. Turns that ask for it get it one after another.
   */
  alone(): Promise<void> {
    if (this.isAlone) return Promise.resolve();
    return new Promise((resolve) => {
      this.grant = resolve;
      this.#change();
    });
  }
}

interface Waiter {
  readonly claim: Claim | undefined;
  readonly start: (turn: Turn) => void;
}

export class TaskSet {
  readonly #depth: () => number;
  readonly #waiting = new PendingSet<Waiter>();
  readonly #running = new PendingSet<Turn>();
  readonly #change = (): void => this.#next();

  /** @param depth  How many commands the unit takes now; at least one is sent. */
  constructor(depth: () => number) {
    this.#depth = depth;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  /**
   * Runs `task` when its turn comes; without a claim, alone.
   * @throws ScsiTransportError SCSI_CANCELLED when `signal` is aborted before; `task` is then never called.
   */
  async run<T>(task: (turn: Turn) => Promise<T>, claim?: Claim, signal?: AbortSignal): Promise<T> {
    const turn = await this.enter(claim, signal);
    try {
      return await task(turn);
    } finally {
      this.leave(turn);
    }
  }

  /**
   * The turn, to be ended with `leave`; a promise of it only where it has to wait.
   * @throws ScsiTransportError as `run`.
   */
  enter(claim?: Claim, signal?: AbortSignal): Turn | Promise<Turn> {
    if (signal?.aborted === true) throw cancelled(signal);
    if (this.#waiting.size === 0 && !this.#grantAlone() && this.#mayStart(claim)) return this.#start(claim);
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(waiter);
        reject(cancelled(signal));
        // What stood behind may not have to wait any more.
        this.#next();
      };
      const waiter: Waiter = {
        claim,
        start: (turn) => {
          signal?.removeEventListener("abort", leave);
          resolve(turn);
        },
      };
      this.#waiting.add(waiter);
      signal?.addEventListener("abort", leave, { once: true });
      this.#next();
    });
  }

  leave(turn: Turn): void {
    this.#running.delete(turn);
    this.#next();
  }

  #start(claim: Claim | undefined): Turn {
    const turn = new Turn(claim, this.#change);
    this.#running.add(turn);
    return turn;
  }

  #next(): void {
    if (this.#grantAlone()) return;
    for (const waiter of this.#waiting.items.slice()) {
      if (!this.#mayStart(waiter.claim)) return;
      this.#waiting.delete(waiter);
      waiter.start(this.#start(waiter.claim));
    }
  }

  /** @returns true when one is alone, or is to be: nothing starts. */
  #grantAlone(): boolean {
    let first: Turn | undefined;
    for (const running of this.#running.items) {
      if (running.isAlone) return true;
      if (running.grant !== undefined) first ??= running;
    }
    if (first === undefined) return false;
    for (const running of this.#running.items) if (running.grant === undefined) return true;
    const { grant } = first;
    first.isAlone = true;
    first.grant = undefined;
    grant?.();
    return true;
  }

  #mayStart(claim: Claim | undefined): boolean {
    if (this.#running.size === 0) return true;
    if (claim === undefined || this.#running.size >= this.#depth()) return false;
    for (const running of this.#running.items)
      if (running.claim === undefined || conflict(running.claim, claim)) return false;
    return true;
  }
}

function conflict(a: Claim, b: Claim): boolean {
  if (!a.writes && !b.writes) return false;
  return a.firstBlock < b.firstBlock + b.blockCount && b.firstBlock < a.firstBlock + a.blockCount;
}

function cancelled(signal: AbortSignal | undefined): ScsiTransportError {
  return new ScsiTransportError("SCSI_CANCELLED", "cancelled before it was sent", { cause: signal?.reason });
}
