import { expect, test } from "vitest";
import { type EndedLife, RestartPolicy } from "../../src/session/restart-policy.js";

const life = (changes: Partial<EndedLife> = {}): EndedLife => ({
  completedRequests: 0,
  livedMs: 10,
  wasSilent: false,
  outOfResources: false,
  ...changes,
});

test("work was done: the next one at once, however often", () => {
  const policy = new RestartPolicy();
  for (let death = 0; death < 100; death++)
    expect(policy.ended(life({ completedRequests: 1 }))).toEqual({ kind: "restart", delayMs: 0 });
});

test("none was: longer and longer waits, and after five in a row quarantine", () => {
  const policy = new RestartPolicy();
  const decisions = Array.from({ length: 5 }, () => policy.ended(life()));
  expect(decisions).toEqual([
    ...[100, 200, 400, 800].map((delayMs) => ({ kind: "restart", delayMs })),
    { kind: "quarantine", failures: 5 },
  ]);
});

test.each([["a request", { completedRequests: 1 }] as const, ["a minute", { livedMs: 60_000 }] as const])(
  "%s in between, and it counts from the beginning",
  (_name, good) => {
    const policy = new RestartPolicy();
    for (let death = 0; death < 4; death++) policy.ended(life());
    expect(policy.ended(life(good))).toEqual({ kind: "restart", delayMs: 0 });
    expect(policy.ended(life())).toEqual({ kind: "restart", delayMs: 100 });
  },
);

test("the machine had nothing left for it: longer and longer waits without end, and it counts for nothing", () => {
  const policy = new RestartPolicy();
  for (let death = 0; death < 4; death++) policy.ended(life());
  const decisions = Array.from({ length: 2_000 }, () => policy.ended(life({ outOfResources: true })));
  expect(decisions.slice(0, 8)).toEqual(
    [100, 200, 400, 800, 1600, 3200, 5000, 5000].map((delayMs) => ({ kind: "restart", delayMs })),
  );
  expect(decisions.at(-1)).toEqual({ kind: "restart", delayMs: 5000 });
  expect([policy.shortages, policy.failures]).toEqual([2_000, 4]);
  expect(policy.ended(life())).toEqual({ kind: "quarantine", failures: 5 });
  expect(policy.ended(life({ outOfResources: true }))).toEqual({ kind: "restart", delayMs: 100 });
});

test("a process that was silent and had done nothing may be slow: the next one gets twice the time, bounded", () => {
  const policy = new RestartPolicy();
  const beats: number[] = [];
  for (let death = 0; death < 7; death++) {
    beats.push(policy.heartbeatMs);
    policy.ended(life({ wasSilent: true }));
  }
  expect(beats).toEqual([60, 120, 240, 480, 960, 1920, 2000]);
  policy.ended(life({ completedRequests: 1, wasSilent: true }));
  expect(policy.heartbeatMs).toBe(60);
});
