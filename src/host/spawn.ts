/**
 * Starts a rump process in its sandbox: one device, one channel, two log pipes, nothing else. A pud process is started in the same way
 * (apart.ts); what it has on 3 and 4 is said in pud-process.ts.
 *
 * | descriptor | what                                                                    |
 * | 0          | nothing                                                                 |
 * | 1, 2       | log pipes                                                               |
 * | 3          | the pud channel, whose other end goes to the pud process                |
 * | 4          | the way by which memory comes that is shared with the pud process; and, |
 * |            | once the process has locked itself, the device                          |
 *
 * The device is a usbfs descriptor or the connection to a USB/IP server. The process asks for it with one byte; it gets it
 * when the kernel says that the process is kept as it must be (sandbox/verify.ts).
 *
 * The environment is empty. The process has a session of its own, so that a Ctrl-C at the terminal reaches the host
 * alone, which then ends the others in the right order.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import net from "node:net";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { sendFd } from "../rumpuser/real/addon.js";
import { fdOfSocket } from "../rumpuser/real/byte-stream.js";
import type { Clock } from "../rumpuser/rumpuser.js";
import type { PudProcessConfig } from "../pud-process/protocol.js";
import type { RumpProcessConfig, SharedProcessConfig } from "../rump-process/config.js";
import { failureCode, HostError, isOutOfResources, messageOf } from "./errors.js";
import { LogLines } from "./log-lines.js";
import { describeExit, type ProcessExit } from "./process-exit.js";
import { ProcessorWait, readThreadTimes } from "./processor-wait.js";
import type { ProcessLimits, Sandbox } from "./sandbox/sandbox.js";
import { innerPid, type SandboxReport, verifySandbox } from "./sandbox/verify.js";
import { waitAtMost } from "./waits.js";

/** As tools/bundle.mjs makes it. */
const RUMP_PROCESS = fileURLToPath(new URL("../bundle/rump-process.cjs", import.meta.url));

/** A process that has ended may have left something in its pipes; whoever inherited them may keep them open. */
const LAST_WORDS_MS = 200;

export interface RumpStart {
  readonly sandbox: Sandbox;
  readonly clock: Clock;
  /** A line that the process printed, made printable. */
  readonly onLine: (line: string) => void;
  /** It will wait before it is needed: what can be done at its start is. */
  readonly ahead?: boolean;
  /** What errors call it. Default "rump process". */
  readonly what?: string;
  /** What it may have; left out: what its devices need. */
  readonly limits?: ProcessLimits;
  /** False: it loads no driver of the user's. */
  readonly extras?: boolean;
  /** Script to run in place of the rump process; for tests. */
  readonly script?: string;
}

export interface RumpSpawn extends RumpStart {
  /** How it locks itself is the sandbox's to say. */
  readonly config: Omit<RumpProcessConfig, "lock" | "memoryBytes">;
  /** To be shared with whoever asks it. */
  readonly memory?: LentMemory | undefined;
}

/** Stays its owner's. */
export interface LentMemory {
  readonly fd: number;
  readonly bytes: number;
}

/** A process that serves a device, or the part of one that several devices share (spawn-shared.ts). */
export interface RumpPlace {
  /** The launcher's at first; from `locked` on that of the process itself. */
  readonly pid: number;
  /** The pud channel. Nobody has read from it. */
  readonly channel: net.Socket;
  /** It got the memory that was lent. */
  readonly hasMemory: boolean;
  /**
   * Resolves when the process has locked itself and that was read back: it waits for its device now.
   * Rejects with HostError SANDBOX_UNAVAILABLE: it is not as it must be; NO_RESOURCES: nobody could look; RUMP_LOST: it ended first.
   */
  readonly locked: Promise<SandboxReport>;
  /**
   * Gives it the device. Lent: the process gets a copy. A socket must be paused and never read from.
   * @throws SystemCallError
   */
  sendDevice(device: number | net.Socket): void;
  /** Resolves when the process has ended and its last words are read; never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** The last lines it printed. */
  lastWords(): readonly string[];
  /** How long it has waited for a processor since the last call, and 0 at the first. */
  processorWaitMs(): number;
  /** SIGKILL. Does nothing when it has ended. */
  kill(): void;
  /** It is not needed any more: `kill`, where no other device is served by it. */
  discard(): void;
}

/** A rump process as it is started, with one device or with several. */
export interface StartedProcess
  extends Pick<RumpPlace, "pid" | "locked" | "sendDevice" | "exited" | "lastWords" | "processorWaitMs" | "kill"> {
  /** Descriptor 3, and those behind the devices' where several have room. */
  readonly channels: readonly net.Socket[];
  /** Nothing is sent any more. */
  closeWay(): void;
}

/** @throws HostError INSTALLATION: not built; SANDBOX_UNAVAILABLE; NO_RESOURCES, FAILED: the process cannot be started. */
export async function spawnRump(options: RumpSpawn): Promise<RumpPlace> {
  const { memory } = options;
  const config = memory === undefined ? options.config : { ...options.config, memoryBytes: memory.bytes };
  const process = await startProcess(options, config, memory);
  const [channel] = process.channels;
  if (channel === undefined) throw new Error("spawn made no channel");
  return {
    get pid() {
      return process.pid;
    },
    channel,
    hasMemory: memory !== undefined,
    locked: process.locked,
    sendDevice: (device) => {
      process.sendDevice(device);
      process.closeWay();
    },
    exited: process.exited,
    lastWords: process.lastWords,
    processorWaitMs: process.processorWaitMs,
    kill: process.kill,
    discard: process.kill,
  };
}

