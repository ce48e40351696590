/** What can stop a run before it starts. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** The command line is wrong; the message names the option and what is allowed. */
export class UsageError extends Error {}

/** This machine lacks something the run needs; the message names it. A run that may be skipped, not one that failed. */
export class CannotRun extends Error {}

/** @throws CannotRun naming the first tool that is not on the PATH. */
export function requireTools(...names) {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  for (const name of names)
    if (!folders.some((folder) => isExecutable(join(folder, name)))) throw new CannotRun(`missing tool: ${name}`);
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
