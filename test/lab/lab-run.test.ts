/** The lab itself: what it says about wrong options, and that a bad script cannot hang it or pass unseen. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { CHECKS } from "./checks.js";
import { parseResults, runLab } from "./lab.js";

const folder = await mkdtemp(join(tmpdir(), "rumpusb-lab-test-"));
afterAll(async () => await rm(folder, { recursive: true, force: true }));

/** A boot takes a second; with every processor busy, many. */
const OPTIONS = { timeout: 60_000 };

describe("command line", () => {
  const WRONG: readonly (readonly [args: readonly string[], message: string])[] = [
    [[], "no script given"],
    [["--kernel", "hurd", `lab/checks/${CHECKS[0]}`], "--kernel hurd: not one of auto, uml, qemu"],
    [
      ["--with", "floppy", `lab/checks/${CHECKS[0]}`],
      "--with floppy: not one of usb-storage, usb-bot, usb-uas, usb-serial, usb-braille",
    ],
    [["--kernel", "uml", "--with", "usb-bot", `lab/checks/${CHECKS[0]}`], "cannot go with --kernel uml"],
    [["--timeout", "0", `lab/checks/${CHECKS[0]}`], "--timeout 0: not 1 to 86400 seconds"],
    [["lab/checks/none.sh"], "lab/checks/none.sh: no such script"],
    [["--bogus"], "Unknown option '--bogus'"],
  ];
  test.each(WRONG)("%j: usage, status 2", async (args, message) => {
    const run = await runLab(args);
    expect(run.status).toBe(2);
    expect(run.stderr).toContain(message);
  });

  test("no kernel: status 77 and the reason", async () => {
    const { RUMPUSB_UML: _, ...env } = process.env;
    const run = await runLab(["--kernel", "uml", `lab/checks/${CHECKS[0]}`], env);
    expect(run.status).toBe(77);
    expect(run.stderr).toContain("RUMPUSB_UML is not set");
  });

  test("offline without a kernel package: status 77 and what to do", async () => {
    const env = { ...process.env, RUMPUSB_LAB_CACHE: folder };
    const run = await runLab(["--kernel", "qemu", "--offline", `lab/checks/${CHECKS[0]}`], env);
    expect(run.status).toBe(77);
    expect(run.stderr).toMatch(/lab: missing (tool: qemu|kernel package: run `lab\/run --prepare`)/);
  });
});

test("result lines: a name may hold single colons, a reason may hold more of them", () => {
  expect(parseResults("# a.sh\nPASS --link nbd=/dev/nbd0\nnoise\nFAIL 1209:0001 seen: why: because\n")).toEqual([
    { script: "a.sh", outcome: "PASS", name: "--link nbd=/dev/nbd0", reason: "" },
    { script: "a.sh", outcome: "FAIL", name: "1209:0001 seen", reason: "why: because" },
  ]);
});

describe.skipIf(!process.env["RUMPUSB_UML"])("bad scripts, in a User Mode Linux kernel (RUMPUSB_UML)", OPTIONS, () => {
  const SCRIPTS: readonly (readonly [what: string, text: string, expected: readonly RegExp[]])[] = [
    ["a command that fails", `f() { false; echo on; }; check "one" f`, [/^FAIL one: at line \d+, status 1: false/]],
    ["a colon in a name", `check "one: two" false`, [/^FAIL one, two: at line/]],
    ["a reason", `f() { fail "the numbers: 7"; }; check "one" f`, [/^FAIL one: the numbers: 7/]],
    [
      "bytes that differ",
      `f() { echo a >$LAB_TMP/a; echo b >$LAB_TMP/b; same_bytes $LAB_TMP/a $LAB_TMP/b; }; check "one" f`,
      [/^FAIL one: .*differ within their first 2 bytes/],
    ],
    ["what should be refused", `f() { refused true; }; check "one" f`, [/^FAIL one: was allowed/]],
    ["a check that hangs", `CHECK_SECONDS=1; f() { sleep 60; }; check "one" f`, [/^FAIL one: not done after 1 s/]],
    [
      "wait_for in vain",
      `f() { wait_for 1 "a miracle" false; }; check "one" f`,
      [/^FAIL one: waited in vain: a miracle/],
    ],
    ["a script that ends early", `check "one" true; exit 3`, [/^PASS one/, /^FAIL .*: the script ended with status 3/]],
    ["no result", "true", [/^FAIL lab: the scripts reported no result/]],
    ["a request that nobody answers", `f() { host unplug stick; }; check "one" f`, [/^FAIL one: .*unplug/]],
    ["a power cut", "echo o >/proc/sysrq-trigger; sleep 9", [/^FAIL lab: the guest ended early/]],
  ];
  test.each(SCRIPTS)("%s", async (what, text, expected) => {
    const script = join(folder, `${what.replaceAll(" ", "-")}.sh`);
    await writeFile(script, `${text}\n`);
    const run = await runLab(["--kernel", "uml", "--timeout", "20", script]);
    const lines = run.results.map(({ outcome, name, reason }) => `${outcome} ${name}: ${reason}`);
    expect(lines, run.stderr).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
    expect(run.status).toBe(1);
  });

  test("a guest that does not end is stopped at the time limit", async () => {
    const script = join(folder, "endless.sh");
    await writeFile(script, "sleep 100\n");
    const run = await runLab(["--kernel", "uml", "--timeout", "3", script]);
    expect(run.results.map((result) => result.reason)).toEqual([
      "the guest was stopped at its time limit, before all scripts had run",
    ]);
  });
});
