/** One run again, as a failure of the others names it: SURVIVAL_RUN='{"workload":…}'. Without it, an example. */
import { expect, test } from "vitest";
import { type RunOptions, runOnce } from "./run.js";

const EXAMPLE: RunOptions = {
  workload: "commits",
  seed: 1,
  cuts: [
    { on: "transfer", at: 60, kind: "power", awayMs: 200, seed: 5 },
    { on: "transfer", at: 150, kind: "freeze" },
    { on: "frame", at: 120, kind: "host" },
  ],
};

test("a run is repeated exactly by its description", async () => {
  const given = process.env["SURVIVAL_RUN"];
  const options = given === undefined ? EXAMPLE : (JSON.parse(given) as RunOptions);
  const first = await runOnce(options);
  expect(first.wrong).toEqual([]);
  expect(await runOnce(options)).toEqual(first);
});
