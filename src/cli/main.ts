/** The command line: `rumpusb list | run | vdev | demo`. */
import { Command, CommanderError } from "commander";
import { HostError } from "../host/errors.js";
import { listCommand } from "./list-command.js";
import { type Output, processOutput, reportFailure } from "./output.js";

/**
 * Runs one command line.
 *
 * @param args  Without node and the script.
 * @returns     The exit status.
 */
export async function main(args: readonly string[], output: Output = processOutput): Promise<number> {
  ignoreClosedPipe(process.stdout);
  const program = createProgram(output);
  try {
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    // commander has printed its own message; its status 0 is that of --help and --version
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : new HostError("USAGE", "").exitStatus;
    return reportFailure(error, args.includes("--json"), output);
  }
}

export function createProgram(output: Output): Command {
  const program = new Command("rumpusb")
    .description("USB device drivers outside the kernel, each in a process of its own")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.data(text.trimEnd()),
      writeErr: (text) => output.talk(text.trimEnd().replace(/^error: /, "rumpusb: ")),
    });
  listCommand(program, output);
  return program;
}

/** `rumpusb list | head -1`: a reader that has seen enough is no error. */
function ignoreClosedPipe(stream: NodeJS.WriteStream): void {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}
