/**
 * Unit numbers of device nodes: `sd0`, `sd1` … are unique among all host processes of a user that share a runtime
 * directory, and the lowest free one is taken.
 *
 * A name is held by listening on a Linux abstract socket whose name is made of the runtime directory's identity and the
 * node: binding is atomic, and the kernel lets go when the process ends, however it ends, so nothing stale is ever left.
 */
import { stat } from "node:fs/promises";
import net from "node:net";
import { errnoOf, HostError } from "./errors.js";

/** A search that finds so many taken ends with an error. */
const MAX_UNITS = 1000;

export interface HeldUnit {
  /** "sd0". */
  readonly name: string;
  release(): void;
}

/** Takes the lowest unit of a class that nobody holds. */
export type TakeUnit = (className: string) => Promise<HeldUnit>;

/** Units shared by all processes that use the directory. */
export async function sharedUnits(runtimeDir: string): Promise<TakeUnit> {
  const { dev, ino } = await stat(runtimeDir, { bigint: true });
  return async (className) => {
    for (let unit = 0; unit < MAX_UNITS; unit++) {
      const name = `${className}${unit}`;
      const holder = await listen(`\0rumpusb/${dev}:${ino}/${name}`);
      if (holder !== undefined) return { name, release: () => holder.close() };
    }
    throw new HostError("FAILED", `no unit is free for a ${className} node: ${MAX_UNITS} are in use`);
  };
}

/** Units within one process, for the names of drivers. */
export class LocalUnits {
  readonly #taken = new Set<string>();

  take(className: string): HeldUnit {
    let unit = 0;
    while (this.#taken.has(`${className}${unit}`)) unit++;
    const name = `${className}${unit}`;
    this.#taken.add(name);
    return { name, release: () => this.#taken.delete(name) };
  }
}

/** Undefined when the name is taken. */
async function listen(address: string): Promise<net.Server | undefined> {
  const server = net.createServer((peer) => peer.destroy());
  server.unref();
  return await new Promise((resolve, reject) => {
    server.once("error", (error) => {
      if (errnoOf(error) === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(address, () => resolve(server));
  });
}
