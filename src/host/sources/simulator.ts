/**
 * Simulated devices: a process of its own holds the model and its state, so that it outlives a driver's crash as real
 * hardware does, and serves it over USB/IP on a private socket.
 */
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import createDebug from "debug";
import * as v from "valibot";
import type { DriverToLoad } from "../../dev/usb/driver-modules.js";
import type { Clock } from "../../rumpuser/rumpuser.js";
import { HostError } from "../errors.js";
import type { SimSelector } from "../selector.js";
import { LogLines } from "../log-lines.js";
import { describeExit } from "../process-exit.js";
import { exitOf, started } from "../spawn.js";
import { printable } from "../text.js";
import { deferred, waitAtMost } from "../waits.js";
import { usbipSource } from "./usbip.js";
import type { DeviceSource } from "./source.js";

const COMMAND = fileURLToPath(new URL("../../../bin/rumpusb.js", import.meta.url));
/** A large image with a new file system in it takes its time. */
const START_MS = 20_000;
const END_MS = 5_000;

/** The bus id under which `rumpusb vdev` exports its device. */
export const SIMULATED_BUS_ID = "1-1";

/** The lines of `rumpusb vdev --json` that matter here; the first is "listening" or "error". */
const VdevEvent = v.variant("event", [
  v.object({ event: v.literal("listening") }),
  v.object({ event: v.literal("unplugged") }),
  v.object({ event: v.literal("error"), code: v.string(), message: v.string() }),
]);
type VdevEvent = v.InferOutput<typeof VdevEvent>;

export interface Simulator {
  readonly pid: number;
  readonly source: DeviceSource;
  /** Resolves with the reason when the device is not there any more; never rejects. */
  readonly gone: Promise<string>;
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
  /** Left out: those that come with the project. */
  readonly drivers?: readonly DriverToLoad[];
  /** Script to run in place of the command; for tests. */
  readonly script?: string;
}

/** @throws HostError SIMULATION, or USAGE when an option is not one of the model's. */
export async function startSimulator(options: SimulatorOptions): Promise<Simulator> {
  const { selector, key, clock, drivers, script = COMMAND } = options;
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
      "--keep-state",
      ...selector.options,
    ],
    { stdio: ["pipe", "pipe", "pipe"], detached: true },
  );
  child.stdin.on("error", () => {}); // it ended first: `exited` says so
  const debug = createDebug(`rumpusb:${key}`);
  const said = new LogLines(clock, (line) => debug(line));
  child.stderr.on("data", (chunk: Buffer) => said.push(chunk));
  const exited = exitOf(child);
  const greeting = deferred<VdevEvent | string>();
  const gone = deferred<string>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    const event = parseEvent(line);
    greeting.resolve(event ?? `answered "${printable(line)}"`);
    if (event?.event === "unplugged") gone.resolve("unplugged");
  });
  // One that is killed, or falls over, leaves it.
  const removeSocket = (): void => rmSync(socketPath, { force: true });
  void exited.then((exit) => {
    removeSocket();
    const how = `the simulation ended with ${describeExit(exit)}`;
    greeting.resolve([how, ...said.lastWords].join("\n  "));
    gone.resolve(how);
  });
  const end = async (): Promise<void> => {
    child.stdin.end();
    if ((await waitAtMost(clock, END_MS, exited)) !== undefined) return;
    child.kill("SIGKILL");
    await waitAtMost(clock, END_MS, exited);
  };
  const pid = await started(child, `the simulated device ${key}`);
  try {
    const answer = await waitAtMost(clock, START_MS, greeting.promise);
    checkGreeting(answer?.value ?? `no answer within ${START_MS / 1000} s`, key);
  } catch (error) {
    await end();
    throw error;
  }
  const source = usbipSource({
    key,
    address: { unix: socketPath },
    busId: SIMULATED_BUS_ID,
    clock,
    ...(drivers === undefined ? {} : { drivers }),
    unplugIsTold: true,
  });
  const kill = (): void => {
    child.kill("SIGKILL");
    removeSocket();
  };
  return { pid, source, gone: gone.promise, end, kill };
}

/** Undefined for a line that is none of those that matter. */
function parseEvent(line: string): VdevEvent | undefined {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), VdevEvent), line);
  return parsed.success ? parsed.output : undefined;
}

/** @param greeting  A text says what came instead of an event. */
function checkGreeting(greeting: VdevEvent | string, key: string): void {
  if (typeof greeting === "string") throw new HostError("SIMULATION", `${key}: ${greeting}`);
  if (greeting.event === "listening") return;
  if (greeting.event === "unplugged") throw new HostError("SIMULATION", `${key}: unplugged before it was plugged in`);
  throw new HostError(greeting.code === "USAGE" ? "USAGE" : "SIMULATION", `${key}: ${greeting.message}`);
}
