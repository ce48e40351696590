/**
 * What the kernel says of a process, from outside: /proc/PID, which the process itself cannot change (proc(5)).
 *
 * Read at once: the kernel answers from memory in microseconds, and the way through libuv's pool takes longer than that.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { errnoOf } from "../errors.js";

export const NAMESPACES = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] as const;
export type Namespace = (typeof NAMESPACES)[number];

/** The lines of a thread's status that tell of its rights. */
export interface ThreadState {
  readonly tid: number;
  /** 2 = filtered. */
  readonly seccomp: number;
  readonly seccompFilters: number;
  readonly noNewPrivs: number;
  /** The union of every capability set, bounding set included. */
  readonly capabilities: bigint;
  /** Real, effective, saved and file-system user id. */
  readonly uids: readonly number[];
}

const CAPABILITY_SETS = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/** Every thread of a process. @throws Error: a line that must be there is not, or the process has gone. */
export function readThreads(pid: number): ThreadState[] {
  const tids = readdirSync(`/proc/${pid}/task`);
  return tids.map((tid) => parseStatus(Number(tid), readFileSync(`/proc/${pid}/task/${tid}/status`, "utf8")));
}

/** @throws Error naming the line that is missing. */
export function parseStatus(tid: number, text: string): ThreadState {
  const lines = new Map(text.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line] as const));
  const value = (key: string): string => {
    const line = lines.get(key);
    if (line === undefined) throw new Error(`/proc status of thread ${tid} has no line ${key}`);
    return line.slice(key.length + 1).trim();
  };
  return {
    tid,
    seccomp: Number(value("Seccomp")),
    seccompFilters: lines.has("Seccomp_filters") ? Number(value("Seccomp_filters")) : 1, // since Linux 5.9
    noNewPrivs: Number(value("NoNewPrivs")),
    capabilities: CAPABILITY_SETS.reduce((all, set) => all | BigInt(`0x${value(set)}`), 0n),
    uids: value("Uid").split(/\s+/).map(Number),
  };
}

/** The identity of each namespace; undefined: it may not be seen. `pid` may be "self". */
export function readNamespaces(pid: number | "self"): Readonly<Record<Namespace, string | undefined>> {
  const entries = NAMESPACES.map((name) => [name, readLinkIfAllowed(`/proc/${pid}/ns/${name}`)] as const);
  return Object.fromEntries(entries) as Record<Namespace, string | undefined>;
}

function readLinkIfAllowed(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (errnoOf(error) === "EACCES" || errnoOf(error) === "EPERM") return undefined;
    throw error;
  }
}

/** The processes that a process has started and that live; none of one that has gone. */
export function readChildren(pid: number): number[] {
  return existsSync("/proc/thread-self/children") ? childrenOfThreads(pid) : childrenAmongAll(pid);
}

/** From the children file of each thread, which not every kernel has (CONFIG_PROC_CHILDREN). */
function childrenOfThreads(pid: number): number[] {
  try {
    const tids = readdirSync(`/proc/${pid}/task`);
    const lists = tids.map((tid) => readFileSync(`/proc/${pid}/task/${tid}/children`, "utf8"));
    return lists.flatMap((list) => list.split(" ").filter(Boolean).map(Number));
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** By asking every process of the machine for its parent. */
export function childrenAmongAll(pid: number): number[] {
  const pids = readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name));
  return pids.map(Number).filter((one) => parentOf(one) === pid);
}

/** Undefined for a process that has ended. */
function parentOf(pid: number): number | undefined {
  try {
    return parseParent(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return errnoOf(error) === "ENOENT" || errnoOf(error) === "ESRCH";
}

/** The fourth field; the second is a name in parentheses, which may hold anything. */
export function parseParent(stat: string): number {
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}
