/**
 * Simulated devices: a process of its own holds the model and its state, so that it outlives a driver's crash as real
 * hardware does, and serves it over USB/IP on a private socket.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import * as v from "valibot";
import type { Clock } from "../../rumpuser/rumpuser.js";
import { HostError } from "../errors.js";
import type { SimSelector } from "../selector.js";
import { describeExit, exitOf, type ProcessExit, started } from "../spawn.js";
import { printable } from "../text.js";
import { waitAtMost } from "../waits.js";
import { usbipSource } from "./usbip.js";
import type { DeviceSource } from "./source.js";

const COMMAND = fileURLToPath(new URL("../../../bin/rumpusb.js", import.meta.url));
/** A large image with a new file system in it takes its time. */
const START_MS = 20_000;
const END_MS = 5_000;

/** The bus id under which `rumpusb vdev` exports its device. */
export const SIMULATED_BUS_ID = "1-1";

/** The first line that `rumpusb vdev --json` prints. */
const Greeting = v.variant("event", [
  v.object({ event: v.literal("listening") }),
  v.object({ event: v.literal("error"), code: v.string(), message: v.string() }),
]);

export interface Simulator {
  readonly pid: number;
  readonly source: DeviceSource;
  /** Resolves when its process has ended; never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** Ends the process, which writes back what it holds. Bounded in time. */
  end(): Promise<void>;
  /** SIGKILL. */
  kill(): void;
}

export interface SimulatorOptions {
  readonly selector: SimSelector;
  /** `sim:flash-drive`, `sim:flash-drive#2`. */
  readonly key: string;
  /** Distinguishes the sockets of this host process. */
  readonly index: number;
  readonly runtimeDir: string;
  readonly clock: Clock;
  /** Script to run in place of the command; for tests. */
  readonly script?: string;
}

/** @throws HostError SIMULATION, or USAGE when an option is not one of the model's. */
export async function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  const { selector, key, clock, script = COMMAND } = options;
  const socketPath = join(options.runtimeDir, `vdev-${process.pid}-${options.index}.sock`);
  const child = spawn(
    process.execPath,
    [
      script,
      "vdev",
      selector.model,
      "--listen",
      `unix:${socketPath}`,
      "--json",
      "--end-with-stdin",
      ...selector.options,
    ],
    { stdio: ["pipe", "pipe", "inherit"], detached: true },
  );
  child.stdin?.on("error", () => {}); // it ended first: `exited` says so
  const exited = exitOf(child);
  const pid = await started(child, `the simulated device ${key}`);
  const end = async (): Promise<void> => {
    child.stdin?.end();
    if ((await waitAtMost(clock, END_MS, exited)) !== undefined) return;
    child.kill("SIGKILL");
    await waitAtMost(clock, END_MS, exited);
  };
  try {
    const greeting = await waitAtMost(clock, START_MS, firstLine(child, exited));
    if (greeting === undefined) throw new HostError("SIMULATION", `${key} did not start within ${START_MS / 1000} s`);
    checkGreeting(greeting.value, key);
  } catch (error) {
    await end();
    throw error;
  }
  const source = usbipSource({ key, address: { unix: socketPath }, busId: SIMULATED_BUS_ID, clock });
  return { pid, source, exited, end, kill: () => child.kill("SIGKILL") };
}

/** The line, or how the process ended without one. */
async function firstLine(child: ChildProcess, exited: Promise<ProcessExit>): Promise<string | ProcessExit> {
  const { stdout } = child;
  if (stdout === null) return await exited;
  const lines = createInterface({ input: stdout });
  const line = new Promise<string>((resolve) => lines.once("line", resolve));
  const closed = new Promise<ProcessExit>((resolve) => lines.once("close", () => resolve(exited)));
  return await Promise.race([line, closed]);
}

function checkGreeting(greeting: string | ProcessExit, key: string): void {
  if (typeof greeting !== "string")
    throw new HostError("SIMULATION", `${key} ended at once, ${describeExit(greeting)}`);
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), Greeting), greeting);
  if (!parsed.success) throw new HostError("SIMULATION", `${key} answered "${printable(greeting)}"`);
  if (parsed.output.event === "listening") return;
  const code = parsed.output.code === "USAGE" ? "USAGE" : "SIMULATION";
  throw new HostError(code, `${key}: ${parsed.output.message}`);
}
