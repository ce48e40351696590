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
  let cancel = (): void => {};
  const late = new Promise<undefined>((resolve) => {
    const timer = clock.startTimer(limitMs, () => resolve(undefined));
    cancel = () => timer.cancel();
  });
  try {
    return await Promise.race([promise.then((value) => ({ value })), late]);
  } finally {
    cancel();
  }
}

/** A promise and its ends, apart. Only the first call of either counts. */
export interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

export function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}
