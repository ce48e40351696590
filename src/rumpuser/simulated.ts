/**
 * The simulated host: a virtual clock, seeded randomness, a log kept in memory and components out of a map.
 *
 * Nothing here takes real time and nothing is random that the seed does not say, so a run is repeated exactly by its
 * seed. `run` drives asynchronous code: it lets promise jobs finish, fires the next timer, and so on until the code is
 * done. Code under it must not wait for real I/O: to the simulation that looks like a deadlock.
 */
import type { Clock, LogEntry, Random, Rumpuser, Timer } from "./rumpuser.js";
import { RUMPUSER_VERSION } from "./rumpuser.js";

/** Bounds a run that never ends: more timers than any scenario of a driver needs. */
const MAX_FIRINGS = 5_000_000;

/** Turns of the real loop without a timer or a result before a run counts as stuck. */
const MAX_IDLE_TURNS = 20;

/** The code under the simulation can never end, or does not. */
export class SimulationError extends Error {
  readonly code: "DEADLOCK" | "RUNAWAY";

  constructor(code: "DEADLOCK" | "RUNAWAY", message: string) {
    super(message);
    this.name = "SimulationError";
    this.code = code;
  }
}

/** Virtual milliseconds. Time moves only through these methods. */
export interface VirtualClock extends Clock {
  /** Timers that are waiting to fire. */
  readonly pendingTimers: number;
  /** Fires every timer that is due within `ms`, in order, with promise jobs in between; then the time is `ms` later. */
  advance(ms: number): Promise<void>;
  /** Fires timers until none is left. @throws SimulationError RUNAWAY */
  run(): Promise<void>;
  /**
   * Fires timers until the promise has settled, and returns what it resolves to.
   * @throws whatever the promise rejects with; SimulationError DEADLOCK when it is pending and no timer is left.
   */
  runUntil<T>(promise: Promise<T>): Promise<T>;
}

export interface SimulatedRumpuser extends Rumpuser {
  readonly clock: VirtualClock;
  /** Everything that was logged, in order. */
  readonly entries: LogEntry[];
  /** `clock.runUntil` of what the function returns. */
  run<T>(scenario: () => Promise<T>): Promise<T>;
}

export interface SimulationOptions {
  /** Any number; the same seed gives the same run. */
  readonly seed: number;
  /** What `loadComponent` finds, by specifier. */
  readonly components?: ReadonlyMap<string, unknown>;
}

export function createSimulatedRumpuser(options: SimulationOptions): SimulatedRumpuser {
  const clock = createVirtualClock();
  const entries: LogEntry[] = [];
  return {
    version: RUMPUSER_VERSION,
    clock,
    random: createSeededRandom(options.seed),
    entries,
    log: { write: (entry) => void entries.push(entry) },
    async loadComponent(specifier) {
      const component = options.components?.get(specifier);
      if (component === undefined) throw new Error(`component "${specifier}" is not among the simulated ones`);
      return component;
    },
    run: (scenario) => clock.runUntil(scenario()),
  };
}

/** Marsaglia's xorshift with 32 bits of state: repeatable, and good enough to pick faults; not for secrets. */
export function createSeededRandom(seed: number): Random {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  return {
    fill(bytes) {
      for (let i = 0; i < bytes.length; i++) bytes[i] = next() >>> 24;
    },
  };
}

interface PendingTimer {
  readonly atMs: number;
  readonly fire: () => void;
}

/** A clock that stands still until it is told to go on. Timers due at the same time fire in the order they were made. */
export function createVirtualClock(): VirtualClock {
  let nowMs = 0;
  /** By time, then by age. */
  const timers: PendingTimer[] = [];

  const startTimer = (delayMs: number, fire: () => void): Timer => {
    const timer = { atMs: nowMs + Math.max(0, delayMs), fire };
    let at = timers.length;
    for (let before = timers[at - 1]; before !== undefined && before.atMs > timer.atMs; before = timers[at - 1]) at--;
    timers.splice(at, 0, timer);
    return {
      cancel() {
        const found = timers.indexOf(timer);
        if (found >= 0) timers.splice(found, 1);
      },
    };
  };

  const fireNext = (): void => {
    const timer = timers.shift();
    if (timer === undefined) return;
    nowMs = Math.max(nowMs, timer.atMs);
    timer.fire();
  };

  const fireWhile = async (due: (next: PendingTimer) => boolean): Promise<void> => {
    await settleJobs();
    for (let firings = 0; ; firings++) {
      const next = timers[0];
      if (next === undefined || !due(next)) return;
      if (firings >= MAX_FIRINGS) throw runaway(nowMs, timers.length);
      fireNext();
      await settleJobs();
    }
  };

  return {
    nowMs: () => nowMs,
    startTimer,
    get pendingTimers() {
      return timers.length;
    },
    async advance(ms) {
      const untilMs = nowMs + ms;
      await fireWhile((next) => next.atMs <= untilMs);
      nowMs = untilMs;
    },
    run: () => fireWhile(() => true),
    async runUntil<T>(promise: Promise<T>): Promise<T> {
      let settled = false;
      const outcome = promise.then(
        (value) => {
          settled = true;
          return { value };
        },
        (error: unknown) => {
          settled = true;
          return { error };
        },
      );
      let idleTurns = 0;
      for (let firings = 0; ; firings++) {
        await settleJobs();
        if (settled) break;
        if (firings >= MAX_FIRINGS) throw runaway(nowMs, timers.length);
        if (timers.length > 0) {
          idleTurns = 0;
          fireNext();
        } else if (++idleTurns > MAX_IDLE_TURNS) {
          throw new SimulationError(
            "DEADLOCK",
            `at ${nowMs} ms no timer is left, and what the run waits for has not ended: nothing can end it any more`,
          );
        }
      }
      const result = await outcome;
      if ("error" in result) throw result.error;
      return result.value;
    },
  };
}

function runaway(nowMs: number, pending: number): SimulationError {
  return new SimulationError(
    "RUNAWAY",
    `${MAX_FIRINGS} timers have fired up to ${nowMs} ms and ${pending} are pending: the run does not come to an end`,
  );
}

/** One turn of the real loop: every promise job that is ready, and what it makes ready, has run afterwards. */
function settleJobs(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
