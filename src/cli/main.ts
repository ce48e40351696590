/** The command line: `rumpusb list | run | vdev | demo`. */
import { Command, CommanderError } from "commander";
import { HostError } from "../host/errors.js";
import type { CommandContext } from "./context.js";
import { demoCommand } from "./demo-command.js";
import { listCommand } from "./list-command.js";
import { type Output, processOutput, reportFailure } from "./output.js";
import { runCommand } from "./run-command.js";
import { sandboxCommand } from "./sandbox-command.js";
import { vdevCommand } from "./vdev-command.js";

/**
 * Runs one command line.
 *
 * @param args  Without node and the script.
 * @returns     The exit status.
 */
export async function main(args: readonly string[], output: Output = processOutput): Promise<number> {
  ignoreClosedPipe(process.stdout);
  const context: CommandContext = { output, exitStatus: 0 };
  try {
    await createProgram(context).parseAsync(args, { from: "user" });
    return context.exitStatus;
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
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.data(text.trimEnd()),
      writeErr: (text) => output.talk(text.trimEnd().replace(/^error: /, "rumpusb: ")),
    });
  for (const add of COMMANDS) add(program, context);
  return program;
}

/** `rumpusb list | head -1`: a reader that has seen enough is no error. */
function ignoreClosedPipe(stream: NodeJS.WriteStream): void {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}
