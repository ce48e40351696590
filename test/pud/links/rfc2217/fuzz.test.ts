/** Streams of a client that means harm, or that has never read the RFC: nothing throws, nothing grows, everything ends. */
import { Writable } from "node:stream";
import { expect, test } from "vitest";
import { Rfc2217Session } from "../../../../src/pud/links/rfc2217/session.js";
import { ServedLine } from "../../../../src/pud/links/serial/line.js";
import { Outlet } from "../../../../src/pud/links/serial/outlet.js";
import { DEFAULT_SETTINGS } from "../../../../src/pud/links/wheres.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { HandClock } from "../nbd/rig.js";
import { connectInMemory, settled } from "../serial/rig.js";

const SEED = 0x5eed_2217;
/** More on request: 100 000 take half a minute. */
const STREAMS = Number(process.env["RUMPUSB_FUZZ_STREAMS"] ?? 20_000);
const STREAMS_ON_CONNECTIONS = 300;
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;

type Random = (n: number) => number;

/** A generator of numbers below n (xorshift32). */
function randomFrom(seed: number): Random {
  let state = seed;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

const VERBS = [251, 252, 253, 254];
const OPTIONS = [0, 1, 3, 6, 24, 44, 44, 44, 255];

/** A piece of telnet, mostly right. */
function piece(random: Random): number[] {
  const some = (most: number): number[] => Array.from({ length: random(most + 1) }, () => random(256));
  switch (random(6)) {
    case 0:
      return some(20);
    case 1:
      return [255, random(256)];
    case 2:
      return [255, VERBS[random(4)] ?? 251, OPTIONS[random(OPTIONS.length)] ?? 0];
    case 3:
      return [255, 250, 44, random(14), ...some(random(8) === 0 ? 2000 : 5), 255, 240];
    case 4:
      return [255, 250, 44, ...([1, 5, 12][random(3)] === 1 ? [1, 0, 0, random(256), 128] : [5, random(20)]), 255, 240];
    default:
      return [255, 255, 13, 0, 13, 10];
  }
}

function stream(random: Random): Buffer {
  const bytes = [255, 251, 44, ...Array.from({ length: 1 + random(8) }, () => piece(random)).flat()];
  // Now and then something is missing.
  if (random(4) === 0) bytes.splice(random(bytes.length), 1 + random(3));
  return Buffer.from(bytes);
}

/** Cut somewhere, as streams are. */
function* cut(bytes: Buffer, random: Random): Generator<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + 1 + random(40));
    yield bytes.subarray(at, end);
    at = end;
  }
}

test(`${STREAMS} streams into sessions`, async () => {
  const random = randomFrom(SEED);
  const before = process.memoryUsage().heapUsed;
  let dropped = 0;
  for (let done = 0; done < STREAMS; ) {
    const tty = new MemoryTty();
    const clock = new HandClock();
    const line = new ServedLine(
      { received: () => undefined, changed: () => undefined, writable: () => undefined, ended: () => undefined },
      clock,
    );
    await line.open(tty, DEFAULT_SETTINGS, true);
    for (const last = done + 100; done < last; done++) {
      let sentBytes = 0;
      const sink = new Writable({
        write(chunk: Buffer, _encoding, written) {
          sentBytes += chunk.length;
          written();
        },
      });
      const session = new Rfc2217Session(
        {
          line,
          clock,
          outlet: new Outlet(sink, () => undefined),
          steer: () => undefined,
          log: () => undefined,
          drop: () => dropped++,
        },
        "a line",
      );
      session.start();
      const bytes = stream(random);
      for (const chunk of cut(bytes, random)) session.receive(chunk);
      for (let turn = 0; session.busy && turn < 10; turn++) {
        await new Promise((resolve) => setImmediate(resolve));
        clock.advance(1000);
      }
      if (session.busy || sentBytes > 10 * bytes.length + 100) expect.fail(`stream ${bytes.toString("hex")}`);
    }
    await new Promise((resolve) => setImmediate(resolve));
    await line.close(0);
    expect(tty.port).toBeUndefined();
  }
  globalThis.gc?.();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(MAX_GROWTH_BYTES);
  expect(dropped).toBe(0);
}, 120_000);

test(`${STREAMS_ON_CONNECTIONS} streams into connections that break off somewhere`, async () => {
  const random = randomFrom(SEED + 1);
  for (let done = 0; done < STREAMS_ON_CONNECTIONS; done++) {
    const tty = new MemoryTty();
    tty.loopback = random(2) === 0;
    const rig = await connectInMemory((conversation) => new Rfc2217Session(conversation, "a line"), tty);
    rig.client.on("error", () => undefined);
    if (random(3) === 0) tty.hold(true);
    for (const chunk of cut(stream(random), random)) rig.client.write(chunk);
    if (random(2) === 0) await settled();
    if (random(3) === 0) tty.fail();
    else if (random(2) === 0) rig.client.end();
    else rig.vanish();
    for (let turn = 0; turn < 5 && !rig.isClosed(); turn++) {
      await settled();
      rig.clock.advance(60_000);
    }
    expect(rig.isClosed()).toBe(true);
    expect(tty.port).toBeUndefined();
    await settled();
    rig.clock.advance(60_000);
    expect(rig.clock.armed).toBe(0);
  }
}, 60_000);

test("a client that gets everything wrong is dropped, with a bounded log", async () => {
  const rig = await connectInMemory((conversation) => new Rfc2217Session(conversation, "a line"));
  rig.client.on("error", () => undefined);
  for (let sent = 0; sent < 50; sent++) rig.client.write(Buffer.from([255, 240, 255, 240, 255, 240]));
  await settled();
  rig.clock.advance(60_000);
  await settled();
  expect(rig.isClosed()).toBe(true);
  expect(rig.log.entries.filter((entry) => entry.startsWith("error"))).toHaveLength(101);
});
