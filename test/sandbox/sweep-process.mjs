/**
 * Tries every system call number on one kind of thread, in a process that is locked with the filter of the tests: what the real
 * one kills for is answered with errno 4000, so one process can try them all. Prints the results as one line of JSON.
 *
 * argv: JSON { strict, thread: "main" | "worker" | "pool", calls: [[number, argument…]…], real, deviceCount }. With `real` the lock is the one
 * that kills.
 */
import { once } from "node:events";
import { writeSync } from "node:fs";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { loadProbe } from "../../dist/rumpuser/real/probe.js";
import { lockProcess, prepareToLock } from "../../dist/rumpuser/real/lock.js";

const DEVICE_FD = 5;
const PASS_FD = 4;

const probe = loadProbe();
const runOn = {
  main: (calls) => probe.calls(calls),
  pool: (calls) => probe.callsOnPool(calls),
  worker: async (calls, worker) => {
    worker.postMessage(calls);
    const [results] = await once(worker, "message");
    return results;
  },
};
if (isMainThread) {
  const { strict, thread, calls, real, deviceCount = 1 } = JSON.parse(process.argv[2]);
  const worker = new Worker(new URL(import.meta.url));
  await once(worker, "message");
  if (real)
    await lockProcess({ profile: strict ? "strict" : "standard", deviceFd: DEVICE_FD, deviceCount, passFd: PASS_FD });
  else {
    await prepareToLock();
    const rc = probe.lock(strict, DEVICE_FD, deviceCount, PASS_FD);
    if (rc !== 0) throw new Error(`lock: ${rc}`);
  }
  writeSync(1, '"locked"\n');
  const results = await runOn[thread](calls, worker);
  writeSync(1, `${JSON.stringify(results)}\n`);
  process.exit(0);
} else {
  parentPort.on("message", (calls) => parentPort.postMessage(probe.calls(calls)));
  parentPort.postMessage("ready");
}
