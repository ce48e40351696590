/** Waits that end. */
import type { Clock } from "../rumpuser/rumpuser.js";

/**
 * Waits for a promise, but no longer than `limitMs`.
 *
 * @returns `{ value }`, or undefined when the time is over; the promise then goes on unobserved and must not reject.
 */
export async function waitAtMost<T>(
  clock: Clock,
  limitMs: number,
  promise: Promise<T>,
): Promise<{ readonly value: T } | undefined> {
  const late = deferred<undefined>();
  const timer = clock.startTimer(limitMs, () => late.resolve(undefined));
  try {
    return await Promise.race([promise.then((value) => ({ value })), late.promise]);
  } finally {
    timer.cancel();
  }
}

/** A promise and its end, apart. Only the first call counts. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
}

export function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((onValue) => {
    resolve = onValue;
  });
  return { promise, resolve };
}
