/**
 * The sandbox that the rump processes and the pud process of this host get: tried once, as much of it as this machine allows, and remembered.
 *
 * ```ts
 * const sandbox = createSandbox({ profile: "standard" });
 * const plan = await sandbox.plan();                       // level, layers, what is missing and why
 * const { file, args } = plan.command(script, [config]);   // how the process is started
 * ```
 */
import { execFile } from "node:child_process";
import { AddonError, launcherPath } from "../../rumpuser/real/addon.js";
import type { LockProfile } from "../../rumpuser/real/lock.js";
import { HostError, messageOf } from "../errors.js";
import { printable } from "../text.js";
import { boundPaths } from "./binds.js";
import { type Layer, type Layers, levelOf, type MissingLayer, NO_LAYERS, type SandboxLevel } from "./levels.js";

export interface SandboxOptions {
  readonly profile: LockProfile;
  /** Further files that the process loads: the user's driver. */
  readonly extraPaths?: readonly string[];
  /** Layers to leave out although this machine has them; for tests that must see an escape. */
  readonly without?: readonly Layer[];
}

export interface CommandLine {
  readonly file: string;
  readonly args: readonly string[];
}

export interface CommandOptions {
  /** It compiles everything as it starts, and less when it is needed. */
  readonly eager?: boolean | undefined;
  /** Room for so many devices, whose channels come behind their descriptors (rump-process.ts); left out: for one. */
  readonly slots?: number | undefined;
  /** What the process may have; left out: what its devices need. Without a sandbox there are no such limits. */
  readonly limits?: ProcessLimits | undefined;
  /** Whether it may read the files of `extraPaths`. Default true. */
  readonly extras?: boolean | undefined;
}

export interface ProcessLimits {
  /** Descriptors, never more than the hard limit of this process. */
  readonly openFiles: number;
  /** Memory that is its own and may be written (RLIMIT_DATA). */
  readonly dataBytes: number;
}

/** For a process that serves clients: as many as may be, and their buffers, journals, and what a line holds. */
export const SERVING_LIMITS: ProcessLimits = { openFiles: 65_536, dataBytes: 4 * 1024 ** 3 };

/** For a process with so many devices. */
function limitsForDevices(count: number): ProcessLimits {
  const more = count - 1;
  return { openFiles: 64 + 16 * more, dataBytes: 512 * 1024 ** 2 + more * 128 * 1024 ** 2 };
}

export interface SandboxPlan {
  readonly level: SandboxLevel;
  readonly layers: Layers;
  readonly missing: readonly MissingLayer[];
  /** How the process locks itself; undefined: it does not. */
  readonly lock: LockProfile | undefined;
  /** Node's command line for `script`. */
  command(script: string, args: readonly string[], options?: CommandOptions): CommandLine;
}

export interface Sandbox {
  /**
   * The same answer every time.
   * @throws HostError SANDBOX_UNAVAILABLE: not even system calls can be filtered; INSTALLATION: the launcher is not built.
   */
  plan(): Promise<SandboxPlan>;
}

/** The launcher's exit status when a layer cannot be had. */
const EXIT_NO_BOX = 101;
const PROBE_MS = 10_000;

/**
 * Node's own switches; V8's are set in the process (rumpuser/real/v8.ts), because one of them on the command line makes Node
 * compile its own modules anew. Not a boundary, a tool less for an attacker. Memory is bounded by RLIMIT_DATA.
 */
const NODE_FLAGS = ["--disable-proto=delete", "--no-deprecation"];
/** The interpreter only: no memory that is executable. */
const STRICT_FLAGS = ["--jitless"];

/**
 * A process that starts long before it is needed: V8 compiles every function as it loads. Attaching a stick then takes 17 ms of
 * processor time in place of 28, the start 20 ms more.
 */
const EAGER_FLAGS = ["--no-lazy"];

/** What the launcher can go without, best kept first. Its other layers are there wherever Linux is. */
const OPTIONAL: Partial<Readonly<Record<string, Layer>>> = { namespaces: "namespaces", landlock: "landlock" };

export function createSandbox(options: SandboxOptions): Sandbox {
  let planned: Promise<SandboxPlan> | undefined;
  return { plan: () => (planned ??= makePlan(options)) };
}

