/**
 * Loads a driver's file in a throw-away sandboxed process and prints what the host must know of it, as one line of JSON: the host
 * itself never loads a driver's code. Its argument is the file's URL.
 */
import { writeSync } from "node:fs";

/** @returns the exports that look like driver records: a name, rows to match by, and an attach. */
function driversOf(module: Readonly<Record<string, unknown>>): unknown[] {
  return Object.entries(module).flatMap(([exportName, value]) => {
    if (typeof value !== "object" || value === null || !("attach" in value)) return [];
    const { name, match } = value as { readonly name?: unknown; readonly match?: unknown };
    return [{ exportName, name, match }];
  });
}

const module = (await import(process.argv[2] ?? "")) as Readonly<Record<string, unknown>>;
writeSync(1, `${JSON.stringify(driversOf(module))}\n`);
process.exit(0);
