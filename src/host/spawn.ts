/**
 * Starts a rump process: one device, one channel, two log pipes, nothing else.
 *
 * | descriptor | what                                                                    |
 * | 0          | nothing                                                                 |
 * | 1, 2       | log pipes                                                               |
 * | 3          | the pud channel                                                         |
 * | 4          | the device: a usbfs descriptor, or the connection to a USB/IP server    |
 *
 * The environment is empty. The process has a session of its own, so that a Ctrl-C at the terminal reaches the host
 * alone, which then ends the others in the right order.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import net from "node:net";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { streamOfSocket } from "../rumpuser/real/byte-stream.js";
import type { ByteStream, Clock } from "../rumpuser/rumpuser.js";
import type { RumpProcessConfig } from "../rump-process.js";
import { HostError, messageOf } from "./errors.js";
import { LogLines } from "./log-lines.js";
import { waitAtMost } from "./waits.js";

const RUMP_PROCESS = fileURLToPath(new URL("../rump-process.js", import.meta.url));

/** A process that has ended may have left something in its pipes; whoever inherited them may keep them open. */
const LAST_WORDS_MS = 200;

export interface RumpSpawn {
  readonly config: RumpProcessConfig;
  /** Lent: the caller closes its copy when the process has started. A socket must be paused and never read from. */
  readonly device: number | net.Socket;
  readonly clock: Clock;
  /** A line that the process printed, made printable. */
  readonly onLine: (line: string) => void;
  /** Script to run in place of the rump process; for tests. */
  readonly script?: string;
}

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RumpProcess {
  readonly pid: number;
  readonly pud: ByteStream;
  /** Resolves when the process has ended and its last words are read; never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** The last lines it printed. */
  lastWords(): readonly string[];
  /** SIGKILL. Does nothing when it has ended. */
  kill(): void;
}

/** @throws HostError INSTALLATION: not built; FAILED: the process cannot be started. */
export async function spawnRump(options: RumpSpawn): Promise<RumpProcess> {
  const script = options.script ?? RUMP_PROCESS;
  if (!existsSync(script)) throw new HostError("INSTALLATION", `${script} is missing; run: npm run build`);
  const child = spawn(process.execPath, [script, JSON.stringify(options.config)], {
    stdio: ["ignore", "pipe", "pipe", "pipe", options.device],
    env: {},
    detached: true,
  });
  const exit = exitOf(child);
  const pid = await started(child, "the rump process");
  const lines = new LogLines(options.clock, options.onLine);
  const pipesEnded = Promise.all([child.stdout, child.stderr].map(async (pipe) => await readLines(pipe, lines)));
  const [, , , channel] = child.stdio;
  if (!(channel instanceof net.Socket)) throw new Error("spawn made no socket for the pud channel");
  return {
    pid,
    pud: streamOfSocket(channel),
    exited: exit.then(async (how) => {
      await waitAtMost(options.clock, LAST_WORDS_MS, pipesEnded);
      return how;
    }),
    lastWords: () => lines.lastWords,
    kill: () => {
      child.kill("SIGKILL");
    },
  };
}

/** Resolves at the end of the pipe. */
async function readLines(pipe: Readable | null, lines: LogLines): Promise<void> {
  if (pipe === null) return;
  await new Promise<void>((resolve) => {
    pipe.on("data", (chunk: Buffer) => lines.push(chunk));
    pipe.on("close", () => {
      lines.end();
      resolve();
    });
  });
}

/** The process id, when the process runs. @throws HostError FAILED */
export async function started(child: ChildProcess, what: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (error) => reject(new HostError("FAILED", `cannot start ${what}: ${messageOf(error)}`)));
  });
  if (child.pid === undefined) throw new Error("a process without an id has started");
  return child.pid;
}

/** Resolves when the process has ended; also for one that could not be started. Never rejects. */
export function exitOf(child: ChildProcess): Promise<ProcessExit> {
  return new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
    child.once("error", () => resolve({ code: null, signal: null }));
  });
}

/** `signal SIGKILL`, `status 1`. */
export function describeExit({ code, signal }: ProcessExit): string {
  return signal !== null ? `signal ${signal}` : `status ${code ?? "unknown"}`;
}
