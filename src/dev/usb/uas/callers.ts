/** The signals of callers: one listener for each, however many commands share it. Arrays for the reason that pending.ts gives. */
import type { Task } from "./task.js";

interface Caller {
  readonly signal: AbortSignal;
  readonly tasks: Task[];
  readonly listener: () => void;
}

export class Callers {
  readonly #cancel: (task: Task) => void;
  readonly #callers: Caller[] = [];

  /** `cancel` is called for each task of a signal that is aborted. */
  constructor(cancel: (task: Task) => void) {
    this.#cancel = cancel;
  }

  join(task: Task): void {
    const { signal } = task.command;
    if (signal === undefined) return;
    const known = this.#of(signal);
    if (known !== undefined) {
      known.tasks.push(task);
      return;
    }
    const tasks = [task];
    const listener = (): void => {
      for (const one of tasks.slice()) this.#cancel(one);
    };
    this.#callers.push({ signal, tasks, listener });
    signal.addEventListener("abort", listener, { once: true });
  }

  leave(task: Task): void {
    const { signal } = task.command;
    const caller = signal && this.#of(signal);
    if (signal === undefined || caller === undefined) return;
    const { tasks, listener } = caller;
    const at = tasks.indexOf(task);
    if (at >= 0) tasks.splice(at, 1);
    if (tasks.length > 0) return;
    this.#callers.splice(this.#callers.indexOf(caller), 1);
    signal.removeEventListener("abort", listener);
  }

  #of(signal: AbortSignal): Caller | undefined {
    return this.#callers.find((one) => one.signal === signal);
  }
}
