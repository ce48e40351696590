/** `rumpusb demo`: the whole path with nothing plugged in. */
import type { Command } from "commander";
import type { HostEvent } from "../host/events.js";
import type { CommandContext } from "./context.js";
import { humanPrinter, quote } from "./event-printer.js";
import type { Output } from "./output.js";
import { run } from "./run-command.js";

/** Holds a FAT file system with README.TXT (the model's default image). */
const DEMO_DEVICE = "sim:flash-drive";

export function demoCommand(program: Command, context: CommandContext): void {
  program
    .command("demo")
    .summary("try it: a simulated flash drive, until Ctrl-C")
    .action(async () => {
      context.output.data(
        "A simulated flash drive: a device model in one process, its driver in another, both gone at Ctrl-C.",
      );
      context.exitStatus = await run([DEMO_DEVICE], { link: [] }, demoPrinter(context.output));
    });
}

/** As for people, and at the end the way to the readme on the drive. */
function demoPrinter(output: Output): (event: HostEvent) => void {
  const print = humanPrinter(output);
  let uri = "";
  return (event) => {
    if (event.event === "link") uri = event.uri;
    if (event.event === "ready") {
      output.data("Read the file on it (nbdcopy: package libnbd-bin, mtype: package mtools):");
      output.data(`  nbdcopy ${quote(uri)} demo.img && mtype -i demo.img ::README.TXT`);
    }
    print(event);
  };
}
