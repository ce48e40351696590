/** The link kind `pty`: serial lines as pseudo terminals, under names that stay. */
import { join } from "node:path";
import type { DataBits, Device, LineSettings, Parity } from "../../rump/devsw.js";
import { LinkSetupError } from "./errors.js";
import { LINK_FORMS } from "./forms.js";
import type { Link, LinkContext, LinkedNode, LinkKind } from "./link.js";
import { PtyLine } from "./pty/line.js";

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
  readonly #lines = new Set<PtyLine>();

  constructor(where: PtyWhere, context: LinkContext) {
    this.#where = where;
    this.#context = context;
  }

  async serve(nodeName: string, device: Device): Promise<LinkedNode> {
    if (device.kind !== "tty")
      throw new LinkSetupError("LINK_USAGE", `${nodeName} is a ${device.kind}; link pty serves ttys`);
    const { runtimeDir, log, rights } = this.#context;
    const { path = join(runtimeDir, nodeName), framing } = this.#where;
    const line = await PtyLine.open({ place: { nodeName, path }, tty: device, framing, log, rights });
    this.#lines.add(line);
    return {
      uri: `file://${line.path}`,
      path: line.path,
      remove: async () => {
        this.#lines.delete(line);
        await line.remove();
      },
    };
  }

  async close(): Promise<void> {
    const lines = [...this.#lines];
    this.#lines.clear();
    await Promise.all(lines.map((line) => line.remove()));
  }
}
