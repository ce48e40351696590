/**
 * What is under way: a Map and a Set for entries that come and go all the time, and are few.
 *
 * They are arrays, in the order in which entries came. V8 links each table of a Map or a Set to the one that takes its place; once one
 * of them is old, everything that went through it since then survives until the next collection of everything: young
 * collections that take 30 ms in place of 1, and memory that grows. To look through some dozens of entries costs less.
 */

/** Beyond that it is left to `splice`. */
const MANY_BEFORE = 4;

export class PendingMap<T> {
  readonly #ids: number[] = [];
  readonly #values: T[] = [];

  get size(): number {
    return this.#ids.length;
  }

  has(id: number): boolean {
    return this.#ids.includes(id);
  }

  get(id: number): T | undefined {
    const at = this.#ids.indexOf(id);
    return at < 0 ? undefined : this.#values[at];
  }

  /** `id` is not there. */
  add(id: number, value: T): void {
    this.#ids.push(id);
    this.#values.push(value);
  }

  delete(id: number): boolean {
    const at = this.#ids.indexOf(id);
    if (at < 0) return false;
    removeAt(this.#ids, at);
    removeAt(this.#values, at);
    return true;
  }

  /** As they are now, the oldest first; what is done to the map meanwhile does not change them. */
  values(): readonly T[] {
    return this.#values.slice();
  }

  clear(): void {
    this.#ids.length = 0;
    this.#values.length = 0;
  }
}

export class PendingSet<T> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** Those that are there, the oldest first; changes with the set. */
  get items(): readonly T[] {
    return this.#items;
  }

  has(item: T): boolean {
    return this.#items.includes(item);
  }

  /** `item` is not there. */
  add(item: T): void {
    this.#items.push(item);
  }

  delete(item: T): boolean {
    const at = this.#items.indexOf(item);
    if (at < 0) return false;
    removeAt(this.#items, at);
    return true;
  }

  /** Empties it. @returns what was there. */
  take(): T[] {
    return this.#items.splice(0);
  }
}

/** Most entries go in the order in which they came: the few before one are moved, in place of the many behind it. */
function removeAt<T>(items: T[], at: number): void {
  if (at > MANY_BEFORE) {
    items.splice(at, 1);
    return;
  }
  for (let n = at; n > 0; n--) items[n] = items[n - 1] as T;
  items.shift();
}
