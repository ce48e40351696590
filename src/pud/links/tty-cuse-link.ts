/** The link kind `tty-cuse`: serial lines as character devices of the host, with modem lines, breaks and every setting. */
import type { Device } from "../../rump/devsw.js";
import { LinkSetupError } from "./errors.js";
import type { Link, LinkContext, LinkedNode } from "./link.js";

/** The name in /dev of one node; undefined: each has its own. */
export type TtyCuseWhere = string | undefined;

export const TTY_CUSE_FORMS = "tty-cuse, tty-cuse=NAME";

/** A tty of its own kind: what a name can hide must not be possible. */
const NAME = /^tty[A-Za-z][A-Za-z0-9_-]{0,27}$/;

/** @throws LinkSetupError LINK_USAGE */
export function parseTtyCuseWhere(text: string | undefined): TtyCuseWhere {
  if (text !== undefined && !NAME.test(text))
    throw new LinkSetupError(
      "LINK_USAGE",
      `link tty-cuse=${text}: a name in /dev like ttyU0 or ttyGPS; allowed are ${TTY_CUSE_FORMS}`,
    );
  return text;
}

export function openTtyCuseLink(where: TtyCuseWhere, context: LinkContext): Promise<Link> {
  return Promise.resolve(new TtyCuseLink(where, context));
}

class TtyCuseLink implements Link {
  readonly kind = "tty-cuse";
  readonly #name: TtyCuseWhere;
  readonly #context: LinkContext;
  readonly #served = new Map<string, () => Promise<void>>();

  constructor(name: TtyCuseWhere, context: LinkContext) {
    this.#name = name;
    this.#context = context;
  }

  async serve(nodeName: string, device: Device): Promise<LinkedNode> {
    if (device.kind !== "tty")
      throw new LinkSetupError("LINK_USAGE", `${nodeName} is a ${device.kind}; link tty-cuse serves ttys`);
    const { CuseChannel } = await import("./cuse/channel.js");
    const { TtyDevice } = await import("./cuse/tty-device.js");
    const name = this.#name ?? nodeName;
    if (this.#served.has(name))
      throw new LinkSetupError("LINK_IN_USE", `/dev/${name} is another node already; ${nodeName} needs another`);
    const { log } = this.#context;
    const tty = new TtyDevice({ nodeName, tty: device, log, answer: (bytes) => channel.answer(bytes) });
    const channel = await CuseChannel.open(name, {
      request: (bytes) => tty.take(bytes),
      failed: (error) => {
        log.write({ level: "error", source: nodeName, message: `tty-cuse: ${channel.path} is lost: ${error.message}` });
        void remove();
      },
    });
    const remove = async (): Promise<void> => {
      if (this.#served.get(name) === remove) this.#served.delete(name);
      await tty.close();
      channel.close();
    };
    this.#served.set(name, remove);
    return { uri: `file://${channel.path}`, path: channel.path, remove };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#served.values()].map((remove) => remove()));
  }
}
