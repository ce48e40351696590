/** `rumpusb run`: drives devices until it is told to stop. */
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { DRIVER_ID_HELP, parseDriverId } from "../host/driver-ids.js";
import { HostError, messageOf } from "../host/errors.js";
import type { EmitEvent } from "../host/events.js";
import { RumpHost } from "../host/host.js";
import { runtimeDirOfUser } from "../host/runtime-dir.js";
import { createSandbox, noSandbox, type Sandbox } from "../host/sandbox/sandbox.js";
import { type Mode, MODE_NAMES } from "../host/modes.js";
import { parseSelector, SELECTOR_HELP } from "../host/selector.js";
import { forgoIdleTime } from "../rumpuser/real/event-loop.js";
import { dropCode } from "../rumpuser/real/locked-calls.js";
import { defaultLinks, linkForms, type LinkSpec, parseLink } from "../pud/links/links.js";
import type { CommandContext } from "./context.js";
import { humanPrinter, jsonPrinter } from "./event-printer.js";
import { onStopSignal } from "./signals.js";

/** As RumpHost has it. */
const DEFAULT_GRACE_S = 5;
const MAX_GRACE_S = 3600;
/** As the latency timer of a chip has it. */
const MAX_LATENCY_MS = 255;

interface RunOptions {
  readonly link: readonly string[];
  readonly readOnly?: boolean;
  /** Milliseconds. */
  readonly latency?: number;
  readonly take?: boolean;
  readonly split?: boolean;
  readonly group?: boolean;
  /** False with --no-sandbox. */
  readonly sandbox?: boolean;
  readonly strict?: boolean;
  /** Files of the user's own drivers. */
  readonly driver?: readonly string[];
  readonly driverId?: readonly string[];
  /** Seconds. */
  readonly grace?: number;
  readonly mode?: Mode;
  /** False with --no-shared-memory. */
  readonly sharedMemory?: boolean;
  readonly json?: boolean;
  readonly runtimeDir?: string;
}

export function runCommand(program: Command, context: CommandContext): void {
  program
    .command("run")
    .summary("drive devices and link them to this machine, until Ctrl-C")
    .argument("[device...]", `devices: ${SELECTOR_HELP}; none: every USB device that a driver matches`)
    .addOption(
      repeatable("--link <kind=where>", `how nodes are reached: ${linkForms().join("; ")}`, defaultLinks().join(", ")),
    )
    .option("--read-only", "let nothing be written; serial lines are not served then")
    .option("--take", "take devices from their kernel drivers, and give them back at the end")
    .option("--split", "a process for each function of a USB device, each confined to its own interfaces")
    .option("--group", "several devices in one process: less memory, less isolation")
    .addOption(repeatable("--driver <file>", "a driver of your own (.mjs, .cjs), before those that come with rumpusb"))
    .addOption(repeatable("--driver-id <id>", `drive a device that no driver lists: ${DRIVER_ID_HELP}`))
    .addOption(
      new Option("--mode <mode>", "how mass storage is driven, where the driver should not choose")
        .choices(MODE_NAMES)
        .default("auto" satisfies Mode),
    )
    .option("--strict", "no executable memory in the driver's process: slower, safer")
    .option("--no-sandbox", "run drivers with your own rights (not recommended)")
    .option("--no-shared-memory", "no memory in common with the driver's process: large reads and writes are slower")
    .addOption(
      new Option("--grace <seconds>", "how long an unplugged device is waited for; 0 = its nodes go at once")
        .argParser(parseGrace)
        .default(DEFAULT_GRACE_S),
    )
    .addOption(
      new Option(
        "--latency <ms>",
        "serial lines: received bytes are late by no more than that, 1 to 255 (default: 16, and up to 125 on a line that is never silent)",
      ).argParser(parseLatency),
    )
    .option("--json", "events as one JSON object per line")
    .option("--runtime-dir <dir>", "where sockets go (default: $XDG_RUNTIME_DIR/rumpusb)", (dir) => resolve(dir))
    .action(async (devices: string[], options: RunOptions) => {
      context.exitStatus = await run(
        devices,
        options,
        options.json === true ? jsonPrinter(context.output) : humanPrinter(context.output),
      );
    });
}

