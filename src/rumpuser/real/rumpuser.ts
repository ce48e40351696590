/**
 * The real hypercalls: Node's clock, deadlines coarsely; the kernel's randomness; Node's module loader. The log goes where the entry
 * point says.
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { type LogSink, type Rumpuser, RUMPUSER_VERSION } from "../rumpuser.js";
import { createCoarseClock } from "./coarse-clock.js";
import { fillRandom } from "./locked-calls.js";

const require = createRequire(import.meta.url);

export function createRumpuser(log: LogSink): Rumpuser {
  return {
    version: RUMPUSER_VERSION,
    clock: createCoarseClock(),
    random: { fill: fillRandom },
    log,
    loadComponent,
  };
}

/** Where everything is CommonJS (tools/bundle.mjs), Node's loader for the other kind is not started, which takes 6 ms. */
async function loadComponent(specifier: string): Promise<unknown> {
  return specifier.endsWith(".cjs") ? require(fileURLToPath(specifier)) : await import(specifier);
}
