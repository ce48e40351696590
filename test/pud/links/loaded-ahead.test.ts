/** Links in a process that can open no file any more. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const LINKS = fileURLToPath(new URL("../../../dist/pud/links/links.js", import.meta.url));
const KINDS = ["nbd", "pty", "rfc2217", "raw", "tty-cuse"];

/** Opens a link of each kind when no descriptor is left. @returns what came of it, by kind */
async function openLate(loadAhead: boolean): Promise<string[]> {
  const script = `
    import { openSync } from "node:fs";
    import { loadLinks, openLink, parseLink } from ${JSON.stringify(LINKS)};
    const kinds = ${JSON.stringify(KINDS)};
    if (${loadAhead}) await loadLinks(kinds);
    console.log("ready");
    try { for (;;) openSync("/dev/null"); } catch {}
    const came = kinds.map((kind) =>
      openLink(parseLink(kind), { runtimeDir: "/", log: { write() {} }, rights: {} }).then((link) => link.kind, (error) => error.code));
    console.log((await Promise.all(came)).join(" "));`;
  const command = 'ulimit -n 64; exec "$0" --input-type=module -e "$1"';
  const { stdout } = await promisify(execFile)("/bin/sh", ["-c", command, process.execPath, script]);
  return stdout.trim().split(/\s+/).slice(1);
}

test("what was loaded ahead is opened without files; what was not is refused, and not half loaded", async () => {
  expect(await openLate(true)).toEqual(KINDS);
  expect(await openLate(false)).toEqual(KINDS.map(() => "EMFILE"));
});
