import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { defaultRuntimeDir, ensureRuntimeDir } from "../../src/host/runtime-dir.js";

const uid = process.getuid?.() ?? 0;
let base = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "rumpusb-rt-"));
});
afterEach(() => {
  rmSync(base, { recursive: true, force: true });
});

test("the default is XDG's, else one in /tmp with the user's number", () => {
  expect(defaultRuntimeDir({ XDG_RUNTIME_DIR: "/run/user/7" }, 7)).toBe("/run/user/7/rumpusb");
  expect(defaultRuntimeDir({}, 7)).toBe("/tmp/rumpusb-7");
  expect(defaultRuntimeDir({ XDG_RUNTIME_DIR: "relative" }, 7)).toBe("/tmp/rumpusb-7");
});

test("it is made for this user alone, and used again", async () => {
  const path = join(base, "rumpusb");
  await ensureRuntimeDir(path, uid);
  expect(statSync(path).mode & 0o777).toBe(0o700);
  await ensureRuntimeDir(path, uid);
});

describe("refused", () => {
  test("a symbolic link, even to a directory of this user", async () => {
    mkdirSync(join(base, "real"), { mode: 0o700 });
    symlinkSync(join(base, "real"), join(base, "link"));
    await expect(ensureRuntimeDir(join(base, "link"), uid)).rejects.toThrow(/link refused: it is a symbolic link/);
  });

  test("somebody else's", async () => {
    await expect(ensureRuntimeDir(base, uid + 1)).rejects.toThrow(`refused: it belongs to user ${uid}, not ${uid + 1}`);
  });

  test("one that others may enter", async () => {
    chmodSync(base, 0o755);
    await expect(ensureRuntimeDir(base, uid)).rejects.toThrow(/others may enter it \(mode 755, wanted 700\)/);
  });

  test("a file, a missing parent, a path without room for a socket's address", async () => {
    writeFileSync(join(base, "file"), "");
    await expect(ensureRuntimeDir(join(base, "file"), uid)).rejects.toThrow(/it is not a directory/);
    await expect(ensureRuntimeDir(join(base, "no/dir"), uid)).rejects.toThrow(/cannot make the runtime directory/);
    await expect(ensureRuntimeDir(`/tmp/${"x".repeat(100)}`, uid)).rejects.toThrow(/a Unix socket address has 107/);
  });
});
