/** Things that another process knows by number. A number is not used twice. */
import { HostError } from "./errors.js";

export class Numbered<T> {
  readonly #what: string;
  readonly #most: number;
  readonly #things = new Map<number, T>();
  #last = 0;

  /** @param most  So many at a time. */
  constructor(what: string, most: number) {
    this.#what = what;
    this.#most = most;
  }

  /** @throws HostError FAILED: there are as many as there may be. */
  add(thing: T): number {
    if (this.#things.size >= this.#most) throw new HostError("FAILED", `${this.#most} ${this.#what}s are in use`);
    this.#things.set(++this.#last, thing);
    return this.#last;
  }

  /** Undefined: it was never there, or is not any more. */
  find(number: number): T | undefined {
    return this.#things.get(number);
  }

  /** @throws HostError FAILED */
  get(number: number): T {
    const thing = this.#things.get(number);
    if (thing === undefined) throw new HostError("FAILED", `there is no ${this.#what} ${number}`);
    return thing;
  }

  /** @returns what was there. */
  remove(number: number): T | undefined {
    const thing = this.#things.get(number);
    this.#things.delete(number);
    return thing;
  }

  all(): T[] {
    return [...this.#things.values()];
  }

  numbers(): number[] {
    return [...this.#things.keys()];
  }

  get size(): number {
    return this.#things.size;
  }
}
