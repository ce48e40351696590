/** What this machine may have nothing left of, for a while: descriptors, processes, memory. */
import { closeSync, openSync } from "node:fs";

/** errno(3) that say so. They tell nothing of what was asked for, and may pass. */
const OUT_OF_RESOURCES: ReadonlySet<unknown> = new Set(["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EAGAIN"]);

/** A system error of that kind, or an error that has such a cause. */
export function isOutOfResources(error: unknown): boolean {
  return shortageOf(error) !== undefined;
}

/** What that one says: `EMFILE`. */
export function shortageOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = "code" in error ? error.code : undefined;
  return typeof code === "string" && OUT_OF_RESOURCES.has(code) ? code : shortageOf(error.cause);
}

/** Open at a time while a module and what it imports are read: more than the largest of these groups has. */
const FILES = 32;

/**
 * Loads code that is needed late, in a process that goes on where it cannot be had. Node remembers for as long as the process lives
 * that a module could not be read: so its loading is not begun without descriptors for it, and what failed can be tried again.
 *
 * @param load  `() => import("./x.js")`
 * @throws a system error, EMFILE or ENFILE: nothing was begun. What `load` throws.
 */
export async function loadLate<T>(load: () => Promise<T>): Promise<T> {
  const opened: number[] = [];
  try {
    while (opened.length < FILES) opened.push(openSync("/dev/null", "r"));
  } finally {
    for (const fd of opened) closeSync(fd);
  }
  return await load();
}

/** Loads as loadLate does, and keeps what was loaded: from then on it can be had without files, also in a process that may open none. */
export function loadedOnce<T>(load: () => Promise<T>): () => Promise<T> {
  let loaded: { readonly value: T } | undefined;
  return async () => {
    loaded ??= { value: await loadLate(load) };
    return loaded.value;
  };
}
