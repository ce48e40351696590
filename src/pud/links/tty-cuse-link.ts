/** The link kind `tty-cuse`: serial lines as character devices of the host, with modem lines, breaks and every setting. */
import type { Device } from "../../rump/devsw.js";
import { LinkSetupError } from "./errors.js";
import { CuseChannel } from "./cuse/channel.js";
import { TtyDevice } from "./cuse/tty-device.js";
import { LINK_FORMS } from "./forms.js";
import type { Link, LinkContext, LinkedNode, LinkKind } from "./link.js";

/** The name in /dev of one node; undefined: each has its own. */
export type TtyCuseWhere = string | undefined;

/** A tty of its own kind: what a name can hide must not be possible. */
const NAME = /^tty[A-Za-z][A-Za-z0-9_-]{0,27}$/;

export const ttyCuseLink: LinkKind<TtyCuseWhere> = {
  parseWhere: parseTtyCuseWhere,
  open: (where, context) => Promise.resolve(new TtyCuseLink(where, context)),
};

function parseTtyCuseWhere(text: string | undefined): TtyCuseWhere {
  if (text !== undefined && !NAME.test(text))
    throw new LinkSetupError(
      "LINK_USAGE",
      `link tty-cuse=${text}: a name in /dev like ttyU0 or ttyGPS; allowed are ${LINK_FORMS["tty-cuse"]}`,
    );
  return text;
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
    const name = this.#name ?? nodeName;
    if (this.#served.has(name))
      throw new LinkSetupError("LINK_IN_USE", `/dev/${name} is another node already; ${nodeName} needs another`);
    const { log, rights } = this.#context;
    const tty = new TtyDevice({ nodeName, tty: device, log, answer: (bytes) => channel.answer(bytes) });
    const events = {
      request: (bytes: Uint8Array) => tty.take(bytes),
      failed: (error: Error) => {
        log.write({ level: "error", source: nodeName, message: `tty-cuse: ${channel.path} is lost: ${error.message}` });
        void remove();
      },
    };
    const channel = await CuseChannel.open(name, events, rights);
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
