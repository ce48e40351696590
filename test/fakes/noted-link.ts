/** A link that notes what it serves, by the name of its node. */
import type { Link } from "../../src/pud/links/links.js";
import type { Device } from "../../src/rump/devsw.js";

export class NotedLink<K extends "disk" | "tty"> implements Link {
  readonly kind = "noted";
  readonly served = new Map<string, Extract<Device, { kind: K }>>();
  readonly #serves: K;

  constructor(serves: K) {
    this.#serves = serves;
  }

  async serve(name: string, device: Device): ReturnType<Link["serve"]> {
    if (!this.#isServed(device)) throw new Error(`no ${device.kind} here`);
    this.served.set(name, device);
    return {
      uri: `noted:${name}`,
      remove: async () => {
        this.served.delete(name);
      },
    };
  }

  async close(): Promise<void> {}

  #isServed(device: Device): device is Extract<Device, { kind: K }> {
    return device.kind === this.#serves;
  }
}
