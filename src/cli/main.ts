/** The command line: `rumpusb list | run | vdev | demo`. */
import { Command, CommanderError } from "commander";
import { HostError } from "../host/errors.js";
import type { CommandContext } from "./context.js";
import { demoCommand } from "./demo-command.js";
import { listCommand } from "./list-command.js";
import { type Output, processOutput, reportFailure, surviveLostOutput } from "./output.js";
import { runCommand } from "./run-command.js";
import { sandboxCommand } from "./sandbox-command.js";
import { vdevCommand } from "./vdev-command.js";
import { packageVersion } from "./version.js";

/**
 * Runs one command line.
 *
 * @param args  Without node and the script.
 * @returns     The exit status.
 */
export async function main(args: readonly string[], output: Output = processOutput): Promise<number> {
  const context: CommandContext = { output, exitStatus: 0 };
  let lost = 0;
  surviveLostOutput(process, output, () => {
    lost = 1;
  });
  try {
    await createProgram(context).parseAsync(args, { from: "user" });
    return context.exitStatus || lost;
  } catch (error) {
    // commander has printed its own message; its status 0 is that of --help and --version
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : new HostError("USAGE", "").exitStatus;
    return reportFailure(error, args.includes("--json"), output);
  }
}

/** Every command; one that is added to the list is in the help. */
const COMMANDS = [listCommand, runCommand, vdevCommand, sandboxCommand, demoCommand];

function createProgram(context: CommandContext): Command {
  const { output } = context;
  const program = new Command("rumpusb")
    .description("USB device drivers outside the kernel, each in a process of its own")
    .version(packageVersion(), "--version")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.data(text.trimEnd()),
      writeErr: (text) => output.talk(text.trimEnd().replace(/^error: /, "rumpusb: ")),
    });
  for (const add of COMMANDS) add(program, context);
  return program;
}
