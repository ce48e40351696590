/** Things that must be refused, tried by `rumpusb sandbox`: as whoever runs the tests and, where that is root, as nobody too. */
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import type { SandboxSummary } from "../../src/cli/sandbox-command.js";

const COMMAND = resolve(import.meta.dirname, "../../bin/rumpusb.js");
const NOBODY = 65534;
const TRIAL_MS = 480_000;

interface Run {
  readonly status: number;
  readonly summary: SandboxSummary;
}

function runSandbox(args: readonly string[], uid?: number): Promise<Run> {
  const identity = uid === undefined ? {} : { uid, gid: uid };
  return new Promise((done, reject) => {
    const options = { ...identity, timeout: TRIAL_MS, maxBuffer: 1 << 24, cwd: "/" };
    execFile(process.execPath, [COMMAND, "sandbox", "--json", ...args], options, (error, stdout, stderr) => {
      const status = error === null ? 0 : error.code;
      if (typeof status !== "number" || stdout === "") reject(new Error(`${error?.message ?? "no output"} ${stderr}`));
      else done({ status, summary: JSON.parse(stdout) as SandboxSummary });
    });
  });
}

const PURPOSES = ["device", "serve"] as const;
const escaped = ({ acts }: SandboxSummary, purposes: readonly string[] = PURPOSES): string[] =>
  acts.filter((act) => act.outcome === "escaped" && purposes.includes(act.purpose)).map(({ name }) => name);

/** What was given lets these work where no filter is. */
const ESCAPES_OF_A_SERVER = [
  "TIOCSIG: send its programs a signal, on a terminal's master",
  "set SO_REUSEPORT of a socket that listens",
  "make a hole in memory that is shared",
  "listen again",
];

const isRoot = process.getuid?.() === 0;
const USERS: readonly (readonly [string, number | undefined])[] = isRoot
  ? [
      ["root", undefined],
      ["nobody", NOBODY],
    ]
  : [["this user", undefined]];

// At the same time: each tries one act after the other, mostly waiting for a process to start or to end.
describe.concurrent.each(USERS)("started by %s", (_name, uid) => {
  test.each(["standard", "strict"])(
    "%s profile: every act is refused or ends the process, status 0",
    async (profile) => {
      const { status, summary } = await runSandbox(profile === "strict" ? ["--strict"] : [], uid);
      expect(escaped(summary)).toEqual([]);
      for (const purpose of PURPOSES) {
        const names = summary.acts.filter((act) => act.purpose === purpose).map(({ name }) => name);
        expect(new Set(names).size).toBe(names.length);
        expect(names.length).toBeGreaterThanOrEqual(250);
      }
      expect(summary).toMatchObject({ profile, escapes: 0, layers: { seccomp: true, capabilities: true } });
      expect(status).toBe(0);
    },
    TRIAL_MS,
  );

  // The filter is the same for whoever starts it: once is enough.
  if (uid === undefined)
    test(
      "the filter alone, without namespaces and Landlock, lets nothing out either",
      async () => {
        const { summary } = await runSandbox(["--without", "namespaces", "landlock"], uid);
        expect(summary.level).toBe("seccomp-only");
        expect(escaped(summary)).toEqual([]);
      },
      TRIAL_MS,
    );

  test(
    "a broken sandbox shows: without the filter acts escape, level none, status 1",
    async () => {
      const { status, summary } = await runSandbox(["--without", "seccomp"], uid);
      expect(summary.level).toBe("none");
      for (const purpose of PURPOSES) {
        const anywhere = ["become dumpable", "become dumpable, with a high bit"];
        expect(escaped(summary, [purpose])).toEqual(expect.arrayContaining(anywhere));
        expect(escaped(summary, [purpose]).length).toBeGreaterThan(20);
      }
      expect(escaped(summary, ["serve"])).toEqual(expect.arrayContaining(ESCAPES_OF_A_SERVER));
      // The other layers hold on their own.
      expect(escaped(summary)).not.toContain("read /etc/passwd");
      expect(status).toBe(1);
    },
    TRIAL_MS,
  );
});
