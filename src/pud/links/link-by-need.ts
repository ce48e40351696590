/** A link that is opened for the first node that it is to serve: until then its code is not loaded, and nothing is on the host. */
import type { Device } from "../../rump/devsw.js";
import type { Link, LinkedNode } from "./link.js";

export class LinkByNeed implements Link {
  readonly kind: string;
  readonly #open: () => Promise<Link>;
  #opened: Promise<Link> | undefined;

  /** @param open  Called until it has succeeded once; a failure is told to those who have waited for it. */
  constructor(kind: string, open: () => Promise<Link>) {
    this.kind = kind;
    this.#open = open;
  }

  async serve(nodeName: string, device: Device): Promise<LinkedNode> {
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return await (await this.#opened).serve(nodeName, device);
  }

  async close(): Promise<void> {
    const link = await this.#opened?.catch(() => undefined); // told to whoever was to be served
    await link?.close();
  }
}
