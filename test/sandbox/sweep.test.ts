import { describe, expect, test } from "vitest";
import type { LockPurpose } from "../../src/rumpuser/real/lock.js";
import { sweep, type Thread } from "./sandboxed.js";
import {
  ALLOWED,
  ALLOWED_FOR,
  ALLOWED_WITH_ZEROES,
  BEYOND_FILTERS,
  DONE_FOR,
  ENDING,
  LAST_NUMBER,
  NO_SUCH_OPTION,
  NOT_IMPLEMENTED,
  NOTHING_THERE,
} from "./syscalls.js";

/** What the filter of the tests answers where the real one kills (native/probe.cc). */
const WOULD_KILL = -4000;
const ENOENT = -2;
const EBADF = -9;
const ENOSYS = -38;
const ENOPROTOOPT = -92;
/** So that nothing waits: ppoll(2) with a time that cannot be read, futex(2) to wake nobody. */
const ARGUMENTS: Readonly<Record<number, readonly number[]>> = { 271: [0, 0, 1], 202: [0, 1, 0] };

type Outcome = "allowed" | "done" | "no such option" | "nothing there" | "not implemented" | "killed";

/** What becomes of each number that is not killed. */
function tableOf(purpose: LockPurpose): ReadonlyMap<number, Outcome> {
  const rows = (outcome: Outcome, ...tables: Readonly<Record<string, number>>[]): [number, Outcome][] =>
    tables.flatMap((table) => Object.values(table).map((number): [number, Outcome] => [number, outcome]));
  return new Map([
    ...rows("allowed", ALLOWED, ALLOWED_WITH_ZEROES, ALLOWED_FOR[purpose]),
    ...rows("done", DONE_FOR[purpose]),
    ...rows("no such option", NO_SUCH_OPTION),
    ...rows("nothing there", NOTHING_THERE),
    ...rows("not implemented", NOT_IMPLEMENTED),
  ]);
}

/**
 * An allowed call may fail in many ways, but not in those of the filter; and with these arguments none that could be "done" succeeds.
 */
function outcomeOf(result: number, expected: Outcome | undefined): Outcome {
  if (result === WOULD_KILL) return "killed";
  if (expected === "done" && result === 0) return "done";
  if (expected === "no such option" && result === ENOPROTOOPT) return "no such option";
  if (expected === "nothing there" && result === ENOENT) return "nothing there";
  if (expected === "not implemented" && result === ENOSYS) return "not implemented";
  return "allowed";
}

interface Sweeping {
  readonly purpose: LockPurpose;
  readonly strict: boolean;
  readonly thread: Thread;
}

/** Tries every number. @returns those whose outcome is not that of the table, with what came of them. */
async function deviations(sweeping: Sweeping, table: ReadonlyMap<number, Outcome>): Promise<[number, Outcome][]> {
  const all = Array.from({ length: LAST_NUMBER + 1 }, (_, number) => number);
  const tried = all.filter((number) => !ENDING.includes(number) && !BEYOND_FILTERS.includes(number));
  const calls = tried.map((number) => [number, ...(ARGUMENTS[number] ?? [-1, 0, 0, 0, 0, 0])]);
  const { results } = await sweep({ ...sweeping, calls, real: false });
  expect(results).toHaveLength(tried.length);
  const outcomes = tried.map((number, index): [number, Outcome] => [
    number,
    outcomeOf(results?.[index] ?? 0, table.get(number)),
  ]);
  return outcomes.filter(([number, outcome]) => outcome !== (table.get(number) ?? "killed"));
}

const PURPOSES: readonly LockPurpose[] = ["device", "serve"];
const THREADS: readonly Thread[] = ["main", "worker", "pool"];
const CASES = PURPOSES.flatMap((purpose) =>
  ["standard", "strict"].flatMap((profile) => THREADS.map((thread) => [purpose, profile, thread] as const)),
);

describe.runIf(process.arch === "x64")("every system call number", () => {
  test.each(CASES)("for %s, %s profile, %s thread: exactly the table", async (purpose, profile, thread) => {
    const sweeping = { purpose, strict: profile === "strict", thread };
    expect(await deviations(sweeping, tableOf(purpose))).toEqual([]);
  });

  test.each([
    ["device", "serve", [50, 52, 283, 286, 288]],
    ["serve", "device", [50, 52, 283, 286, 288]],
  ] as const)("a table that is wrong shows: locked for %s, expected for %s", async (purpose, other, differ) => {
    const wrong = await deviations({ purpose, strict: false, thread: "main" }, tableOf(other));
    expect(wrong.map(([number]) => number)).toEqual(differ);
  });

  test.each(CASES)(
    "for %s, %s profile, %s thread: the others kill the whole process",
    async (purpose, profile, thread) => {
      const common = { purpose, strict: profile === "strict", thread, real: true };
      for (const number of [41, 56, 59, 62, 101, 272, 321, 424, LAST_NUMBER]) {
        const result = await sweep({ ...common, calls: [[number]] });
        expect({ number, ...result }).toMatchObject({ number, locked: true, results: undefined, signal: "SIGSYS" });
      }
    },
  );

  test.each(CASES)("for %s, %s profile, %s thread: exit_group ends it in order", async (purpose, profile, thread) => {
    const result = await sweep({ purpose, strict: profile === "strict", thread, calls: [[231, 7]], real: true });
    expect(result).toMatchObject({ locked: true, status: 7 });
  });

  test.each(PURPOSES)("the kernel's own trampolines reach nobody, locked for %s", async (purpose) => {
    for (const number of BEYOND_FILTERS) {
      const { results, signal } = await sweep({
        purpose,
        strict: false,
        thread: "main",
        calls: [[number]],
        real: true,
      });
      expect(results?.[0] ?? signal).toSatisfy(
        (how: unknown) => how === "SIGSYS" || how === "SIGILL" || Number(how) < 0,
      );
    }
  });
});

