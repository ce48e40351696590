/**
 * What locked processes ask of V8, said at run time: a switch on the command line differs from those with which Node's own
 * modules were compiled ahead, and costs every start 16 ms of processor time.
 */
import { setFlagsFromString } from "node:v8";

/**
 * The young generation stays as large as it is now, 1 to 4 MiB in place of 16: no slower here, and what it grows to stays
 * resident.
 */
export function keepHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}

/**
 * The young generation is collected by the thread that has it: it is small, and four helpers were woken for it each time. With a
 * slow line they wake up half as often; the processor time is the same, and disks are as fast.
 */
export function collectYoungAlone(): void {
  setFlagsFromString("--no-parallel-scavenge");
}

/**
 * Text is no code any more: no `eval`, and no way to the constructors of functions. Not a boundary (`node:vm` is there still),
 * a tool less for an attacker.
 */
export function forbidCodeFromStrings(): void {
  const kinds = [() => {}, async () => {}, function* () {}, async function* () {}];
  for (const kind of kinds)
    Object.defineProperty(Object.getPrototypeOf(kind), "constructor", { value: undefined, configurable: false });
  Reflect.deleteProperty(globalThis, "eval");
  Reflect.deleteProperty(globalThis, "Function");
}