/**
 * @returns the exit status; failures of single devices have been told as events.
 * @throws HostError USAGE, RUNTIME_DIR, LINK, DRIVER (a file of --driver), SANDBOX_UNAVAILABLE, INSTALLATION
 */
export async function run(devices: readonly string[], options: RunOptions, emit: EmitEvent): Promise<number> {
  forgoIdleTime();
  const files = options.driver ?? [];
  const own = files.length === 0 ? undefined : await import("../host/driver-file.js");
  const paths = own === undefined ? [] : files.map(own.driverPath);
  const sandbox = sandboxOf(options, paths);
  const drivers = await Promise.all(paths.map(async (path) => (await own?.readDriverFile(path, sandbox)) ?? []));
  const host = await RumpHost.open({
    selectors: devices.map(parseSelector),
    links: options.link.length === 0 ? undefined : parseLinks(options.link),
    take: options.take === true,
    split: options.split === true,
    group: options.group === true,
    readOnly: options.readOnly === true,
    ...(options.latency === undefined ? {} : { latencyMs: options.latency }),
    mode: options.mode ?? "auto",
    sharesMemory: options.sharedMemory !== false,
    graceMs: (options.grace ?? DEFAULT_GRACE_S) * 1000,
    runtimeDir: options.runtimeDir ?? runtimeDirOfUser(),
    emit,
    sandbox,
    apart: true,
    drivers: [...(options.driverId ?? []).map(parseDriverId), ...drivers.flat()],
  });
  const signal = onStopSignal(() => host.kill());
  const resume = (): void => host.resume();
  process.on("SIGUSR2", resume);
  let status: number | undefined;
  try {
    status = await untilEnd(host, signal.stopped, emit);
  } finally {
    const failure = await host.shutdown("shut down");
    status ||= failure?.exitStatus ?? 0;
    process.off("SIGUSR2", resume);
    signal.dispose();
  }
  return status;
}

/** @returns the exit status, as far as it can be known before the end. */
async function untilEnd(host: RumpHost, stopped: Promise<string>, emit: EmitEvent): Promise<number> {
  const first = await Promise.race([host.start(), stopped]);
  if (first instanceof HostError) return first.exitStatus;
  if (first !== undefined) return 0;
  dropCode(); // what starts does so once
  const last = await Promise.race([host.finished, stopped]);
  if (typeof last === "string") return 0;
  const end = last ?? new HostError("DEVICE_GONE", "every device has gone, and none of them can come back");
  if (last === undefined) emit({ event: "error", code: end.code, message: end.message });
  return end.exitStatus;
}

/** @throws HostError USAGE */
function sandboxOf({ sandbox, strict }: RunOptions, extraPaths: readonly string[]): Sandbox {
  if (sandbox !== false) return createSandbox({ profile: strict === true ? "strict" : "standard", extraPaths });
  if (strict === true) throw new HostError("USAGE", "--strict needs the sandbox that --no-sandbox leaves out");
  return noSandbox;
}

/** @throws HostError USAGE */
function parseLinks(texts: readonly string[]): LinkSpec[] {
  try {
    return texts.map(parseLink); // the first that is wrong is told
  } catch (error) {
    throw new HostError("USAGE", messageOf(error), { cause: error });
  }
}

/** `30`, `30s`, `0.5`. @throws HostError USAGE */
export function parseGrace(text: string): number {
  const seconds = /^[0-9]{1,4}(\.[0-9]{1,3})?s?$/.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (!(seconds <= MAX_GRACE_S))
    throw new HostError("USAGE", `--grace "${text}": seconds from 0 to ${MAX_GRACE_S}, such as 30 or 30s`);
  return seconds;
}

/** `5`, `5ms`. @throws HostError USAGE */
export function parseLatency(text: string): number {
  const ms = /^[0-9]{1,3}(ms)?$/.test(text) ? Number.parseInt(text, 10) : Number.NaN;
  if (!(ms >= 1 && ms <= MAX_LATENCY_MS))
    throw new HostError("USAGE", `--latency "${text}": milliseconds from 1 to ${MAX_LATENCY_MS}, such as 5 or 5ms`);
  return ms;
}

function repeatable(flags: string, what: string, byDefault = "none"): Option {
  const collect = (value: string, earlier: readonly string[]): readonly string[] => [...earlier, value];
  return new Option(flags, `${what}; repeatable`).argParser(collect).default([], byDefault);
}
