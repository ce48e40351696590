/** What another user of the machine can do with what a run makes: nothing. Needs root, to be somebody else. */
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RunningCommand } from "./command.js";

const TIMEOUT_MS = 60_000;
const NOBODY = 65534;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-ou-"));
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, "public"), { mode: 0o755 });
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Prints why each of the paths cannot be opened, listed and connected to; "done" where it can. */
const ATTEMPTS = `
const fs = require("node:fs");
const net = require("node:net");
const why = (attempt) => { try { attempt(); return "done"; } catch (error) { return error.code; } };
const connect = (path) => new Promise((resolve) => {
  const socket = net.connect(path, () => resolve("done"));
  socket.on("error", (error) => resolve(error.code));
});
(async () => {
  const results = {};
  for (const path of process.argv.slice(1))
    results[path] = [
      why(() => fs.closeSync(fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NOCTTY | fs.constants.O_NONBLOCK))),
      why(() => fs.readdirSync(path)),
      await connect(path),
    ];
  console.log(JSON.stringify(results));
  process.exit(0);
})();
`;

async function attempts(paths: readonly string[], uid: number): Promise<Record<string, readonly string[]>> {
  const options = { uid, gid: uid, cwd: "/", env: {} };
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", ATTEMPTS, ...paths], options);
  return JSON.parse(stdout) as Record<string, readonly string[]>;
}

test.skipIf(process.getuid?.() !== 0)(
  "sockets and terminals, in the runtime directory and in a public one, are their user's alone",
  { timeout: TIMEOUT_MS },
  async () => {
    const runtime = join(folder, "rt");
    const open = (name: string): string => join(folder, "public", name);
    const links = ["nbd", `nbd=unix:${open("disk")}`, "pty", `pty=${open("terminal")}`, `rfc2217=unix:${open("line")}`];
    const args = ["run", "--json", "--runtime-dir", runtime, ...links.flatMap((link) => ["--link", link])];
    await using host = new RunningCommand(...args, "sim:flash-drive,size=1M", "sim:serial");
    await host.event("ready");
    const paths = [
      ...["", "sd0.nbd.sock", "ttyU0"].map((name) => join(runtime, name)),
      ...["disk", "terminal", "line"].map(open),
    ];
    expect(paths.filter((path) => !existsSync(path))).toEqual([]);
    // The attempts are good ones: their user's succeed.
    expect(Object.values(await attempts(paths, 0)).every((ways) => ways.includes("done"))).toBe(true);
    for (const [path, ways] of Object.entries(await attempts(paths, NOBODY))) expect(ways, path).not.toContain("done");
    expect(await host.end()).toBe(0);
  },
);