/** @throws HostError as `spawnRump`. */
export async function startProcess(
  options: RumpStart,
  config: Omit<RumpProcessConfig | PudProcessConfig, "lock"> | Omit<SharedProcessConfig, "lock">,
  memory?: LentMemory,
): Promise<StartedProcess> {
  const script = options.script ?? RUMP_PROCESS;
  if (!existsSync(script)) throw new HostError("INSTALLATION", `${script} is missing; run: npm run build`);
  const plan = await options.sandbox.plan();
  const argument = JSON.stringify({ ...config, ...(plan.lock === undefined ? {} : { lock: plan.lock }) });
  const slots = "slots" in config ? config.slots : undefined;
  const { ahead: eager, limits, extras } = options;
  const { file, args } = plan.command(script, [argument], { eager, slots, limits, extras });
  const child = spawn(file, args, {
    stdio: ["ignore", "pipe", "pipe", "pipe", "pipe", ...devicesAndChannels(slots ?? 0)],
    env: {},
    detached: true,
  });
  const exit = exitOf(child);
  const { what = "rump process" } = options;
  let pid = await started(child, `the ${what}`);
  const lines = new LogLines(options.clock, options.onLine);
  const pipesEnded = Promise.all([child.stdout, child.stderr].map(async (pipe) => await readLines(pipe, lines)));
  const [, , , first, way, ...more] = child.stdio;
  const channels = [first, ...more].filter((one) => one instanceof net.Socket);
  if (!(way instanceof net.Socket) || channels.length !== 1 + (slots ?? 0)) throw new Error("spawn made no sockets");
  const locked = asked(way, exit, what, memory).then(async () => {
    try {
      pid = innerPid(plan, pid);
      return verifySandbox(plan, pid);
    } catch (error) {
      const ended = await waitAtMost(options.clock, LAST_WORDS_MS, exit); // then there was nothing to read
      if (ended !== undefined) throw lostUnlocked(what, describeExit(ended.value));
      if (!isOutOfResources(error)) throw error;
      throw new HostError("NO_RESOURCES", `process ${pid} cannot be looked at: ${messageOf(error)}`, { cause: error });
    }
  });
  const wait = new ProcessorWait(
    () => readThreadTimes(pid),
    () => options.clock.nowMs(),
  );
  locked.catch(() => {}); // whoever waits for it is told; a session that ends first does not
  return {
    get pid() {
      return pid;
    },
    channels,
    locked,
    sendDevice: (device) => sendFd(fdOfSocket(way), typeof device === "number" ? device : fdOfSocket(device)),
    closeWay: () => way.destroy(),
    exited: exit.then(async (how) => {
      await waitAtMost(options.clock, LAST_WORDS_MS, pipesEnded);
      return how;
    }),
    lastWords: () => lines.lastWords,
    processorWaitMs: () => wait.sinceLastMs(),
    kill: () => endProcess(child, pid),
  };
}

/**
 * SIGKILL for the process itself, where its launcher waits for it: the launcher then ends after it, so whoever sees that knows
 * that the device was let go. A launcher that is killed first ends at once, and a process without a processor later.
 *
 * @param pid  The process's own, once it is known; its launcher's before.
 */
function endProcess(child: ChildProcess, pid: number): void {
  if (child.exitCode !== null || child.signalCode !== null) return; // the number may be another process's by now
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    child.kill("SIGKILL"); // it has gone, or may not be signalled: then it dies with its launcher
  }
}

/** What follows the first five descriptors: numbers that the launcher keeps free, and a channel for each of them. */
function devicesAndChannels(slots: number): ("ignore" | "pipe")[] {
  return [...Array<"ignore">(slots).fill("ignore"), ...Array<"pipe">(slots).fill("pipe")];
}

/** Gives the process its memory. Resolves when it asks for its device. @throws HostError RUMP_LOST; SystemCallError */
async function asked(
  way: net.Socket,
  exit: Promise<ProcessExit>,
  what: string,
  memory: LentMemory | undefined,
): Promise<void> {
  if (memory !== undefined) sendFd(fdOfSocket(way), memory.fd);
  await new Promise<void>((resolve, reject) => {
    way.once("data", () => resolve());
    way.once("error", (error) => reject(lostUnlocked(what, error.message)));
    way.once("close", () => void exit.then((how) => reject(lostUnlocked(what, describeExit(how)))));
  });
  way.pause();
  way.on("error", () => {}); // it ended meanwhile: its exit says so
}

function lostUnlocked(what: string, how: string): HostError {
  return new HostError("RUMP_LOST", `the ${what} ended before it was locked: ${how}`);
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

/** The process id, when the process runs. @throws HostError NO_RESOURCES, FAILED */
export async function started(child: ChildProcess, what: string): Promise<number> {
  await once(child, "spawn").catch((error: unknown) => {
    throw new HostError(failureCode(error), `cannot start ${what}: ${messageOf(error)}`, { cause: error });
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
