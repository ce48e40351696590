import { describe, expect, test } from "vitest";
import { sweep, type Thread } from "./sandboxed.js";
import {
  ALLOWED,
  ALLOWED_WITH_ZEROES,
  BEYOND_FILTERS,
  ENDING,
  LAST_NUMBER,
  NOT_IMPLEMENTED,
  NOTHING_THERE,
} from "./syscalls.js";

/** What the filter of the tests answers where the real one kills (native/probe.cc). */
const WOULD_KILL = -4000;
const ENOENT = -2;
const ENOSYS = -38;
/** So that nothing waits: ppoll(2) with a time that cannot be read, futex(2) to wake nobody. */
const ARGUMENTS: Readonly<Record<number, readonly number[]>> = { 271: [0, 0, 1], 202: [0, 1, 0] };

const numbers = (table: Readonly<Record<string, number>>): Set<number> => new Set(Object.values(table));
const allowed = new Set([...numbers(ALLOWED), ...numbers(ALLOWED_WITH_ZEROES)]);
const nothingThere = numbers(NOTHING_THERE);
const notImplemented = numbers(NOT_IMPLEMENTED);
const everyNumber = Array.from({ length: LAST_NUMBER + 1 }, (_, number) => number);

type Outcome = "allowed" | "nothing there" | "not implemented" | "killed";

function expected(number: number): Outcome {
  if (allowed.has(number)) return "allowed";
  if (nothingThere.has(number)) return "nothing there";
  return notImplemented.has(number) ? "not implemented" : "killed";
}

/** An allowed call may fail in many ways, but not in those of the filter. */
function outcomeOf(number: number, result: number): Outcome {
  if (result === WOULD_KILL) return "killed";
  if (nothingThere.has(number) && result === ENOENT) return "nothing there";
  if (notImplemented.has(number) && result === ENOSYS) return "not implemented";
  return "allowed";
}

const PROFILES = [false, true];
const THREADS: readonly Thread[] = ["main", "worker", "pool"];
const CASES = PROFILES.flatMap((strict) => THREADS.map((thread) => [strict ? "strict" : "standard", thread] as const));

