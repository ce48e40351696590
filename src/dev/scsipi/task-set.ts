/**
 * What runs at a unit at the same time: as many commands as its transport takes, but none beside another that touches the
 * same blocks.
 *
 * A target may carry out queued commands in any order (SAM-5 §8.6.2, SIMPLE tasks), so what has an order is not in flight
 * together: commands start in the order in which they were asked for; one whose blocks overlap those of a running one, where
 * either writes, waits for it, and so does whatever stands behind. A command without a claim runs alone.
 */
import { ScsiTransportError } from "./transport.js";

/** The blocks that a command touches. */
export interface Claim {
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly writes: boolean;
}

/** A turn that has begun. */
export interface Turn {
  /**
   * Resolves when nothing else runs; until the end of the turn nothing else starts. What goes wrong is dealt with alone: a
   * reset of the unit, or another medium in it, concerns every command. Turns that ask for it get it one after another.
   */
  alone(): Promise<void>;
}

interface Running {
  readonly claim: Claim | undefined;
  /** Set while it waits to be alone. */
  grant?: () => void;
  isAlone: boolean;
}

interface Waiter {
  readonly claim: Claim | undefined;
  readonly start: (running: Running) => void;
}

export class TaskSet {
  readonly #depth: () => number;
  readonly #waiting = new Set<Waiter>();
  readonly #running = new Set<Running>();

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
    const running = await this.#turn(claim, signal);
    try {
      return await task({ alone: () => this.#alone(running) });
    } finally {
      this.#running.delete(running);
      this.#next();
    }
  }

  #turn(claim: Claim | undefined, signal: AbortSignal | undefined): Promise<Running> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(cancelled(signal));
        return;
      }
      const leave = (): void => {
        this.#waiting.delete(waiter);
        reject(cancelled(signal));
        // What stood behind may not have to wait any more.
        this.#next();
      };
      const waiter: Waiter = {
        claim,
        start: (running) => {
          signal?.removeEventListener("abort", leave);
          resolve(running);
        },
      };
      this.#waiting.add(waiter);
      signal?.addEventListener("abort", leave, { once: true });
      this.#next();
    });
  }

  #alone(running: Running): Promise<void> {
    if (running.isAlone) return Promise.resolve();
    return new Promise((resolve) => {
      running.grant = resolve;
      this.#next();
    });
  }

  #next(): void {
    if (this.#grantAlone()) return;
    for (const waiter of this.#waiting) {
      if (!this.#mayStart(waiter.claim)) return;
      this.#waiting.delete(waiter);
      const running: Running = { claim: waiter.claim, isAlone: waiter.claim === undefined };
      this.#running.add(running);
      waiter.start(running);
    }
  }

  /** @returns true when one is alone, or is to be: nothing starts. */
  #grantAlone(): boolean {
    let first: Running | undefined;
    for (const running of this.#running) {
      if (running.isAlone) return true;
      if (running.grant !== undefined) first ??= running;
    }
    if (first === undefined) return false;
    for (const running of this.#running) if (running.grant === undefined) return true;
    const { grant } = first;
    first.isAlone = true;
    delete first.grant;
    grant?.();
    return true;
  }

  #mayStart(claim: Claim | undefined): boolean {
    if (this.#running.size === 0) return true;
    if (claim === undefined || this.#running.size >= this.#depth()) return false;
    for (const running of this.#running)
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
