/** The signals of callers: one listener for each, however many commands share it. */
import type { Task } from "./task.js";

interface Caller {
  readonly tasks: Set<Task>;
  readonly listener: () => void;
}

export class Callers {
  readonly #cancel: (task: Task) => void;
  readonly #bySignal = new Map<AbortSignal, Caller>();

  /** `cancel` is called for each task of a signal that is aborted. */
  constructor(cancel: (task: Task) => void) {
    this.#cancel = cancel;
  }

  join(task: Task): void {
    const { signal } = task.command;
    if (signal === undefined) return;
    const known = this.#bySignal.get(signal);
    if (known !== undefined) {
      known.tasks.add(task);
      return;
    }
    const tasks = new Set([task]);
    const listener = (): void => {
      for (const one of Array.from(tasks)) this.#cancel(one);
    };
    this.#bySignal.set(signal, { tasks, listener });
    signal.addEventListener("abort", listener, { once: true });
  }

  leave(task: Task): void {
    const { signal } = task.command;
    const caller = signal && this.#bySignal.get(signal);
    if (signal === undefined || caller === undefined) return;
    caller.tasks.delete(task);
    if (caller.tasks.size > 0) return;
    this.#bySignal.delete(signal);
    signal.removeEventListener("abort", caller.listener);
  }
}
