/**
 * Tries every system call number on one kind of thread, in a process that is locked with the filter of the tests: what the real
 * one kills for is answered with errno 4000, so one process can try them all. Prints the results as one line of JSON.
 *
 * argv: JSON { purpose, strict, thread: "main" | "worker" | "pool", calls: [[number, argument…]…], real, deviceCount }. With `real` the lock is the one
 * that kills.
 */
import { once } from "node:events";
import { writeSync } from "node:fs";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { loadProbe } from "../../dist/rumpuser/real/probe.js";
import { filterOf, lockProcess, prepareToLock } from "../../dist/rumpuser/real/lock.js";

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
  const { purpose, strict, thread, calls, real, deviceCount = 1 } = JSON.parse(process.argv[2]);
  const profile = strict ? "strict" : "standard";
  const common = { profile, passFd: PASS_FD };
  const options =
    purpose === "serve" ? { ...common, purpose } : { ...common, purpose, deviceFd: DEVICE_FD, deviceCount };
  const worker = new Worker(new URL(import.meta.url));
  await once(worker, "message");
  if (real) await lockProcess(options);
  else {
    await prepareToLock();
    const filter = filterOf(options);
    const rc = probe.lock(filter.purpose, filter.strict, filter.passFd, filter.deviceFd, filter.deviceCount);
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
