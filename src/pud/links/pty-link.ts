/** The link kind `pty`: serial lines as pseudo terminals, under names that stay. */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { DataBits, Device, LineSettings, Parity } from "../../rump/devsw.js";
import { LinkSetupError, messageOf } from "./errors.js";
import { LINK_FORMS } from "./forms.js";
import type { Link, LinkContext, LinkedNode, LinkKind } from "./link.js";
import { PtyLine, type PtyLineOptions } from "./pty/line.js";
import { TerminalName } from "./pty/terminal-name.js";

export interface PtyWhere {
  /** Absolute: a directory that is there, for any number of nodes, or the name of one. undefined: the runtime directory. */
  readonly path: string | undefined;
  /** Data bits and parity: a pseudo terminal of Linux has eight and none, whatever a program sets. */
  readonly framing: Pick<LineSettings, "dataBits" | "parity">;
}

const FRAMING = /^([5-8])([NOEMS])$/;
const PARITY_LETTERS: Readonly<Record<string, Parity>> = { N: "none", O: "odd", E: "even", M: "mark", S: "space" };
const PLAIN: PtyWhere["framing"] = { dataBits: 8, parity: "none" };

export const ptyLink: LinkKind<PtyWhere> = {
  parseWhere: parsePtyWhere,
  open: (where, context) => Promise.resolve(new PtyLink(where, context)),
};

function parsePtyWhere(text: string | undefined): PtyWhere {
  if (text === undefined) return { path: undefined, framing: PLAIN };
  const comma = text.lastIndexOf(",");
  const last = parseFraming(text.slice(comma + 1));
  const path = last === undefined ? text : comma === -1 ? undefined : text.slice(0, comma);
  if (path !== undefined && !path.startsWith("/"))
    throw new LinkSetupError("LINK_USAGE", `link pty=${text}: the path is absolute; allowed are ${LINK_FORMS.pty}`);
  return { path, framing: last ?? PLAIN };
}

function parseFraming(text: string): PtyWhere["framing"] | undefined {
  const [, bits, letter] = FRAMING.exec(text.toUpperCase()) ?? [];
  const parity = letter === undefined ? undefined : PARITY_LETTERS[letter];
  return parity === undefined ? undefined : { dataBits: Number(bits) as DataBits, parity };
}

class PtyLink implements Link {
  readonly kind = "pty";
  readonly #where: PtyWhere;
  readonly #context: LinkContext;
  readonly #lines = new Map<string, PtyLine>();

  constructor(where: PtyWhere, context: LinkContext) {
    this.#where = where;
    this.#context = context;
  }

  async serve(nodeName: string, device: Device): Promise<LinkedNode> {
    if (device.kind !== "tty")
      throw new LinkSetupError("LINK_USAGE", `${nodeName} is a ${device.kind}; link pty serves ttys`);
    const path = this.#pathOf(nodeName);
    if (this.#lines.has(path))
      throw new LinkSetupError("LINK_IN_USE", `${path} is another node already; ${nodeName} needs another`);
    const line = openLine({
      nodeName,
      tty: device,
      name: new TerminalName(path),
      framing: this.#where.framing,
      log: this.#context.log,
    });
    this.#lines.set(path, line);
    return {
      uri: `file://${path}`,
      path,
      remove: async () => {
        if (this.#lines.get(path) === line) this.#lines.delete(path);
        await line.remove();
      },
    };
  }

  async close(): Promise<void> {
    const lines = [...this.#lines.values()];
    this.#lines.clear();
    await Promise.all(lines.map((line) => line.remove()));
  }

  #pathOf(nodeName: string): string {
    const { path } = this.#where;
    if (path === undefined) return join(this.#context.runtimeDir, nodeName);
    return isDirectory(path) ? join(path, nodeName) : path;
  }
}

/** @throws LinkSetupError */
function openLine(options: PtyLineOptions): PtyLine {
  try {
    return new PtyLine(options);
  } catch (error) {
    if (error instanceof LinkSetupError) throw error;
    throw new LinkSetupError("LINK_FAILED", `no pseudo terminal for ${options.nodeName}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
