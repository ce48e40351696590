/** The lab itself: what it says about wrong options, and that a bad script cannot hang it or pass unseen. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parseResults, runLab } from "./lab.js";

const folder = await mkdtemp(join(tmpdir(), "rumpusb-lab-test-"));
afterAll(async () => await rm(folder, { recursive: true, force: true }));

const SCRIPT = "lab/checks/kernel.sh";

/** A boot takes a second; with every processor busy, many. */
const OPTIONS = { timeout: 60_000 };

describe("command line", () => {
  const WRONG: readonly (readonly [args: readonly string[], message: string])[] = [
    [[], "no script given"],
    [["--kernel", "hurd", SCRIPT], "--kernel hurd: not one of auto, uml, qemu"],
    [["--with", "floppy", SCRIPT], "--with floppy: not one of usb-storage, usb-bot, usb-uas, usb-serial, usb-braille"],
    [["--kernel", "uml", "--with", "usb-bot", SCRIPT], "cannot go with --kernel uml"],
    [["--processor", "last", SCRIPT], "--processor last: not 0 to 9999"],
    [["--timeout", "0", SCRIPT], "--timeout 0: not 1 to 86400 seconds"],
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
    const run = await runLab(["--kernel", "uml", SCRIPT], env);
    expect(run.status).toBe(77);
    expect(run.stderr).toContain("RUMPUSB_UML is not set");
  });

  test("offline without a kernel package: status 77 and what to do", async () => {
    const env = { ...process.env, RUMPUSB_LAB_CACHE: folder };
    const run = await runLab(["--kernel", "qemu", "--offline", SCRIPT], env);
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
    [
      "a script that ends early and says that all is well",
      `check "one" true; exit 0; check "two" true`,
      [/^PASS one/, /^FAIL .*: the script ended before its last line, with status 0/],
    ],
    [
      "results that get lost",
      `check "one" true; printf .. >>"$LAB_RESULTS"`,
      [/^PASS one/, /^FAIL .*: 1 results have come of 3 that it reported/],
    ],
    [
      "an end that is none",
      `check "one" true; report "LAB-END"; echo o >/proc/sysrq-trigger; sleep 9`,
      [/^PASS one/, /^FAIL .*: its end was not reported/],
    ],
    [
      "a function of the library",
      `ended() { stop main; }; check "one" ended`,
      [/^FAIL .*: it defines functions of the library: ended/],
    ],
    ["no result", "true", [/^FAIL lab: the scripts reported no result/]],
    ["a request that nobody answers", `f() { host unplug stick; }; check "one" f`, [/^FAIL one: .*unplug/]],
    ["a power cut", "echo o >/proc/sysrq-trigger; sleep 9", [/^FAIL lab: the guest ended early/]],
  ];
  const rows = SCRIPTS.map((row, at) => [...row, at] as const);
  test.concurrent.each(rows)("%s", async (what, text, expected, at) => {
    const { lines, run } = await runText(what, text, ["--timeout", "20", "--processor", String(at)]);
    expect(lines, run.stderr).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
    expect(run.status).toBe(1);
  });

  test.concurrent("a script that hangs is ended at its time limit, with what it started; the next one runs", async () => {
    const hanging = join(folder, "hanging.sh");
    await writeFile(hanging, `check "one" true; check "two" sleep 777\n`);
    const next = `f() { refused pgrep -fx "sleep 777"; }; check "three" f`;
    const { lines, run } = await runText("next", next, ["--timeout", "3", hanging]);
    expect(lines, run.stderr).toEqual(["PASS one: ", "FAIL hanging.sh: not done after 3 s", "PASS three: "]);
  });

  test.concurrent("a guest that does not end is stopped at the time limit", async () => {
    const { lines } = await runText("endless", "pkill -STOP timeout; sleep 100", [
      "--timeout",
      "1",
      "--processor",
      "1",
    ]);
    expect(lines).toEqual(["FAIL lab: the guest was stopped at its time limit, before all scripts had run"]);
  });

  /** The results of a script with this text, after those that `args` name. */
  async function runText(name: string, text: string, args: readonly string[]) {
    const script = join(folder, `${name.replaceAll(" ", "-")}.sh`);
    await writeFile(script, `${text}\n`);
    const run = await runLab(["--kernel", "uml", ...args, script]);
    return { run, lines: run.results.map(({ outcome, name: check, reason }) => `${outcome} ${check}: ${reason}`) };
  }
});
