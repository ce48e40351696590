import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    pool: "forks",
    // Most of the time is spent waiting for other processes and for the lab's guests: never one file at a time.
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
});
