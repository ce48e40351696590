/** What the kernel says of a process, from outside: /proc/PID, which the process itself cannot change (proc(5)). */
import { readdir, readFile, readlink } from "node:fs/promises";
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
export async function readThreads(pid: number): Promise<ThreadState[]> {
  const tids = await readdir(`/proc/${pid}/task`);
  return await Promise.all(
    tids.map(async (tid) => parseStatus(Number(tid), await readFile(`/proc/${pid}/task/${tid}/status`, "utf8"))),
  );
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
export async function readNamespaces(pid: number | "self"): Promise<Readonly<Record<Namespace, string | undefined>>> {
  const entries = await Promise.all(
    NAMESPACES.map(async (name) => [name, await readLinkIfAllowed(`/proc/${pid}/ns/${name}`)] as const),
  );
  return Object.fromEntries(entries) as Record<Namespace, string | undefined>;
}

async function readLinkIfAllowed(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    if (errnoOf(error) === "EACCES" || errnoOf(error) === "EPERM") return undefined;
    throw error;
  }
}

/** The processes that a process has started and that live. */
export async function readChildren(pid: number): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^[0-9]+$/.test(name)).map(Number);
  const parents = await Promise.all(pids.map(async (one) => await parentOf(one)));
  return pids.filter((_, index) => parents[index] === pid);
}

/** Undefined for a process that has ended. The children file would be shorter, but not every kernel has it. */
async function parentOf(pid: number): Promise<number | undefined> {
  try {
    return parseParent(await readFile(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ESRCH") return undefined;
    throw error;
  }
}

/** The fourth field; the second is a name in parentheses, which may hold anything. */
export function parseParent(stat: string): number {
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}
