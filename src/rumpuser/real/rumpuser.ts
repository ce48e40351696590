/** The real hypercalls: Node's clock, the kernel's randomness, Node's module loader. The log goes where the entry point says. */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { type LogSink, type Rumpuser, RUMPUSER_VERSION } from "../rumpuser.js";
import { realClock } from "./clock.js";
import { fillRandom } from "./locked-calls.js";

const require = createRequire(import.meta.url);

export function createRumpuser(log: LogSink): Rumpuser {
  return {
    version: RUMPUSER_VERSION,
    clock: realClock,
    random: { fill: fillRandom },
    log,
    loadComponent,
  };
}

/** Where everything is CommonJS (tools/bundle.mjs), Node's loader for the other kind is not started, which takes 6 ms. */
async function loadComponent(specifier: string): Promise<unknown> {
  return specifier.endsWith(".cjs") ? require(fileURLToPath(specifier)) : await import(specifier);
}
