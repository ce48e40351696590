import { expect, test } from "vitest";
import { CommandQueue } from "../../../src/dev/scsipi/queue.js";

test("tasks run one at a time in the order of their calls, also after one that fails", async () => {
  const queue = new CommandQueue();
  const events: string[] = [];
  const task =
    (name: string, fails = false) =>
    async (): Promise<string> => {
      events.push(`${name} starts`);
      await new Promise((resume) => setImmediate(resume));
      events.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    };
  const results = await Promise.allSettled([queue.run(task("a")), queue.run(task("b", true)), queue.run(task("c"))]);
  expect(results.map((result) => result.status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(events).toEqual(["a starts", "a ends", "b starts", "b ends", "c starts", "c ends"]);
  expect(await queue.run(task("d"))).toBe("d");
});

test("a task that leaves the queue is never called, and keeps nobody waiting", async () => {
  const queue = new CommandQueue();
  let release = (): void => {};
  const first = queue.run(
    () =>
      new Promise<void>((resolve) => {
        release = resolve;
      }),
  );
  const controller = new AbortController();
  let called = false;
  const second = queue.run(async () => {
    called = true;
  }, controller.signal);
  const third = queue.run(async () => "third");
  expect(queue.waitingCount).toBe(2);
  controller.abort();
  await expect(second).rejects.toMatchObject({ code: "SCSI_CANCELLED" });
  expect(queue.waitingCount).toBe(1);
  release();
  await first;
  expect(await third).toBe("third");
  expect(called).toBe(false);
});
