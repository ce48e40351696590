/**
 * A clock for those who start a long timer for every small thing that they do, and cancel nearly all of them: deadlines.
 *
 * Node asks the kernel for the time whenever a timer is started. Here one timer of Node's ticks while others come, and what has
 * come since the last tick is dated by the next one: it fires late by two ticks at most, never early. Where none comes any more
 * the ticking ends.
 */
import type { Clock, Timer } from "../rumpuser.js";
import { realClock } from "./clock.js";

const TICK_MS = 100;
/** Shorter delays are exact. */
const MIN_COARSE_MS = 2_000;

/** `realClock`, but for delays of two seconds and more. */
export function createCoarseClock(): Clock {
  const timers = new CoarseTimers();
  return {
    nowMs: () => realClock.nowMs(),
    startTimer: (delayMs, fire) =>
      delayMs < MIN_COARSE_MS ? realClock.startTimer(delayMs, fire) : timers.start(delayMs, fire),
  };
}

class CoarseTimers {
  /** In any order. */
  readonly #waiting: CoarseTimer[] = [];
  /** Due at the next tick, or, where nothing has come since the last one, when the first of those that wait is. */
  #alarm: NodeJS.Timeout | undefined;
  #isTicking = false;
  #hasNew = false;

  start(delayMs: number, fire: () => void): Timer {
    const timer = new CoarseTimer(this, delayMs, fire);
    timer.at = this.#waiting.push(timer) - 1;
    this.#hasNew = true;
    if (!this.#isTicking) this.#wakeIn(TICK_MS);
    else if (timer.at === 0) this.#alarm?.ref();
    this.#isTicking = true;
    return timer;
  }

  remove(timer: CoarseTimer): void {
    const { at } = timer;
    if (at < 0) return;
    timer.at = -1;
    const last = this.#waiting.pop();
    if (last !== undefined && last !== timer) {
      this.#waiting[at] = last;
      last.at = at;
    }
    // A timer that nobody waits for does not keep the process alive.
    if (this.#waiting.length === 0) this.#alarm?.unref();
  }

  #wakeIn(ms: number): void {
    clearTimeout(this.#alarm);
    this.#alarm = setTimeout(() => this.#wake(), ms);
    if (this.#waiting.length === 0) this.#alarm.unref();
  }

  #wake(): void {
    const nowMs = realClock.nowMs();
    for (const timer of this.#waiting) timer.dueMs ??= nowMs + timer.delayMs;
    const due = this.#waiting.filter((timer) => timer.isDue(nowMs));
    const firstDueMs = this.#waiting.reduce(
      (first, timer) => (timer.isDue(nowMs) ? first : Math.min(first, timer.dueMs ?? first)),
      Number.POSITIVE_INFINITY,
    );
    this.#isTicking = this.#hasNew;
    this.#hasNew = false;
    this.#alarm = undefined;
    if (this.#isTicking) this.#wakeIn(TICK_MS);
    else if (firstDueMs < Number.POSITIVE_INFINITY) this.#wakeIn(firstDueMs - nowMs);
    for (const timer of due) timer.end();
  }
}

class CoarseTimer implements Timer {
  /** Its place among those that wait; -1: it has fired, or was cancelled. */
  at = -1;
  /** Undefined until the next tick. */
  dueMs: number | undefined;
  readonly delayMs: number;
  readonly #timers: CoarseTimers;
  readonly #fire: () => void;

  constructor(timers: CoarseTimers, delayMs: number, fire: () => void) {
    this.#timers = timers;
    this.delayMs = delayMs;
    this.#fire = fire;
  }

  isDue(nowMs: number): boolean {
    return this.dueMs !== undefined && this.dueMs <= nowMs;
  }

  cancel(): void {
    this.#timers.remove(this);
  }

  /** Fires, unless one that was due with it has cancelled it. */
  end(): void {
    if (this.at < 0) return;
    this.cancel();
    this.#fire();
  }
}
