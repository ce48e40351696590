/** `run --driver FILE`: a driver of the user's own, in the sandbox of every other. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runToEnd, RunningCommand } from "./command.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-drv-"));
  chmodSync(folder, 0o755);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function driverFile(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** Takes the simulated flash drive by its ids, and tries what it should not. */
const CURIOUS = `
import { readFileSync } from "node:fs";
const why = (attempt) => { try { attempt(); return "worked"; } catch (error) { return error.code; } };
const early = why(() => readFileSync("/etc/passwd"));
export const curious = {
  name: "curious",
  match: [{ vendor: 0x1209, product: 0x0001 }],
  endpoints: {},
  requests: [],
  async attach(at) {
    at.log("warn", "before the lock: " + early);
    at.log("warn", "after it: " + why(() => readFileSync("/dev/null")));
    const request = { type: "vendor", recipient: "device", request: 1, value: 0, index: 0 };
    at.log("warn", "undeclared request: " + (await at.control.out(request).then(() => "sent", (error) => error.code)));
  },
};`;

test("it is matched by its own rows, before ours, and is kept as ours are", async () => {
  const file = driverFile("curious.mjs", CURIOUS);
  await using host = new RunningCommand(
    "run",
    "--json",
    "--runtime-dir",
    join(folder, "rt"),
    "--driver",
    file,
    "sim:flash-drive",
  );
  expect(await host.event("device")).toMatchObject({ driver: "curious0", vendor: "1209" });
  await host.event("ready");
  expect(await host.end()).toBe(0);
  expect(host.stderr).toMatch(/before the lock: (ENOENT|EACCES)/);
  expect(host.stderr).toContain("after it: ENOENT");
  expect(host.stderr).toContain("undeclared request: USB_REFUSED");
});

/** Uses node:crypto once it is locked, and not before. */
const random = (load: string, name: string): string => `
${load}
${name} = {
  name: "random",
  match: [{ vendor: 0x1209, product: 0x0001 }],
  endpoints: {},
  requests: [],
  async attach(at) {
    const bytes = [randomBytes(16), webcrypto.getRandomValues(new Uint8Array(16))];
    at.log("warn", "random " + bytes.map((one) => one.length).join(" ") + " " + randomUUID().length);
    at.log("warn", "hash " + createHash("sha256").update("abc").digest("hex").slice(0, 8));
    const digest = await webcrypto.subtle.digest("SHA-1", new Uint8Array(3));
    at.log("warn", "subtle " + digest.byteLength);
  },
};`;

test.each([
  [
    "random.mjs",
    random('import { createHash, randomBytes, randomUUID, webcrypto } from "node:crypto";', "export const random"),
    [],
  ],
  [
    "random.cjs",
    random('const { createHash, randomBytes, randomUUID, webcrypto } = require("node:crypto");', "exports.random"),
    [],
  ],
  [
    "random.cjs",
    random('const { createHash, randomBytes, randomUUID, webcrypto } = require("node:crypto");', "exports.random"),
    ["--strict"],
  ],
])("%s uses node:crypto after the lock", async (name, text, options) => {
  const args = ["--runtime-dir", join(folder, "rt"), "--driver", driverFile(name, text), ...options];
  await using host = new RunningCommand("run", "--json", ...args, "sim:flash-drive");
  expect(await host.event("device")).toMatchObject({ driver: "random0" });
  await host.event("ready");
  for (const line of ["random 16 16 36", "hash ba7816bf", "subtle 20"]) expect(host.stderr).toContain(line);
  expect(await host.end()).toBe(0);
});

test.each([
  ["no such file", "none.mjs", undefined, 2, /none\.mjs: ENOENT/],
  ["TypeScript", "driver.ts", "export const a = 1;", 2, /ends in \.mjs or \.cjs/],
  ["no driver in it", "empty.mjs", "export const a = 1;", 1, /exports no driver record/],
  ["one that throws", "bad.mjs", 'throw new Error("no good");', 1, /Error: no good/],
  [
    "a row for everything",
    "all.mjs",
    "export const all = { name: 'all', match: [{}], attach() {} };",
    1,
    /at least one id/,
  ],
  [
    "a number that is none",
    "nan.mjs",
    "export const nan = { name: 'nan', match: [{ vendor: 70000 }], attach() {} };",
    1,
    /vendor/,
  ],
  [
    "under another name",
    "other.mjs",
    "export const a = { name: 'bb', match: [{ vendor: 1 }], attach() {} };",
    1,
    /its own name/,
  ],
  ["an endless loop while loading", "loop.mjs", "while (true);", 1, /SIGKILL|timed out|ended with/],
] as const)("%s: a message, and nothing is started", async (_name, name, text, status, message) => {
  const file = text === undefined ? join(folder, name) : driverFile(name, text);
  const result = await runToEnd(
    "run",
    "--json",
    "--runtime-dir",
    join(folder, "rt"),
    "--driver",
    file,
    "sim:flash-drive",
  );
  expect(result.status).toBe(status);
  expect(result.events).toMatchObject([{ event: "error", message: expect.stringMatching(message) }]);
});