describe.runIf(process.arch === "x64")("every system call number", () => {
  test.each(CASES)("%s profile, %s thread: exactly the table", async (profile, thread) => {
    const tried = everyNumber.filter((number) => !ENDING.includes(number) && !BEYOND_FILTERS.includes(number));
    const calls = tried.map((number) => [number, ...(ARGUMENTS[number] ?? [-1, 0, 0, 0, 0, 0])]);
    const { results } = await sweep({ purpose: "device", strict: profile === "strict", thread, calls, real: false });
    const outcomes = tried.map((number, index) => [number, outcomeOf(number, results?.[index] ?? 0)]);
    expect(outcomes).toEqual(tried.map((number) => [number, expected(number)]));
  });

  test.each(CASES)("%s profile, %s thread: what is not allowed kills the whole process", async (profile, thread) => {
    for (const number of [41, 56, 59, 62, 101, 272, 321, 424, LAST_NUMBER]) {
      const result = await sweep({
        purpose: "device",
        strict: profile === "strict",
        thread,
        calls: [[number]],
        real: true,
      });
      expect({ number, ...result }).toMatchObject({ number, locked: true, results: undefined, signal: "SIGSYS" });
    }
  });

  test.each(CASES)("%s profile, %s thread: exit_group ends it in order", async (profile, thread) => {
    const result = await sweep({
      purpose: "device",
      strict: profile === "strict",
      thread,
      calls: [[231, 7]],
      real: true,
    });
    expect(result).toMatchObject({ locked: true, status: 7 });
  });

  test("the kernel's own trampolines reach nobody", async () => {
    for (const number of BEYOND_FILTERS) {
      const { results, signal } = await sweep({
        purpose: "device",
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
  const anonymous = (protection: number): number[] => [MMAP, 0, 4096, protection, 0x22, -1, 0];

  const ROWS = [
    ["mmap without execution", anonymous(PROT.READ_WRITE), false, false],
    ["mmap with execution", anonymous(PROT.ALL), false, true],
    ["mmap, execution alone", anonymous(PROT.EXEC), false, true],
    ["mprotect with execution", [MPROTECT, 0, 0, PROT.EXEC], false, true],
    ["tgkill of process 1 from elsewhere", [TGKILL, 4_000_000, 1, 0], true, true],
    ["fcntl F_GETFD", [FCNTL, 1, 1], false, false],
    ["fcntl F_DUPFD", [FCNTL, 1, 0], true, true],
    ["fcntl F_DUPFD_CLOEXEC", [FCNTL, 1, 1030], true, true],
    ["prctl PR_SET_NAME", [PRCTL, 15, 0], false, false],
    ["prctl PR_SET_DUMPABLE", [PRCTL, 4, 1], true, true],
    ["recvmsg where the device comes", [RECVMSG, 4, 0, 0x40], false, false],
    ["recvmsg on the channel", [RECVMSG, 3, 0, 0x40], true, true],
    ["ioctl FIONREAD anywhere", [IOCTL, 1, 0x541b, 0], false, false],
    ["ioctl USBDEVFS_RESET on the device", [IOCTL, 5, 0x5514, 0], false, false],
    ["ioctl USBDEVFS_RESET elsewhere", [IOCTL, 3, 0x5514, 0], true, true],
    ["ioctl USBDEVFS_ALLOC_STREAMS on the device", [IOCTL, 5, 0x8008551c, 0], false, false],
    ["ioctl USBDEVFS_FREE_STREAMS on the device", [IOCTL, 5, 0x8008551d, 0], false, false],
    ["ioctl USBDEVFS_ALLOC_STREAMS elsewhere", [IOCTL, 3, 0x8008551c, 0], true, true],
    ["ioctl USBDEVFS_CONNECT on the device", [IOCTL, 5, 0x5517, 0], true, true],
    ["ioctl TIOCSTI", [IOCTL, 1, 0x5412, 0], true, true],
  ] as const;

  test.each([1, 2, 8])(
    "%i devices: usbfs requests reach their numbers, not the one before nor the one behind",
    async (deviceCount) => {
      const FIRST = 5;
      const HIGH_BIT = 2 ** 31;
      const requests = [0x5514, 0x8008551c];
      const inside = Array.from({ length: deviceCount }, (_, slot) => FIRST + slot);
      const outside = [0, FIRST - 1, FIRST + deviceCount, FIRST + 2 * deviceCount, FIRST + HIGH_BIT, 0xffff_ffff];
      const calls = [...inside, ...outside].flatMap((fd) => requests.map((request) => [IOCTL, fd, request, 0]));
      const { results } = await sweep({
        purpose: "device",
        strict: false,
        thread: "main",
        calls,
        real: false,
        deviceCount,
      });
      const killed = calls.map(([, fd], index) => [fd, results?.[index] === WOULD_KILL]);
      expect(killed).toEqual(calls.map(([, fd = 0]) => [fd, !inside.includes(fd)]));
    },
  );

  test("with room for eight: no request that one device is refused, and descriptors come over one socket", async () => {
    const calls = [5, 6, 12].flatMap((fd) => [
      [IOCTL, fd, 0x5517, 0],
      [RECVMSG, fd, 0, 0x40],
    ]);
    const { results } = await sweep({
      purpose: "device",
      strict: false,
      thread: "main",
      calls,
      real: false,
      deviceCount: 8,
    });
    expect(results).toEqual(calls.map(() => WOULD_KILL));
  });

  test.each([false, true])("strict %s", async (strict) => {
    const { results } = await sweep({
      purpose: "device",
      strict,
      thread: "main",
      calls: ROWS.map(([, call]) => call),
      real: false,
    });
    const killed = ROWS.map(([name], index) => [name, results?.[index] === WOULD_KILL]);
    expect(killed).toEqual(ROWS.map(([name, , standard, inStrict]) => [name, strict ? inStrict : standard]));
  });
});
