/** An act: one thing that code in a sandbox must not be able to do, and how it is tried. */
import { getSystemErrorName } from "node:util";
import type { Probe, SystemCall } from "../../../rumpuser/real/probe.js";

export type ActGroup = "files" | "sockets" | "processes" | "rights" | "memory" | "kernel" | "device";

export interface ActTools {
  readonly probe: Probe;
  /** The number under which a rump process has its device; here something else. */
  readonly deviceFd: number;
  /** Of a process that serves clients: a TCP socket that listens; -1 in others. */
  readonly listenerFd: number;
  /** … a terminal's master. */
  readonly masterFd: number;
  /** … memory that it shares with others. */
  readonly memoryFd: number;
}

export interface Act {
  readonly name: string;
  readonly group: ActGroup;
  /** Resolves when it worked, which is an escape; throws when it was refused. */
  attempt(tools: ActTools): unknown;
}

/** The number of a system call on each architecture; undefined: it has none of that name. */
export interface CallNumber {
  readonly x64: number;
  readonly arm64?: number;
}

/** Both numbers: x86_64's, and that of the generic table which aarch64 has. */
export const nr = (x64: number, arm64?: number): CallNumber => (arm64 === undefined ? { x64 } : { x64, arm64 });

type Arguments = SystemCall extends readonly [number, ...infer Rest] ? Rest : never;

/** An act that is one system call. */
export function rawAct(
  group: ActGroup,
  name: string,
  number: CallNumber,
  makeArguments: (tools: ActTools) => Arguments = () => [],
): Act {
  return {
    name,
    group,
    attempt: (tools) => {
      const own = process.arch === "arm64" ? number.arm64 : number.x64;
      if (own === undefined) throw new Error("no such call on this architecture");
      const [result = 0] = tools.probe.calls([[own, ...makeArguments(tools)]]);
      if (result < 0) throw new Error(getSystemErrorName(result));
    },
  };
}

/** An act of a few lines of JavaScript. */
export function act(group: ActGroup, name: string, attempt: () => unknown): Act {
  return { name, group, attempt };
}
