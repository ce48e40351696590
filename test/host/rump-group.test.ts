import { expect, test } from "vitest";
import { RumpGroup, type Shared } from "../../src/host/rump-group.js";
import { noSandbox } from "../../src/host/sandbox/sandbox.js";
import type { ProcessExit } from "../../src/host/process-exit.js";
import type { RumpPlace } from "../../src/host/spawn.js";
import type { SharedSpawn } from "../../src/host/spawn-shared.js";
import { type Deferred, deferred } from "../../src/host/waits.js";
import { type DeviceConfig, MAX_SLOTS } from "../../src/rump-process/config.js";
import { createVirtualClock } from "../../src/rumpuser/simulated.js";

const CONFIG: DeviceConfig = { bus: { kind: "usbip", busId: "1-1" }, drivers: [] };

/** Processes that are numbers; places in them are never begun. */
class Started {
  readonly exits: Deferred<ProcessExit>[] = [];
  readonly ahead: (boolean | undefined)[] = [];
  failure: Error | undefined;
  /** Answers undefined: the process is ending. */
  readonly closed = new Set<number>();

  readonly spawn = async ({ ahead }: SharedSpawn): Promise<Shared> => {
    this.ahead.push(ahead);
    if (this.failure !== undefined) throw this.failure;
    const exit = deferred<ProcessExit>();
    const pid = this.exits.push(exit);
    const lease = (): RumpPlace | undefined =>
      this.closed.has(pid) ? undefined : ({ pid, locked: new Promise(() => {}), exited: exit.promise } as RumpPlace);
    return { exited: exit.promise, lease };
  };
}

function group(): { started: Started; group: RumpGroup } {
  const started = new Started();
  const made = new RumpGroup({
    clock: createVirtualClock(),
    sandbox: noSandbox,
    onLine: () => {},
    drivers: [],
    spawn: started.spawn,
  });
  return { started, group: made };
}

test("devices that come at once share one process, and those in reserve another one", async () => {
  const { started, group: it } = group();
  const lives = await Promise.all([1, 2, 3].map(async () => await it.lease(CONFIG, false, undefined)));
  expect(lives.map(({ pid }) => pid)).toEqual([1, 1, 1]);
  const spares = await Promise.all(lives.map(async (life) => await it.lease(CONFIG, true, life)));
  expect(spares.map(({ pid }) => pid)).toEqual([2, 2, 2]);
  expect(started.ahead).toEqual([false, true]);
});

test("a process is full with eight; the ninth device starts the next one", async () => {
  const { group: it } = group();
  const pids: number[] = [];
  for (let device = 0; device <= MAX_SLOTS; device++) pids.push((await it.lease(CONFIG, false, undefined)).pid);
  expect(pids).toEqual([...Array.from({ length: MAX_SLOTS }, () => 1), 2]);
});

test("one that has moved into the reserve has its next place where the others are", async () => {
  const { group: it } = group();
  const first = await it.lease(CONFIG, false, undefined);
  await it.lease(CONFIG, false, undefined);
  const moved = await it.lease(CONFIG, true, first);
  expect((await it.lease(CONFIG, true, moved)).pid).toBe(first.pid);
});

test("a process that has ended, or is about to, gets no more devices", async () => {
  const { started, group: it } = group();
  await it.lease(CONFIG, false, undefined);
  started.exits[0]?.resolve({ code: null, signal: "SIGKILL" });
  await started.exits[0]?.promise;
  await Promise.resolve();
  expect((await it.lease(CONFIG, false, undefined)).pid).toBe(2);
  started.closed.add(2);
  expect((await it.lease(CONFIG, false, undefined)).pid).toBe(3);
});

test("a process that does not start: all who wait for it are told, and the next one is tried", async () => {
  const { started, group: it } = group();
  started.failure = new Error("no processes left");
  const waiting = [1, 2].map(async () => await it.lease(CONFIG, false, undefined));
  expect((await Promise.allSettled(waiting)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(started.ahead).toHaveLength(1);
  started.failure = undefined;
  expect((await it.lease(CONFIG, false, undefined)).pid).toBe(1);
});
