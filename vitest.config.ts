import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** Files that only compute, most of them on a virtual clock: as many at a time as there are processors. */
const COMPUTING = [
  "test/{dev,fuzz,rump,vdev}/**/*.test.ts",
  "test/{pud,rumpuser}/*.test.ts",
  "test/survival/{*cut*,oracle,replay,tty-buffers}.test.ts",
];

/**
 * Files that mostly wait for processes to start and to end, and have no deadlines but those of a test: two at a time. The rest is
 * late for its deadlines with another one beside it where there are two processors.
 */
const WAITING = [
  "test/cli/**/*.test.ts",
  "test/lab/lab-run.test.ts",
  "test/sandbox/{late,late-thread,launcher-killed,serve,sweep,verify}.test.ts",
  "test/survival/{host-kills,hostile-drivers,limits}.test.ts",
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
          name: "waiting",
          include: WAITING,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "timed",
          include: ["test/**/*.test.ts"],
          exclude: [...COMPUTING, ...WAITING],
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
