import { describe, expect, test } from "vitest";
import { createSeededRandom, createSimulatedRumpuser, SimulationError } from "../../src/rumpuser/simulated.js";

const sleep = (clock: { startTimer(ms: number, fire: () => void): unknown }, ms: number) =>
  new Promise<void>((resolve) => {
    clock.startTimer(ms, resolve);
  });

describe("virtual clock", () => {
  test("an hour of sleeping takes no time, and the clock shows it", async () => {
    const sim = createSimulatedRumpuser({ seed: 1 });
    await sim.run(async () => {
      for (let i = 0; i < 60; i++) await sleep(sim.clock, 60_000);
    });
    expect(sim.clock.nowMs()).toBe(3_600_000);
  });

  test("timers fire by time, and by age where the time is the same", async () => {
    const { clock } = createSimulatedRumpuser({ seed: 1 });
    const fired: string[] = [];
    clock.startTimer(5, () => fired.push("late"));
    clock.startTimer(1, () => fired.push("a"));
    clock.startTimer(1, () => fired.push("b"));
    clock.startTimer(0, () => {
      fired.push("first");
      clock.startTimer(1, () => fired.push("c"));
    });
    await clock.run();
    expect(fired).toEqual(["first", "a", "b", "c", "late"]);
    expect(clock.nowMs()).toBe(5);
  });

  test("a timer never fires inside startTimer, and not after cancel", async () => {
    const { clock } = createSimulatedRumpuser({ seed: 1 });
    let fired = 0;
    clock.startTimer(0, () => fired++);
    expect(fired).toBe(0);
    clock.startTimer(0, () => fired++).cancel();
    expect(clock.pendingTimers).toBe(1);
    await clock.run();
    expect(fired).toBe(1);
  });

  test("advance stops at the time asked for", async () => {
    const { clock } = createSimulatedRumpuser({ seed: 1 });
    const fired: number[] = [];
    for (const ms of [10, 20, 30]) clock.startTimer(ms, () => fired.push(ms));
    await clock.advance(20);
    expect(fired).toEqual([10, 20]);
    expect(clock.nowMs()).toBe(20);
  });

  test("promise jobs run before the next timer", async () => {
    const sim = createSimulatedRumpuser({ seed: 1 });
    const order: string[] = [];
    await sim.run(async () => {
      sim.clock.startTimer(1, () => order.push("timer 1"));
      await sleep(sim.clock, 0);
      for (let i = 0; i < 100; i++) await Promise.resolve();
      order.push("jobs");
      await sleep(sim.clock, 1);
    });
    expect(order).toEqual(["jobs", "timer 1"]);
  });
});

describe("run", () => {
  test("hands on what the scenario returns or throws", async () => {
    const sim = createSimulatedRumpuser({ seed: 1 });
    await expect(sim.run(async () => 42)).resolves.toBe(42);
    await expect(sim.run(() => Promise.reject(new Error("as planned")))).rejects.toThrow("as planned");
  });

  test("a wait that nothing can end is a deadlock with the time in the message", async () => {
    const sim = createSimulatedRumpuser({ seed: 1 });
    const stuck = sim.run(async () => {
      await sleep(sim.clock, 7);
      await new Promise<void>(() => undefined);
    });
    await expect(stuck).rejects.toThrow(SimulationError);
    await expect(stuck).rejects.toThrow("at 7 ms no timer is left");
  });
});

test("the seed decides every random byte", () => {
  const bytes = (seed: number) => {
    const target = new Uint8Array(64);
    createSeededRandom(seed).fill(target);
    return target;
  };
  expect(bytes(7)).toEqual(bytes(7));
  expect(bytes(7)).not.toEqual(bytes(8));
  expect(new Set(bytes(0)).size).toBeGreaterThan(32);
});

test("components come out of the map; others are refused by name", async () => {
  const sim = createSimulatedRumpuser({ seed: 1, components: new Map([["umass", { name: "umass" }]]) });
  await expect(sim.loadComponent("umass")).resolves.toEqual({ name: "umass" });
  await expect(sim.loadComponent("uhid")).rejects.toThrow('component "uhid"');
});

test("the log is kept", () => {
  const sim = createSimulatedRumpuser({ seed: 1 });
  sim.log.write({ level: "info", source: "umass0", message: "attached" });
  expect(sim.entries).toEqual([{ level: "info", source: "umass0", message: "attached" }]);
});
