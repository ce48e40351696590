import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { streamOfSocket } from "../../../src/rumpuser/real/byte-stream.js";
import { byteStreamContract, collect } from "../byte-stream-contract.js";

/** A connected pair of Unix sockets. */
async function socketPair() {
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-"));
  const path = join(folder, "s");
  const server = net.createServer({ pauseOnConnect: true });
  server.listen(path);
  await once(server, "listening");
  const accepted = once(server, "connection") as Promise<[net.Socket]>;
  const client = net.connect(path);
  await once(client, "connect");
  const [peer] = await accepted;
  return {
    client,
    peer,
    async dispose() {
      server.close();
      rmSync(folder, { recursive: true });
    },
  };
}

describe("stream over sockets", () => {
  byteStreamContract(async () => {
    const pair = await socketPair();
    const ends = [streamOfSocket(pair.client), streamOfSocket(pair.peer)] as const;
    return {
      ends,
      until: (promise) => promise,
      async dispose() {
        for (const end of ends) end.destroy();
        await pair.dispose();
      },
    };
  });
});

test("a megabyte costs few wake-ups of the reader", async () => {
  const pair = await socketPair();
  const a = streamOfSocket(pair.client);
  const b = streamOfSocket(pair.peer);
  let wakeUps = 0;
  let received = 0;
  await new Promise<void>((resolve) => {
    b.onData((chunk) => {
      wakeUps++;
      received += chunk.length;
      if (received === 1 << 20) resolve();
    });
    a.write([new Uint8Array(1 << 20)]);
  });
  expect(wakeUps).toBeLessThanOrEqual(32);
  a.destroy();
  b.destroy();
  await pair.dispose();
});

test("tells when the memory of a write is not needed any more, and not before", async () => {
  const pair = await socketPair();
  const a = streamOfSocket(pair.client);
  const b = streamOfSocket(pair.peer);
  const told: string[] = [];
  // More than the socket holds: it stays until the peer reads.
  a.write([new Uint8Array(10), new Uint8Array(8 << 20)], () => told.push("first"));
  a.write([new Uint8Array(1)], () => told.push("second"));
  await new Promise((resolve) => setImmediate(resolve));
  expect(told).toEqual([]);
  await collect(b).bytes(10 + (8 << 20) + 1);
  await expect.poll(() => told).toEqual(["first", "second"]);
  a.write([new Uint8Array(8 << 20)], () => told.push("broken"));
  a.destroy();
  b.destroy();
  await pair.dispose();
  expect(told).toEqual(["first", "second"]);
});

test("a socket that somebody has read from already still works", async () => {
  const pair = await socketPair();
  pair.peer.write("early");
  await once(pair.client, "readable");
  const stream = streamOfSocket(pair.client);
  const got = await collect(stream).bytes(5);
  expect(Buffer.from(got).toString()).toBe("early");
  stream.destroy();
  pair.peer.destroy();
  await pair.dispose();
});

test("a server can close while a stream that it accepted lives on", async () => {
  const pair = await socketPair();
  const b = streamOfSocket(pair.peer);
  const a = streamOfSocket(pair.client);
  await pair.dispose();
  const sink = collect(b);
  a.write([Uint8Array.of(1)]);
  expect(await sink.bytes(1)).toEqual(Uint8Array.of(1));
  a.destroy();
  b.destroy();
});

test("streamOfFd speaks over an inherited descriptor", async () => {
  // The child echoes through descriptor 3; it runs the compiled text of the modules, so that nothing has to be built.
  const folder = mkdtempSync(join(tmpdir(), "rumpusb-"));
  const { transformWithOxc } = await import("vite");
  for (const name of ["byte-stream", "event-loop", "socket-reader"]) {
    const source = new URL(`../../../src/rumpuser/real/${name}.ts`, import.meta.url);
    const { code } = await transformWithOxc(readFileSync(source, "utf8"), `${name}.ts`);
    writeFileSync(join(folder, `${name}.js`), code);
  }
  const noAddon = "export class AddonError extends Error {} export function loadAddon() { throw new AddonError(); }";
  writeFileSync(join(folder, "addon.js"), noAddon);
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  const script = `import { streamOfFd } from ${JSON.stringify(join(folder, "byte-stream.js"))};
const s = streamOfFd(3); s.onData((c) => { s.write([c.slice()]); }); s.onClose(() => process.exit(0));`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  const exited = once(child, "exit");
  const stream = streamOfSocket(child.stdio[3] as net.Socket);
  const sink = collect(stream);
  stream.write([new Uint8Array(300_000).fill(5)]);
  const echoed = await sink.bytes(300_000);
  expect(echoed.every((byte) => byte === 5)).toBe(true);
  stream.close();
  expect((await exited)[0]).toBe(0);
  rmSync(folder, { recursive: true });
});

test("a stream that is paused is not in the set that the loop waits for, and is when it goes on", async () => {
  const pair = await socketPair();
  const [a, b] = [streamOfSocket(pair.client), streamOfSocket(pair.peer)];
  const sink = collect(b);
  a.write([Uint8Array.of(1)]);
  expect(await sink.bytes(1)).toEqual(Uint8Array.of(1));
  const before = waitedFor();
  b.pause();
  const paused = waitedFor();
  expect(before.length - paused.length).toBe(1);
  a.write([Uint8Array.of(2)]);
  await delay(20);
  expect(waitedFor()).toEqual(paused);
  b.resume();
  expect(await sink.bytes(2)).toEqual(Uint8Array.of(1, 2));
  expect(waitedFor().length).toBe(before.length);
  a.destroy();
  b.destroy();
  await pair.dispose();
});

/** What the epoll instances of this process wait for, as proc(5) has it. */
function waitedFor(): string[] {
  return readdirSync("/proc/self/fdinfo").flatMap((fd) => {
    try {
      const lines = readFileSync(`/proc/self/fdinfo/${fd}`, "latin1").split("\n");
      return lines.filter((line) => line.startsWith("tfd:")).map((line) => line.split(/\s+/, 2).join(" "));
    } catch {
      return []; // the descriptor of the listing itself
    }
  });
}