describe.runIf(process.arch === "x64")("calls whose arguments matter", () => {
  const PROT = { NONE: 0, READ_WRITE: 3, EXEC: 4, ALL: 7 };
  const MMAP = 9;
  const MPROTECT = 10;
  const TGKILL = 234;
  const FCNTL = 72;
  const PRCTL = 157;
  const RECVMSG = 47;
  const IOCTL = 16;
  const SETSOCKOPT = 54;
  const GETSOCKOPT = 55;
  const HIGH_BIT = 2 ** 31;
  const ON_MAIN = { strict: false, thread: "main", real: false } as const;
  const anonymous = (protection: number): number[] => [MMAP, 0, 4096, protection, 0x22, -1, 0];
  const option = (level: number, name: number): number[] => [SETSOCKOPT, -1, level, name, 0, 4];

  /** What is killed: nothing, everything, or only what the strict profile refuses. */
  type Kills = "none" | "all" | "strict";
  const ROWS: readonly (readonly [name: string, call: readonly number[], device: Kills, serve: Kills])[] = [
    ["mmap without execution", anonymous(PROT.READ_WRITE), "none", "none"],
    ["mmap with execution", anonymous(PROT.ALL), "strict", "strict"],
    ["mmap, execution alone", anonymous(PROT.EXEC), "strict", "strict"],
    ["mprotect with execution", [MPROTECT, 0, 0, PROT.EXEC], "strict", "strict"],
    ["tgkill of process 1 from elsewhere", [TGKILL, 4_000_000, 1, 0], "all", "all"],
    ["fcntl F_GETFD", [FCNTL, 1, 1], "none", "none"],
    ["fcntl F_DUPFD", [FCNTL, 1, 0], "all", "all"],
    ["fcntl F_DUPFD_CLOEXEC", [FCNTL, 1, 1030], "all", "all"],
    ["prctl PR_SET_NAME", [PRCTL, 15, 0], "none", "none"],
    ["prctl PR_SET_DUMPABLE", [PRCTL, 4, 1], "all", "all"],
    ["recvmsg where descriptors come", [RECVMSG, 4, 0, 0x40], "none", "none"],
    ["recvmsg on the channel", [RECVMSG, 3, 0, 0x40], "all", "all"],
    ["recvmsg on the next descriptor", [RECVMSG, 5, 0, 0x40], "all", "all"],
    ["ioctl FIONREAD anywhere", [IOCTL, 1, 0x541b, 0], "none", "none"],
    ["ioctl TCGETS", [IOCTL, 1, 0x5401, 0], "none", "none"],
    ["ioctl USBDEVFS_RESET on the device", [IOCTL, 5, 0x5514, 0], "none", "all"],
    ["ioctl USBDEVFS_RESET elsewhere", [IOCTL, 3, 0x5514, 0], "all", "all"],
    ["ioctl USBDEVFS_RESET on no descriptor", [IOCTL, -1, 0x5514, 0], "all", "all"],
    ["ioctl USBDEVFS_ALLOC_STREAMS on the device", [IOCTL, 5, 0x8008551c, 0], "none", "all"],
    ["ioctl USBDEVFS_FREE_STREAMS on the device", [IOCTL, 5, 0x8008551d, 0], "none", "all"],
    ["ioctl USBDEVFS_ALLOC_STREAMS elsewhere", [IOCTL, 3, 0x8008551c, 0], "all", "all"],
    ["ioctl USBDEVFS_CONNECT on the device", [IOCTL, 5, 0x5517, 0], "all", "all"],
    ["ioctl TCGETS2", [IOCTL, 1, 0x802c542a, 0], "all", "none"],
    ["ioctl TCSETS2", [IOCTL, 1, 0x402c542b, 0], "all", "none"],
    ["ioctl TIOCPKT", [IOCTL, 1, 0x5420, 0], "all", "none"],
    ["ioctl TCSETS", [IOCTL, 1, 0x5402, 0], "all", "all"],
    ["ioctl TCSETSW2", [IOCTL, 1, 0x402c542c, 0], "all", "all"],
    ["ioctl TCFLSH", [IOCTL, 1, 0x540b, 0], "all", "all"],
    ["ioctl TIOCEXCL", [IOCTL, 1, 0x540c, 0], "all", "all"],
    ["ioctl TIOCSCTTY", [IOCTL, 1, 0x540e, 0], "all", "all"],
    ["ioctl TIOCSTI", [IOCTL, 1, 0x5412, 0], "all", "all"],
    ["ioctl TIOCLINUX", [IOCTL, 1, 0x541c, 0], "all", "all"],
    ["ioctl TIOCSETD", [IOCTL, 1, 0x5423, 0], "all", "all"],
    ["ioctl TIOCSIG", [IOCTL, 1, 0x40045436, 0], "all", "all"],
    ["ioctl TIOCGPTPEER", [IOCTL, 1, 0x5441, 0], "all", "all"],
    ["setsockopt TCP_NODELAY", option(6, 1), "all", "none"],
    ["setsockopt TCP_MAXSEG", option(6, 2), "all", "all"],
    ["setsockopt TCP_ULP", option(6, 31), "all", "all"],
    ["setsockopt SO_DEBUG, whose number is the same", option(1, 1), "all", "all"],
    ["setsockopt SO_REUSEADDR", option(1, 2), "all", "all"],
    ["setsockopt SO_PASSCRED", option(1, 16), "all", "all"],
    ["setsockopt SO_ATTACH_FILTER", option(1, 26), "all", "all"],
    ["setsockopt IP_TOS, whose number is the same", option(0, 1), "all", "all"],
    ["setsockopt, the level with a high bit", option(6 + HIGH_BIT, 1), "all", "all"],
    ["setsockopt, the option with a high bit", option(6, 1 + HIGH_BIT), "all", "all"],
  ];

  test.each(PURPOSES)(
    "locked for %s: of a socket its kind and its error are read, and nothing else",
    async (purpose) => {
      const read = (level: number, name: number): number[] => [GETSOCKOPT, -1, level, name, 0, 0];
      const carriedOut = [read(1, 3), read(1, 4)];
      // SO_PEERCRED, SO_ACCEPTCONN, SO_PEERSEC, SO_PEERPIDFD; the same numbers at other levels; high bits.
      const others = [17, 30, 31, 77].map((name) => read(1, name));
      const elsewhere = [read(0, 3), read(6, 4), read(41, 3), read(1 + HIGH_BIT, 3), read(1, 3 + HIGH_BIT)];
      const calls = [...carriedOut, ...others, ...elsewhere];
      const { results } = await sweep({ ...ON_MAIN, purpose, calls });
      expect(results).toEqual(calls.map((call) => (carriedOut.includes(call) ? EBADF : ENOPROTOOPT)));
    },
  );

  test.each([1, 2, 8])(
    "%i devices: usbfs requests reach their numbers, not the one before nor the one behind",
    async (deviceCount) => {
      const FIRST = 5;
      const requests = [0x5514, 0x8008551c];
      const inside = Array.from({ length: deviceCount }, (_, slot) => FIRST + slot);
      const outside = [0, FIRST - 1, FIRST + deviceCount, FIRST + 2 * deviceCount, FIRST + HIGH_BIT, 0xffff_ffff];
      const calls = [...inside, ...outside].flatMap((fd) => requests.map((request) => [IOCTL, fd, request, 0]));
      const { results } = await sweep({ ...ON_MAIN, purpose: "device", calls, deviceCount });
      const killed = calls.map(([, fd], index) => [fd, results?.[index] === WOULD_KILL]);
      expect(killed).toEqual(calls.map(([, fd = 0]) => [fd, !inside.includes(fd)]));
    },
  );

  test("with room for eight: no request that one device is refused, and descriptors come over one socket", async () => {
    const calls = [5, 6, 12].flatMap((fd) => [
      [IOCTL, fd, 0x5517, 0],
      [RECVMSG, fd, 0, 0x40],
    ]);
    const { results } = await sweep({ ...ON_MAIN, purpose: "device", calls, deviceCount: 8 });
    expect(results).toEqual(calls.map(() => WOULD_KILL));
  });

  test.each(PURPOSES.flatMap((purpose) => [false, true].map((strict) => [purpose, strict] as const)))(
    "locked for %s, strict %s",
    async (purpose, strict) => {
      const { results } = await sweep({ ...ON_MAIN, purpose, strict, calls: ROWS.map(([, call]) => call) });
      const killed = ROWS.map(([name], index) => [name, results?.[index] === WOULD_KILL]);
      const expected = ROWS.map(([name, , device, serve]): [string, boolean] => {
        const kills = purpose === "device" ? device : serve;
        return [name, kills === "all" || (strict && kills === "strict")];
      });
      expect(killed).toEqual(expected);
    },
  );
});
