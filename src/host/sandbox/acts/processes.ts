/** Other processes, threads, rights and code, by Node's own means. */
import child from "node:child_process";
import cluster from "node:cluster";
import { once } from "node:events";
import inspector from "node:inspector";
import os from "node:os";
import { Worker } from "node:worker_threads";
import { type Act, act } from "./act.js";

/** @throws the error that Node keeps in the result. */
function checked(result: child.SpawnSyncReturns<Buffer>): void {
  if (result.error !== undefined) throw result.error;
}

async function started(process: child.ChildProcess): Promise<void> {
  await once(process, "spawn");
  process.kill();
}

function required<T>(call: T | undefined): T {
  if (call === undefined) throw new Error("not on this platform");
  return call;
}

export const PROCESS_ACTS: readonly Act[] = [
  act("processes", "start a program", async () => await started(child.spawn(process.execPath, ["-v"]))),
  act("processes", "start a program and wait", () => checked(child.spawnSync("/bin/true"))),
  act("processes", "start a shell", async () => await started(child.exec("true"))),
  act("processes", "fork a Node process", async () => await started(child.fork(import.meta.filename))),
  act("processes", "fork a cluster worker", async () => await once(cluster.fork(), "online")),
  act("processes", "signal process 1", () => process.kill(1, 0)),
  act("processes", "signal the parent", () => process.kill(process.ppid, 0)),
  act("processes", "signal every process", () => process.kill(-1, 0)),
  act("processes", "start a thread", async () => await once(new Worker("0", { eval: true }), "online")),
  act("processes", "start the inspector", () => inspector.open(0)),
  act("processes", "set another process's priority", () => os.setPriority(1, 19)),
  act("rights", "become the super-user", () => required(process.setuid)(0)),
  act("rights", "become the super-user's group", () => required(process.setgid)(0)),
  act("rights", "take supplementary groups", () => required(process.setgroups)([0])),
  act("rights", "change the file mode mask", () => {
    if (process.umask(0) === -1) throw new Error("refused");
  }),
  act("rights", "raise the own priority", () => os.setPriority(0, -5)),
  act("rights", "read the user's record", () => os.userInfo()),
  act("rights", "make code from a text", () => Reflect.construct(Function, ["return 1"])),
];
