/** The loop without its measurements: in a process of its own, because there is no way back. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const MODULE = new URL("../../../dist/rumpuser/real/event-loop.js", import.meta.url).href;

async function run(source: string): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", source]);
  return JSON.parse(stdout);
}

test("idle time is measured until the loop is told, and never again", async () => {
  const told = await run(`
    import { setTimeout as wait } from "node:timers/promises";
    import { forgoIdleTime } from "${MODULE}";
    const idleMs = async () => {
      const { idle } = performance.eventLoopUtilization();
      await wait(20);
      return performance.eventLoopUtilization().idle - idle;
    };
    const before = await idleMs();
    const told = [forgoIdleTime(), forgoIdleTime()];
    await wait(1);
    console.log(JSON.stringify([before > 10, ...told, await idleMs()]));`);
  expect(told).toEqual([true, true, false, 0]);
});

test("timers, sockets and child processes go on as before, and a worker's loop is its own", async () => {
  const heard = await run(`
    import { spawn } from "node:child_process";
    import { once } from "node:events";
    import net from "node:net";
    import { setTimeout as wait } from "node:timers/promises";
    import { Worker } from "node:worker_threads";
    import { forgoIdleTime } from "${MODULE}";
    forgoIdleTime();
    const begin = performance.now();
    await wait(30);
    const waited = performance.now() - begin;
    const server = net.createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
    await once(server, "listening");
    const client = net.connect(server.address().port, "127.0.0.1");
    client.write("echo");
    const [echo] = await once(client, "data");
    client.destroy();
    server.close();
    const [status] = await once(spawn("true"), "exit");
    const source =
      'import { parentPort } from "node:worker_threads"; import { forgoIdleTime } from "${MODULE}"; parentPort.postMessage(forgoIdleTime());';
    const worker = new Worker(new URL("data:text/javascript," + encodeURIComponent(source)));
    const [inWorker] = await once(worker, "message");
    await worker.terminate();
    console.log(JSON.stringify([waited >= 29 && waited < 500, String(echo), status, inWorker]));`);
  expect(heard).toEqual([true, "echo", 0, true]);
});
