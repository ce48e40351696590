/** How much code runs with the rights of the user: what tools/host-lines.mjs counts, and that a real host loads no more. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { RunningCommand } from "../cli/command.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const DIST = new URL("../../dist/", import.meta.url).href;
const NOTE_SCRIPTS = pathToFileURL(fileURLToPath(new URL("./note-scripts.mjs", import.meta.url))).href;

interface Count {
  readonly run: string;
  readonly lines: number;
  readonly modules: readonly string[];
}

/** At most so many lines, without the tables of ids (docs/security.md says the numbers). */
const BOUNDS: Readonly<Record<string, number>> = {
  "usb-disk": 4500,
  "sim-disk": 4000,
  "usb-line": 5000,
  "usb-both": 5000,
};
/** npm packages that a host may load. */
const PACKAGES = new Set(["commander", "debug", "ms", "node-gyp-build", "valibot"]);

let folder = "";
let counts: readonly Count[] = [];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-lines-"));
  counts = JSON.parse(
    execFileSync(process.execPath, [join(ROOT, "tools/host-lines.mjs"), "--json"], { encoding: "utf8" }),
  ) as Count[];
}, 60_000);
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  vi.unstubAllEnvs();
});

function countOf(run: string): Count {
  const found = counts.find((one) => one.run === run);
  if (found === undefined) throw new Error(`nothing is counted for ${run}`);
  return found;
}

test.each(Object.entries(BOUNDS))("%s: no more than %i lines", (run, bound) => {
  expect(countOf(run).lines).toBeLessThan(bound);
});

test.each([
  ["sim-disk", "sim:flash-drive,size=1M"],
  ["sim-line", "sim:serial"],
])("%s: a host of %s loads what is counted, and no package besides those that are known", async (run, device) => {
  const notes = join(folder, run);
  vi.stubEnv("NODE_OPTIONS", `--import=${NOTE_SCRIPTS}`);
  vi.stubEnv("NOTE_SCRIPTS", notes);
  await using host = new RunningCommand("run", "--json", "--runtime-dir", join(folder, "rt"), device);
  await host.event("ready");
  const loaded = readFileSync(`${notes}.${host.pid}`, "utf8").split("\n");
  expect(await host.end()).toBe(0);
  const ours = loaded.filter((url) => url.startsWith(DIST)).map((url) => url.slice(DIST.length));
  const counted = new Set(countOf(run).modules);
  expect(ours).toContain("host/apart.js");
  expect(ours.filter((module) => !counted.has(module))).toEqual([]);
  const packages = loaded.map((url) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1]);
  expect(packages.filter((name) => name !== undefined && !PACKAGES.has(name))).toEqual([]);
});
