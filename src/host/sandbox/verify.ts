/** Reads back, before a process gets its device, that it is kept as it was meant to be. */
import { HostError, isOutOfResources, messageOf } from "../errors.js";
import type { Layers, MissingLayer, SandboxLevel } from "./levels.js";
import { NAMESPACES, readChildren, readNamespaces, readThreads, type ThreadState } from "./proc-state.js";
import type { SandboxPlan } from "./sandbox.js";

/** What a process was found to be kept by. */
export interface SandboxReport {
  readonly level: SandboxLevel;
  readonly layers: Layers;
  readonly missing: readonly MissingLayer[];
}

/** seccomp(2): SECCOMP_MODE_FILTER. */
const MODE_FILTER = 2;
/** The launcher's filter and the lock's. */
const FILTERS = 2;

/**
 * The process that counts: the launcher stays outside the pid namespace as the parent of the one inside.
 * @throws HostError SANDBOX_UNAVAILABLE: there is none.
 */
export function innerPid(plan: SandboxPlan, startedPid: number): number {
  if (!plan.layers.namespaces) return startedPid;
  const children = readChildren(startedPid);
  const [inner] = children;
  if (inner === undefined || children.length > 1)
    throw new HostError("SANDBOX_UNAVAILABLE", `launcher ${startedPid} has ${children.length} child processes, not 1`);
  return inner;
}

/** @throws HostError SANDBOX_UNAVAILABLE naming everything that is not as planned; a system error: this process could not look. */
export function verifySandbox(plan: SandboxPlan, pid: number): SandboxReport {
  const { level, layers, missing } = plan;
  let problems: string[];
  try {
    problems = level === "none" ? [] : problemsOf(plan, pid);
  } catch (error) {
    if (isOutOfResources(error)) throw error;
    problems = [`its state cannot be read: ${messageOf(error)}`];
  }
  if (problems.length > 0)
    throw new HostError("SANDBOX_UNAVAILABLE", `process ${pid} is not locked as it must be: ${problems.join("; ")}`);
  return { level, layers, missing };
}

function problemsOf({ layers }: SandboxPlan, pid: number): string[] {
  const threads = readThreads(pid);
  const problems = threads.flatMap((thread) => problemsOfThread(thread));
  const children = readChildren(pid);
  if (children.length > 0) problems.push(`it has started other processes (${children.join(", ")})`);
  if (layers.namespaces) problems.push(...sharedNamespaces(pid));
  return problems;
}

export function problemsOfThread(thread: ThreadState): string[] {
  const { tid, seccomp, seccompFilters, noNewPrivs, capabilities, uids } = thread;
  const wrong = [
    seccomp !== MODE_FILTER && `Seccomp is ${seccomp}, not ${MODE_FILTER}`,
    seccompFilters < FILTERS && `${seccompFilters} filters, not ${FILTERS}`,
    noNewPrivs !== 1 && `NoNewPrivs is ${noNewPrivs}, not 1`,
    capabilities !== 0n && `it has capabilities ${capabilities.toString(16)}h`,
    uids.includes(0) && "it has the super-user's id",
  ];
  return wrong.filter((problem) => problem !== false).map((problem) => `thread ${tid}: ${problem}`);
}

/** Each must differ from ours; a user namespace is made by ordinary users only. */
function sharedNamespaces(pid: number): string[] {
  const own = readNamespaces("self");
  const other = readNamespaces(pid);
  return NAMESPACES.filter((name) => name !== "user" || process.getuid?.() !== 0).flatMap((name) => {
    if (other[name] === undefined) return [`its ${name} namespace cannot be read`];
    return other[name] === own[name] ? [`it shares the ${name} namespace of the host process`] : [];
  });
}
