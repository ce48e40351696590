/** The link kind `tty-cuse`: serial lines as character devices of the host, with modem lines, breaks and every setting. */
import type { Device } from "../../rump/devsw.js";
import { LinkSetupError } from "./errors.js";
import { CuseChannel } from "./cuse/channel.js";
import { TtyDevice } from "./cuse/tty-device.js";
import type { Link, LinkContext, LinkedNode } from "./link.js";
import type { TtyCuseWhere } from "./wheres.js";

export function openTtyCuseLink({ name }: TtyCuseWhere, context: LinkContext): Promise<Link> {
  return Promise.resolve(new TtyCuseLink(name, context));
}

class TtyCuseLink implements Link {
  readonly kind = "tty-cuse";
  /** undefined: each node has its own. */
  readonly #name: string | undefined;
  readonly #context: LinkContext;
  readonly #served = new Map<string, () => Promise<void>>();

  constructor(name: string | undefined, context: LinkContext) {
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
