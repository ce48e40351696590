/** `rumpusb sandbox`: what keeps a driver on this machine, and whether it does. */
import { type Command, Option } from "commander";
import type { Layer, Layers, MissingLayer, SandboxLevel } from "../host/sandbox/levels.js";
import { LAYERS } from "../host/sandbox/levels.js";
import { createSandbox } from "../host/sandbox/sandbox.js";
import { type ActResult, tryActs } from "../host/sandbox/trial.js";
import type { LockPurpose } from "../rumpuser/real/lock.js";
import { realClock } from "../rumpuser/real/clock.js";
import type { CommandContext } from "./context.js";
import type { Output } from "./output.js";
import { table } from "./table.js";

interface SandboxCommandOptions {
  readonly strict?: boolean;
  readonly json?: boolean;
  /** Layers to leave out: shows that the acts would tell. */
  readonly without?: readonly Layer[];
}

/** What processes are locked for, and what they are called. */
const WHO: Readonly<Record<LockPurpose, string>> = { device: "driver", serve: "server" };
const PURPOSES = ["device", "serve"] as const;

/** The one object of `--json`. Keys are stable. */
export interface SandboxSummary {
  readonly event: "sandbox";
  readonly profile: "standard" | "strict";
  readonly level: SandboxLevel;
  readonly layers: Layers;
  readonly missing: readonly MissingLayer[];
  readonly acts: readonly ActResult[];
  readonly escapes: number;
}

export function sandboxCommand(program: Command, context: CommandContext): void {
  program
    .command("sandbox")
    .summary("show what keeps a driver on this machine, and try to break out of it")
    .option("--strict", "with the profile of run --strict")
    .option("--json", "one JSON object")
    .addOption(
      new Option("--without <layer...>", "leave layers out, to see that it shows").choices([...LAYERS]).hideHelp(),
    )
    .action(async (options: SandboxCommandOptions) => {
      const summary = await trySandbox(options);
      if (options.json === true) context.output.data(JSON.stringify(summary));
      else printSummary(summary, context.output);
      context.exitStatus = summary.escapes === 0 ? 0 : 1;
    });
}

/** @throws HostError SANDBOX_UNAVAILABLE, INSTALLATION */
export async function trySandbox(options: SandboxCommandOptions): Promise<SandboxSummary> {
  const profile = options.strict === true ? "strict" : "standard";
  const plan = await createSandbox({ profile, without: options.without ?? [] }).plan();
  const acts: ActResult[] = [];
  for (const purpose of PURPOSES) acts.push(...(await tryActs(plan, { purpose, profile }, realClock)));
  const escapes = countEscapes(acts);
  const { level, layers, missing } = plan;
  return { event: "sandbox", profile, level, layers, missing, acts, escapes };
}

function printSummary({ profile, level, layers, missing, acts }: SandboxSummary, output: Output): void {
  output.data(`sandbox ${level}, profile ${profile}`);
  const why = new Map(
    missing.map(({ layer, reason, help }) => [layer, help === undefined ? reason : `${reason}; ${help}`]),
  );
  const rows = LAYERS.map((layer) => [layer, layers[layer] ? "yes" : "no", why.get(layer) ?? ""]);
  for (const line of table([["LAYER", "THERE", "WHY NOT"], ...rows])) output.data(line);
  output.data("");
  const tried = acts.map(({ purpose, group, name, outcome, detail }) => [WHO[purpose], group, name, outcome, detail]);
  for (const line of table([["WHO", "WHAT", "TRIED", "OUTCOME", "HOW"], ...tried])) output.data(line);
  output.data("");
  for (const purpose of PURPOSES) {
    const own = acts.filter((one) => one.purpose === purpose);
    output.data(`${WHO[purpose]}: ${own.length} acts tried, ${countEscapes(own)} escaped`);
  }
}

function countEscapes(acts: readonly ActResult[]): number {
  return acts.filter(({ outcome }) => outcome === "escaped").length;
}
