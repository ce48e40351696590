import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { libraryFolders } from "../../src/host/sandbox/binds.js";
import { namespaceHelp } from "../../src/host/sandbox/help.js";
import { levelOf, NO_LAYERS } from "../../src/host/sandbox/levels.js";
import { childrenAmongAll, parseParent, parseStatus, readChildren } from "../../src/host/sandbox/proc-state.js";
import { createSandbox, noSandbox, parseFailure, SERVING_LIMITS } from "../../src/host/sandbox/sandbox.js";
import { problemsOfThread, verifySandbox } from "../../src/host/sandbox/verify.js";

const MIB = 1024 ** 2;

const LOCKED_STATUS = `Name:\tnode
Uid:\t1000\t1000\t1000\t1000
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t2
`;

describe("what /proc says of a thread", () => {
  test("a locked one has no problem", () => {
    expect(problemsOfThread(parseStatus(7, LOCKED_STATUS))).toEqual([]);
  });

  test.each([
    ["Seccomp:\t2", "Seccomp:\t0", /Seccomp is 0/],
    ["Seccomp_filters:\t2", "Seccomp_filters:\t1", /1 filters/],
    ["NoNewPrivs:\t1", "NoNewPrivs:\t0", /NoNewPrivs is 0/],
    ["CapEff:\t0000000000000000", "CapEff:\t0000000000200000", /capabilities 200000h/],
    ["CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff", /capabilities 1ffffffffffh/],
    ["Uid:\t1000\t1000\t1000\t1000", "Uid:\t1000\t1000\t0\t1000", /super-user/],
  ])("%s changed to %s is one", (line, instead, problem) => {
    const problems = problemsOfThread(parseStatus(7, LOCKED_STATUS.replace(line, instead)));
    expect(problems).toEqual([expect.stringMatching(problem)]);
  });

  test("a line that is missing is an error, not a pass", () => {
    expect(() => parseStatus(7, LOCKED_STATUS.replace(/Seccomp:.*\n/, ""))).toThrow(/no line Seccomp/);
  });

  test("the parent's id stands behind a name that may hold anything", () => {
    expect(parseParent("12 (a) b) S 3 4 5")).toBe(3);
  });

  test("a child is found, on kernels with a children file and on others; a process that has gone has none", async () => {
    const child = spawn("sleep", ["10"]);
    await once(child, "spawn");
    try {
      for (const children of [readChildren, childrenAmongAll]) {
        expect(children(process.pid)).toContain(child.pid);
        expect(children(4_194_305)).toEqual([]);
      }
    } finally {
      child.kill();
    }
  });
});

describe("a process that is not locked gets no device", () => {
  test("this process is not; everything that is wrong is named", async () => {
    const plan = await createSandbox({ profile: "standard" }).plan();
    expect(() => verifySandbox(plan, process.pid)).toThrow(
      expect.objectContaining({
        code: "SANDBOX_UNAVAILABLE",
        message: expect.stringMatching(/Seccomp is .*shares the mnt namespace/),
      }),
    );
  });

  test("one that has gone", async () => {
    const plan = await createSandbox({ profile: "standard" }).plan();
    expect(() => verifySandbox(plan, 4_194_305)).toThrow(expect.objectContaining({ code: "SANDBOX_UNAVAILABLE" }));
  });

  test("--no-sandbox asks for nothing", async () => {
    const plan = await noSandbox.plan();
    expect(verifySandbox(plan, process.pid)).toEqual({ level: "none", layers: NO_LAYERS, missing: [] });
  });
});

describe("levels", () => {
  const all = { namespaces: true, landlock: true, seccomp: true, capabilities: true, limits: true };
  test.each([
    [all, "full"],
    [{ ...all, landlock: false }, "full"],
    [{ ...all, namespaces: false }, "no-userns"],
    [{ ...all, namespaces: false, landlock: false }, "seccomp-only"],
    [{ ...all, seccomp: false }, "none"],
    [NO_LAYERS, "none"],
  ] as const)("%j is %s", (layers, level) => {
    expect(levelOf(layers)).toBe(level);
  });

  test("what is left out is named with its reason", async () => {
    const plan = await createSandbox({ profile: "standard", without: ["landlock"] }).plan();
    expect(plan.missing).toEqual([{ layer: "landlock", reason: "left out on request" }]);
    expect(plan.command("x.js", []).args).not.toContain("--landlock");
  });

  test("a process that is started ahead compiles everything at once, one that is waited for does not", async () => {
    for (const sandbox of [createSandbox({ profile: "standard" }), noSandbox]) {
      const plan = await sandbox.plan();
      expect(plan.command("x.js", ["{}"]).args).not.toContain("--no-lazy");
      expect(plan.command("x.js", ["{}"], { eager: true }).args.slice(-3)).toEqual(["--no-lazy", "x.js", "{}"]);
    }
  });

  test.each([
    [{}, "64", String(512 * MIB)],
    [{ slots: 1 }, "64", String(512 * MIB)],
    [{ slots: 8 }, "176", String(1408 * MIB)],
    [{ limits: SERVING_LIMITS }, "65536", String(4096 * MIB)],
  ])("%j: what the process may have", async (options, openFiles, dataBytes) => {
    const { args } = (await createSandbox({ profile: "standard" }).plan()).command("x.js", [], options);
    expect(args[args.indexOf("--open-files") + 1]).toBe(openFiles);
    expect(args[args.indexOf("--data-bytes") + 1]).toBe(dataBytes);
  });

  test("the user's drivers are for those that load them", async () => {
    const plan = await createSandbox({ profile: "standard", extraPaths: ["/etc/hostname"] }).plan();
    expect(plan.command("x.js", []).args).toContain("/etc/hostname");
    expect(plan.command("x.js", [], { limits: SERVING_LIMITS, extras: false }).args).not.toContain("/etc/hostname");
  });

  test("the launcher's last word is read", () => {
    expect(parseFailure("rumpusb-launcher: namespaces: unshare user: Operation not permitted\n")).toEqual({
      layer: "namespaces",
      reason: "unshare user: Operation not permitted",
    });
    expect(parseFailure("Segmentation fault")).toEqual({ layer: "unknown", reason: "Segmentation fault" });
  });
});

describe("why there are no namespaces", () => {
  let root = "";
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "rumpusb-sys-"));
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  test.each([
    ["kernel/apparmor_restrict_unprivileged_userns", "1\n", /apparmor_parser/],
    ["kernel/unprivileged_userns_clone", "0\n", /unprivileged_userns_clone=1/],
    ["user/max_user_namespaces", "0\n", /max_user_namespaces/],
  ])("%s: the help names the switch", (path, value, help) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), value);
    expect(namespaceHelp("/usr/bin/rumpusb-launcher", root)).toMatch(help);
  });

  test("no switch known: no help", () => {
    expect(namespaceHelp("/usr/bin/rumpusb-launcher", root)).toBeUndefined();
  });
});

test("the folders of mapped libraries, each once", () => {
  const maps = `7f00-7f01 r-xp 00000000 fd:00 12 /usr/lib/x86_64-linux-gnu/libc.so.6
7f01-7f02 r--p 00000000 fd:00 13 /usr/lib/x86_64-linux-gnu/libm.so.6
7f02-7f03 r--p 00000000 fd:00 14 /opt/my libs/libz.so
7f03-7f04 rw-p 00000000 00:00 0 [heap]
7f04-7f05 r--p 00000000 fd:00 15 /usr/bin/node
`;
  expect(libraryFolders(maps)).toEqual(["/usr/lib/x86_64-linux-gnu", "/opt/my libs"]);
});
