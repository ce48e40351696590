/** The link kind `pty`: serial lines as pseudo terminals, under names that stay. */
import { join } from "node:path";
import type { Device } from "../../rump/devsw.js";
import { LinkSetupError } from "./errors.js";
import type { Link, LinkContext, LinkedNode } from "./link.js";
import { PtyLine } from "./pty/line.js";
import type { PtyWhere } from "./wheres.js";

export function openPtyLink(where: PtyWhere, context: LinkContext): Promise<Link> {
  return Promise.resolve(new PtyLink(where, context));
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
