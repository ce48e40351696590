/** The pud process of a host process, found as the kernel tells of it. */
import { readFileSync } from "node:fs";
import { readChildren } from "../../src/host/sandbox/proc-state.js";

/** @throws Error there is none. */
export function pudProcessOf(hostPid: number): number {
  const started = readChildren(hostPid).find((pid) => commandOf(pid).includes("pud-process"));
  if (started === undefined) throw new Error(`process ${hostPid} has started no pud process`);
  // In a pid namespace it is the launcher's child.
  return readChildren(started).find((pid) => commandOf(pid).includes("pud-process")) ?? started;
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "latin1");
}
