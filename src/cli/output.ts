/** How commands print: data on stdout, talk on stderr, a failure in one place. */
import { errnoOf, HostError, messageOf } from "../host/errors.js";
import type { HostEvent } from "../host/events.js";

/** Where a command's words go; a test collects them. */
export interface Output {
  /** A line of data. */
  data(line: string): void;
  /** A line for people. */
  talk(line: string): void;
}

export const processOutput: Output = {
  data: (line) => {
    process.stdout.write(`${line}\n`);
  },
  talk: (line) => {
    process.stderr.write(`${line}\n`);
  },
};

interface FallibleStream {
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** Of a process. */
export interface OutputStreams {
  readonly stdout: FallibleStream;
  readonly stderr: FallibleStream;
}

/**
 * A stream that cannot be written (a full disk, a terminal that was closed) must not end a process that has a device to
 * let go: nothing is thrown, what is written from then on is lost. A command that runs until it is told to stop stops at
 * the first error on stdout (signals.ts).
 *
 * @param failed  Called when data on stdout was lost, which has been told. `rumpusb list | head -1` is no loss: that
 *                reader has seen enough.
 */
export function surviveLostOutput({ stdout, stderr }: OutputStreams, output: Output, failed: () => void): void {
  let lost = false;
  stdout.on("error", (error: Error) => {
    if (lost || errnoOf(error) === "EPIPE") return;
    lost = true;
    output.talk(`rumpusb: standard output: ${messageOf(error)}`);
    failed();
  });
  stderr.on("error", () => {}); // nowhere is left to say so
}

/** Prints an error the way the command line was asked to, and says which status to exit with. */
export function reportFailure(error: unknown, json: boolean, output: Output): number {
  const known = error instanceof HostError;
  const code = known ? error.code : "FAILED";
  const message = known || errnoOf(error) !== "" ? messageOf(error) : describeBug(error);
  if (json) output.data(JSON.stringify({ event: "error", code, message } satisfies HostEvent));
  output.talk(`rumpusb: ${message}`);
  return known ? error.exitStatus : 1;
}

/** An error that nobody foresaw is ours: with its stack, so that it can be reported. */
function describeBug(error: unknown): string {
  return `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}
