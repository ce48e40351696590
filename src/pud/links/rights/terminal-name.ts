/** The symbolic link under which programs find a pseudo terminal. Nothing else that stands there is touched. */
import { lstatSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { LinkSetupError, messageOf, errnoOf } from "../errors.js";

/** Where a node's terminal is found: in a directory that is there it is called like the node. @throws LinkSetupError */
export function terminalPath(path: string, nodeName: string): string {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true ? join(path, nodeName) : path;
  } catch (error) {
    throw setupError(path, error);
  }
}

const TERMINAL = /^\/dev\/pts\/\d+$/;

export class TerminalName {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Removes what an ended process has left there.
   * @throws LinkSetupError LINK_IN_USE: something else stands there; LINK_USAGE: no such directory; LINK_PERMISSION.
   */
  claim(): void {
    const found = this.#look();
    if (found === undefined) return;
    if (found === "other")
      throw new LinkSetupError("LINK_IN_USE", `${this.path} is there already, and is no link to a pseudo terminal`);
    if (isServed(found))
      throw new LinkSetupError("LINK_IN_USE", `${this.path} is in use: it leads to ${found}, which is served`);
    rmSync(this.path, { force: true });
  }

  /** @throws LinkSetupError LINK_PERMISSION, LINK_USAGE, LINK_FAILED */
  pointTo(terminal: string): void {
    // A name of its own first: a link cannot be changed, and programs must find one at any moment.
    const fresh = `${this.path}.${process.pid}`;
    try {
      rmSync(fresh, { force: true });
      symlinkSync(terminal, fresh);
      renameSync(fresh, this.path);
    } catch (error) {
      rmSync(fresh, { force: true });
      throw setupError(this.path, error);
    }
  }

  /** Takes the link away if it still leads to this terminal. */
  remove(terminal: string): void {
    if (this.#look() === terminal) rmSync(this.path, { force: true });
  }

  /** The terminal that a link there leads to. */
  #look(): string | undefined {
    try {
      if (!lstatSync(this.path).isSymbolicLink()) return "other";
      const target = readlinkSync(this.path);
      return TERMINAL.test(target) ? target : "other";
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw setupError(this.path, error);
    }
  }
}

/** Terminals of links belong to their user alone (0600); those of shells and windows can be written by their group. */
function isServed(terminal: string): boolean {
  try {
    const { uid, mode } = statSync(terminal);
    return uid === process.getuid?.() && (mode & 0o777) === 0o600;
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return false;
    throw setupError(terminal, error);
  }
}

function setupError(path: string, error: unknown): LinkSetupError {
  const code = errnoOf(error);
  if (code === "EACCES" || code === "EPERM" || code === "EROFS")
    return new LinkSetupError("LINK_PERMISSION", `${path}: this user may not put a link there (${code})`, {
      cause: error,
    });
  if (code === "ENOENT" || code === "ENOTDIR")
    return new LinkSetupError("LINK_USAGE", `${path}: there is no directory ${dirname(path)}`, { cause: error });
  return new LinkSetupError("LINK_FAILED", `${path}: ${messageOf(error)}`, { cause: error });
}
