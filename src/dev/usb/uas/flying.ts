/**
 * The commands in flight, by their tags.
 *
 * An array, though it is looked through: there are 32 of them at most, and a Map whose entries come and go all the time keeps what
 * was in it. V8 links each of its old tables to the next one; once one of them is old enough, the young garbage behind it
 * survives until the next collection of everything.
 */
import type { Task } from "./task.js";

export class Flying {
  readonly #tasks: Task[] = [];

  get size(): number {
    return this.#tasks.length;
  }

  /** As they are now; not to be kept. */
  get tasks(): readonly Task[] {
    return this.#tasks;
  }

  get(tag: number): Task | undefined {
    for (const task of this.#tasks) if (task.tag === tag) return task;
    return undefined;
  }

  has(task: Task): boolean {
    return this.#tasks.includes(task);
  }

  add(task: Task): void {
    this.#tasks.push(task);
  }

  /** @returns false when it was not there. */
  delete(task: Task): boolean {
    const at = this.#tasks.indexOf(task);
    if (at >= 0) this.#tasks.splice(at, 1);
    return at >= 0;
  }

  /** @returns what was there. */
  clear(): readonly Task[] {
    return this.#tasks.splice(0);
  }
}
