/** First come, first served: tasks that must not run at the same time. */
import { ScsiTransportError } from "./transport.js";

interface Waiter {
  readonly start: () => void;
}

/** Runs tasks one after another in the order of `run`. A waiting task can leave; a running one ends by its own means. */
export class CommandQueue {
  readonly #waiting = new Set<Waiter>();
  #busy = false;

  /** Tasks that wait for their turn. */
  get waitingCount(): number {
    return this.#waiting.size;
  }

  /**
   * Runs `task` when every task queued before has settled; never within the call, so that what is asked for in one turn of
   * the loop is all there when the first of it begins.
   * @throws ScsiTransportError SCSI_CANCELLED when `signal` is aborted before the turn comes; `task` is then never called.
   */
  async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.enter(signal);
    try {
      return await task();
    } finally {
      this.leave();
    }
  }

  /**
   * The turn, to be ended with `leave`; a promise only where it has to wait for it.
   * @throws ScsiTransportError as `run`.
   */
  enter(signal: AbortSignal | undefined): Promise<void> | undefined {
    if (signal?.aborted === true) throw cancelled(signal);
    if (!this.#busy) {
      this.#busy = true;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.delete(waiter);
        reject(cancelled(signal));
      };
      const waiter: Waiter = {
        start: () => {
          signal?.removeEventListener("abort", leave);
          resolve();
        },
      };
      signal?.addEventListener("abort", leave, { once: true });
      this.#waiting.add(waiter);
    });
  }

  leave(): void {
    const [waiter] = this.#waiting;
    if (waiter === undefined) {
      this.#busy = false;
      return;
    }
    this.#waiting.delete(waiter);
    waiter.start();
  }
}

function cancelled(signal: AbortSignal | undefined): ScsiTransportError {
  return new ScsiTransportError("SCSI_CANCELLED", "cancelled before it was sent", { cause: signal?.reason });
}
