/**
 * Makes dist/bundle/ from dist/: the rump process and each driver as one file, with what they share in files of their own. A
 * rump process with one driver loads five files then in place of eighty, which halves its start. They are CommonJS: Node's loader
 * for that is there already, the other one would have to be started.
 *
 * The folders are those of dist/, so that a driver's specifier (src/dev/usb/drivers.ts) means the same in both.
 */
import { join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const DIST = fileURLToPath(new URL("../dist", import.meta.url));
const { DRIVERS } = await import(join(DIST, "dev/usb/drivers.js"));

const entries = [
  "rump-process.js",
  "pud-process.js",
  ...DRIVERS.map(({ specifier }) => normalize(join("dev/usb", specifier))),
];
const bundle = await rolldown({
  input: Object.fromEntries(entries.map((entry) => [entry.replace(/\.js$/, ""), join(DIST, entry)])),
  platform: "node",
});
await bundle.write({
  dir: join(DIST, "bundle"),
  format: "cjs",
  cleanDir: true,
  entryFileNames: "[name].cjs",
  chunkFileNames: "shared/[name].cjs",
  comments: false,
});
await bundle.close();
