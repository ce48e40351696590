/** The command line: `rumpusb list | run | vdev | demo`. */
import { Command, CommanderError } from "commander";
import { HostError } from "../host/errors.js";
import type { CommandContext } from "./context.js";
import { type Output, processOutput, reportFailure, surviveLostOutput } from "./output.js";
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
    await (await createProgram(context, args[0])).parseAsync(args, { from: "user" });
    return context.exitStatus || lost;
  } catch (error) {
    // commander has printed its own message; its status 0 is that of --help and --version
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : new HostError("USAGE", "").exitStatus;
    return reportFailure(error, args.includes("--json"), output);
  }
}

type AddCommand = (program: Command, context: CommandContext) => void;

/** Every command, with the way to its code: the process that runs devices loads no model of one. */
const COMMANDS: Readonly<Record<string, () => Promise<AddCommand>>> = {
  list: async () => (await import("./list-command.js")).listCommand,
  run: async () => (await import("./run-command.js")).runCommand,
  vdev: async () => (await import("./vdev-command.js")).vdevCommand,
  sandbox: async () => (await import("./sandbox-command.js")).sandboxCommand,
  demo: async () => (await import("./demo-command.js")).demoCommand,
};

/** With the command that is asked for; with all of them, for the help, when it is none. */
async function createProgram(context: CommandContext, asked = ""): Promise<Command> {
  const { output } = context;
  const program = new Command("rumpusb")
    .description("USB device drivers outside the kernel, each in a process of its own")
    .version(packageVersion(), "--version")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.data(text.trimEnd()),
      writeErr: (text) => output.talk(text.trimEnd().replace(/^error: /, "rumpusb: ")),
    });
  const names = Object.hasOwn(COMMANDS, asked) ? [asked] : Object.keys(COMMANDS);
  const commands = await Promise.all(names.map(async (name) => await COMMANDS[name]?.()));
  for (const add of commands) add?.(program, context);
  return program;
}
