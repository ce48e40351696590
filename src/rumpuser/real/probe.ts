/** System calls by number, whatever becomes of the process: the addon that tries what a sandbox keeps away. */
import { programPath } from "./addon.js";

/** A system call: its number, then numbers, strings (their address) and bytes (the address of their memory). */
export type SystemCall = readonly [number: number, ...argumentList: (number | string | Uint8Array)[]];

/** native/probe.cc: system calls by number. */
export interface Probe {
  calls(calls: readonly SystemCall[]): number[];
  callsOnPool(calls: readonly SystemCall[]): Promise<number[]>;
  /** As the addon's; but what would be killed is answered with errno 4000. */
  lock(purpose: number, strict: boolean, passFd: number, deviceFd: number, deviceCount: number): number;
}

/**
 * For `rumpusb sandbox` and tests; a rump process has no use for it. Its name sorts after rumpusb.node, because
 * node-gyp-build takes the first addon of the folder.
 * @throws AddonError when it is not built.
 */
export function loadProbe(): Probe {
  const path = programPath("sandbox-probe.node");
  const module: { exports: unknown } = { exports: {} };
  process.dlopen(module, path);
  return module.exports as Probe;
}