/** What `--no-sandbox` asks for: a process of its own, and nothing that keeps it. */
export const noSandbox: Sandbox = {
  plan: async () => ({
    level: "none",
    layers: NO_LAYERS,
    missing: [],
    lock: undefined,
    command: (script, args, { eager = false } = {}) => ({
      file: process.execPath,
      args: [...(eager ? EAGER_FLAGS : []), script, ...args],
    }),
  }),
};

async function makePlan({ profile, extraPaths = [], without = [] }: SandboxOptions): Promise<SandboxPlan> {
  const { launcher, binds, allBinds } = parts(extraPaths);
  const layers: Record<Layer, boolean> = {
    namespaces: !without.includes("namespaces"),
    landlock: !without.includes("landlock"),
    seccomp: !without.includes("seccomp"),
    capabilities: true,
    limits: true,
  };
  const missing: MissingLayer[] = without.map((layer) => ({ layer, reason: "left out on request" }));
  const flags = (paths = allBinds): string[] => [
    ...(layers.namespaces ? ["--namespaces"] : []),
    ...(layers.landlock ? ["--landlock"] : []),
    ...(profile === "strict" ? ["--strict"] : []),
    ...paths.flatMap((path) => ["--bind", path]),
  ];
  for (;;) {
    const failure = await probe(launcher, flags());
    if (failure === undefined) break;
    const layer = OPTIONAL[failure.layer];
    if (layer === undefined || !layers[layer]) throw new HostError("SANDBOX_UNAVAILABLE", cannot(failure));
    layers[layer] = false;
    const help = layer === "namespaces" ? (await import("./help.js")).namespaceHelp(launcher) : undefined;
    missing.push({ layer, reason: failure.reason, ...(help === undefined ? {} : { help }) });
  }
  const node = [process.execPath, ...NODE_FLAGS, ...(profile === "strict" ? STRICT_FLAGS : [])];
  return {
    level: levelOf(layers),
    layers,
    missing,
    lock: layers.seccomp ? profile : undefined,
    command: (script, args, { eager = false, slots, limits = limitsForDevices(slots ?? 1), extras = true } = {}) => ({
      file: launcher,
      args: [
        ...flags(extras ? allBinds : binds),
        ...(slots === undefined ? [] : ["--devices", String(slots)]),
        "--open-files",
        String(limits.openFiles),
        "--data-bytes",
        String(limits.dataBytes),
        "--",
        ...node,
        ...(eager ? EAGER_FLAGS : []),
        script,
        ...args,
      ],
    }),
  };
}

interface Parts {
  readonly launcher: string;
  readonly binds: readonly string[];
  /** With the extra ones. */
  readonly allBinds: readonly string[];
}

function parts(extraPaths: readonly string[]): Parts {
  try {
    const binds = boundPaths();
    return { launcher: launcherPath(), binds, allBinds: extraPaths.length === 0 ? binds : boundPaths(extraPaths) };
  } catch (error) {
    if (!(error instanceof AddonError)) throw error;
    const message = `the sandbox is not built: ${error.message}; without a sandbox: --no-sandbox`;
    throw new HostError("INSTALLATION", message, { cause: error });
  }
}

interface Failure {
  /** The launcher's word: "namespaces", "landlock", "seccomp" … */
  readonly layer: string;
  readonly reason: string;
}

function cannot({ layer, reason }: Failure): string {
  return `no sandbox on this machine: ${layer}: ${reason}; to go without one: --no-sandbox`;
}

/** Builds the box without a program in it. @returns undefined: this machine can. */
async function probe(launcher: string, flags: readonly string[]): Promise<Failure | undefined> {
  return await new Promise((resolve, reject) => {
    execFile(launcher, [...flags, "--probe"], { env: {}, timeout: PROBE_MS }, (error, _stdout, stderr) => {
      if (error === null) return resolve(undefined);
      if (error.code === EXIT_NO_BOX) return resolve(parseFailure(stderr));
      reject(new HostError("SANDBOX_UNAVAILABLE", `${launcher}: ${messageOf(error)}`, { cause: error }));
    });
  });
}

/** Reads `rumpusb-launcher: LAYER: WHAT: WHY`. */
export function parseFailure(stderr: string): Failure {
  const [, layer, reason] = /^rumpusb-launcher: ([a-z]+): (.+)$/m.exec(stderr) ?? [];
  if (layer === undefined || reason === undefined) return { layer: "unknown", reason: printable(stderr.trim()) };
  return { layer, reason: printable(reason) };
}
