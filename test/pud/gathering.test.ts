/** How long bytes of a serial line are gathered: a stream, an answer, and packets that wait for each other. */
import { expect, test, vi } from "vitest";
import { NO_BYTES } from "../../src/pud/channel.js";
import { type FrameHeader, type Kind, KINDS, PUD_MAGIC, PUD_VERSION } from "../../src/pud/frames.js";
import { Gathering } from "../../src/pud/gathering.js";
import { RateBound } from "../../src/pud/rate-bound.js";
import { ServedRequest } from "../../src/pud/served-request.js";
import { ServedTty } from "../../src/pud/served-tty.js";
import { encodeTtyOpen } from "../../src/pud/tty-payloads.js";
import { DeviceError, type LineSettings } from "../../src/rump/devsw.js";
import { createSimulatedRumpuser } from "../../src/rumpuser/simulated.js";
import { MemoryTty } from "../fakes/memory-tty.js";

const SETTINGS: LineSettings = { baud: 115_200, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" };

interface Frame {
  readonly sentMs: number;
  /** When each of its packets came. */
  readonly packets: readonly number[];
}

/** Packets that come at these times, and the frames in which they go. */
function frames(arrivals: readonly number[], gathering = new Gathering()): Frame[] {
  const all: Frame[] = [];
  let waiting: number[] = [];
  let dueMs = Number.POSITIVE_INFINITY;
  for (const atMs of [...arrivals, Number.POSITIVE_INFINITY]) {
    if (dueMs <= atMs && waiting.length > 0) {
      gathering.sent(dueMs);
      all.push({ sentMs: dueMs, packets: waiting });
      waiting = [];
      dueMs = Number.POSITIVE_INFINITY;
    }
    if (atMs === Number.POSITIVE_INFINITY) break;
    const waitMs = gathering.arrived(atMs);
    if (waitMs !== undefined) dueMs = atMs + waitMs;
    waiting.push(atMs);
  }
  return all;
}

const every = (gapMs: number, count: number, fromMs = 0): number[] =>
  Array.from({ length: count }, (_, n) => fromMs + n * gapMs);

const latenessMs = ({ sentMs, packets }: Frame): number => sentMs - (packets[0] ?? sentMs);

test.each([0.1, 1, 2.8, 5, 7])("a packet every %f ms: a frame every 16 ms at most, soon", (gapMs) => {
  const late = frames(every(gapMs, 20_000)).filter(({ sentMs }) => sentMs > 200);
  const gaps = late.slice(1).map(({ sentMs }, n) => sentMs - (late[n]?.sentMs ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThan(11);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(16 + gapMs);
  for (const frame of late) expect(latenessMs(frame)).toBeLessThan(16.01);
});

test.each([8.5, 16, 100])("a packet every %f ms goes at once", (gapMs) => {
  for (const frame of frames(every(gapMs, 1000))) expect([latenessMs(frame), frame.packets.length]).toEqual([0, 1]);
});

test("the end of an answer is late by about as much as the answer took", () => {
  for (let packets = 2; packets < 60; packets++) {
    const gathering = new Gathering();
    frames(every(1, packets), gathering);
    const answer = frames(every(1, packets, 10_000), gathering);
    const endMs = 10_000 + packets - 1;
    expect(answer.at(-1)?.sentMs).toBeLessThanOrEqual(endMs + Math.max(4, 1.5 * packets));
    expect(answer[0]?.sentMs).toBe(10_000);
  }
});

test("packets that wait for each other: what is tried in vain costs less and less", () => {
  const gathering = new Gathering();
  let nowMs = 0;
  let lateMs = 0;
  for (let n = 0; n < 2000; n++) {
    nowMs += 3; // the answer takes so long
    const waitMs = gathering.arrived(nowMs) ?? 0;
    nowMs += waitMs;
    lateMs += waitMs;
    gathering.sent(nowMs);
  }
  expect(lateMs / 2000).toBeLessThan(0.15);
});

test("a limit holds, and 1 ms is no gathering", () => {
  const limited = new Gathering();
  limited.limit(4);
  for (const frame of frames(every(1, 1000), limited)) expect(latenessMs(frame)).toBeLessThanOrEqual(4);
  const none = new Gathering();
  none.limit(1);
  for (const frame of frames(every(0.6, 1000), none)) expect(frame.packets.length).toBe(1);
});

test.each([
  ["of a device with a timer: nothing is gathered", { hasLatency: true, latencyMs: 8 }, 1, 1],
  ["of one without: half of it", { hasLatency: false, latencyMs: 8 }, 4, 5],
  ["that is refused: bytes are gathered as before", { hasLatency: false, latencyMs: 8, isRefused: true }, 12, 17],
] as const)("a latency %s", async (_, { hasLatency, latencyMs, ...more }, leastTogether, mostTogether) => {
  const isRefused = "isRefused" in more;
  const { clock } = createSimulatedRumpuser({ seed: 1 });
  const tty = new MemoryTty({ hasLatency });
  const frames: number[] = [];
  const served = new ServedTty(tty, {
    clock,
    statuses: new RateBound(clock, 100, 100),
    send: ({ kind, payload }) => {
      if (kind === KINDS.ttyData) frames.push(payload?.length ?? 0);
    },
    isChoked: () => false,
  });
  const header = (kind: Kind, count: number, payloadBytes = 0): FrameHeader => ({
    magic: PUD_MAGIC,
    version: PUD_VERSION,
    kind: kind.number,
    node: 1,
    status: 0,
    flags: 0,
    requestId: 1,
    payloadBytes,
    offset: 0,
    count,
  });
  const how = encodeTtyOpen({ settings: SETTINGS, outputs: { dtr: true, rts: true } });
  const open = new ServedRequest(header(KINDS.ttyOpen, 0, how.length), how);
  await served.serve(open);
  served.replied(open);
  served.notice(header(KINDS.ttyGrant, 10_000));
  const refusal = new DeviceError("EOPNOTSUPP", "no latency timer");
  if (isRefused) vi.spyOn(tty.port ?? expect.fail("not open"), "setLatency").mockRejectedValue(refusal);
  const asked = served.serve(new ServedRequest(header(KINDS.ttyLatency, latencyMs), NO_BYTES));
  if (isRefused) await expect(asked).rejects.toThrow(refusal);
  else await asked;
  for (let n = 0; n < 500; n++) {
    tty.arrive(Uint8Array.of(n & 0xff));
    await clock.advance(1);
  }
  expect(Math.max(...frames)).toBeGreaterThanOrEqual(leastTogether);
  expect(Math.max(...frames)).toBeLessThanOrEqual(mostTogether);
  await served.settle();
});
