import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/**
 * Files that only compute, most of them on a virtual clock: as many at a time as there are processors. The others start processes, or wait
 * in real time: with another one beside them, a machine with two processors is late for their deadlines.
 */
const COMPUTING = [
  "test/{dev,fuzz,rump,vdev}/**/*.test.ts",
  "test/{pud,rumpuser}/*.test.ts",
  "test/survival/{*cut*,oracle,replay,tty-buffers}.test.ts",
];

export default defineConfig({
  test: {
    testTimeout: 20_000,
    hookTimeout: 20_000,
    pool: "forks",
    projects: [
      {
        extends: true,
        test: {
          name: "computing",
          include: COMPUTING,
          maxWorkers: availableParallelism(),
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "timed",
          include: ["test/**/*.test.ts"],
          exclude: COMPUTING,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
