/**
 * Mutated frame streams into either half: each ends in a typed error or in a conversation that was right after all;
 * nothing throws, nothing stays unanswered, nothing grows.
 */
import { expect, test } from "vitest";
import { concat } from "../../src/bytes.js";
import { DeviceError } from "../../src/rump/devsw.js";
import type { LinkError } from "../../src/pud/errors.js";
import { FLAG_STATUS, KINDS, MAX_PAYLOAD_BYTES, STATUS_NUMBERS } from "../../src/pud/frames.js";
import { createPudHost } from "../../src/pud/host.js";
import { HostLine } from "../../src/pud/host-tty-line.js";
import { encodeDemotion, encodeDevice, encodeError, encodeLog, encodeNode } from "../../src/pud/served-payloads.js";
import { createPudServer } from "../../src/pud/server.js";
import {
  encodeOutputs,
  encodeSettings,
  encodeStatus,
  encodeTtyFailure,
  encodeTtyOpen,
} from "../../src/pud/tty-payloads.js";
import type { ByteStream } from "../../src/rumpuser/rumpuser.js";
import { MemoryDisk } from "../fakes/memory-disk.js";
import { MemoryTty } from "../fakes/memory-tty.js";
import { frame, hello, nodeFrame } from "../fakes/pud-frames.js";
import { isDiskNode, ManualClock, turn } from "../fakes/pud-pair.js";
import { Collector } from "../fakes/tty-collector.js";

const SEED = 0x5eed_0001;
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;

/** A stream whose far end is the test: bytes are delivered when the test says so, output is dropped. */
class DirectStream implements ByteStream {
  ended = false;
  #read: (chunk: Uint8Array) => void = () => {};
  onData(read: (chunk: Uint8Array) => void): void {
    this.#read = read;
  }
  onClose(): void {}
  onDrain(): void {}
  write(): boolean {
    return true;
  }
  pause(): void {}
  resume(): void {}
  close(): void {
    this.ended = true;
  }
  destroy(): void {
    this.ended = true;
  }
  deliver(chunk: Uint8Array): void {
    if (!this.ended) this.#read(chunk);
  }
}

/** A generator of numbers below n (xorshift32). */
function randomFrom(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

type Random = (n: number) => number;
const INTERESTING = [0, 1, 2, 0x7f, 0x80, 0xff];

/** One to four small changes: a byte, a field of a header, a cut, a frame doubled, dropped or moved. */
function mutate(frames: readonly Uint8Array[], random: Random): Uint8Array {
  const list: Uint8Array[] = frames.map((bytes) => bytes.slice());
  for (let changes = 1 + random(4); changes > 0; changes--) {
    const at = random(list.length);
    const chosen = list[at] ?? hello();
    const what = random(7);
    if (what === 0) list.splice(at, 0, chosen.slice());
    else if (what === 1 && list.length > 1) list.splice(at, 1);
    else if (what === 2) list.splice(random(list.length), 0, ...list.splice(at, 1));
    else if (what === 3) list[at] = chosen.subarray(0, random(chosen.length));
    else if (what === 4) chosen[random(32)] = INTERESTING[random(INTERESTING.length)] ?? 0;
    else if (what === 5) chosen[random(chosen.length)] = random(256);
    else if (chosen.length >= 32)
      chosen.set(Uint8Array.of(random(256), random(256), random(256), random(256)), 4 * random(8));
  }
  return concat(list);
}

function deliver(stream: DirectStream, bytes: Uint8Array, random: Random): void {
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + 1 + random(random(2) === 0 ? 16 : 2000));
    stream.deliver(bytes.slice(at, end));
    at = end;
  }
}

test("10^5 mutated streams into the host half", { timeout: 120_000 }, async () => {
  const random = randomFrom(SEED);
  const device = {
    driver: "umass0",
    vendor: 1,
    product: 2,
    revision: 3,
    interfaceNumber: 0,
    manufacturer: "m",
    productName: "p",
    serial: "s",
  };
  const frames = [
    hello(),
    frame(KINDS.device, {}, encodeDevice(device)),
    nodeFrame(1, 0),
    nodeFrame(2, 1, { blockBytes: 4096, blockCount: 256 }),
    frame(KINDS.log, {}, encodeLog({ level: "info", source: "umass0", message: "hello" })),
    frame(KINDS.error, {}, encodeError("EIO", "attach")),
    frame(KINDS.demotion, {}, encodeDemotion({ mode: "overlap", reason: "it lied" })),
    frame(KINDS.ready),
    frame(KINDS.reply, { node: 1, requestId: 1 }, new Uint8Array(512)),
    frame(KINDS.reply, { node: 1, requestId: 2, status: STATUS_NUMBERS.EIO }, new Uint8Array(20)),
    frame(KINDS.reply, { node: 1, requestId: 3 }),
    frame(KINDS.nodeGone, { node: 2 }),
  ];
  const outcomes = new Map<string, number>();
  let rssAtStart = 0;
  for (let run = 0; run < 100_000; run++) {
    if (run === 10_000) rssAtStart = process.memoryUsage.rss();
    const results: Promise<string>[] = [];
    let lost: LinkError | undefined;
    const stream = new DirectStream();
    const host = createPudHost({
      clock: new ManualClock(),
      lossPolicy: run % 2 === 0 ? "fail" : "hold",
      handlers: {
        onDevice: () => {},
        onNode: (node) => {
          if (!isDiskNode(node)) return;
          const { device: disk } = node;
          for (const asked of [disk.read(0, 1), disk.write(0, new Uint8Array(disk.info.blockBytes)), disk.flush()])
            results.push(
              asked.then(
                () => "ok",
                (error: unknown) => (error instanceof DeviceError ? error.code : String(error)),
              ),
            );
        },
        onNodeGone: () => {},
        onLog: () => {},
        onReady: () => {},
        onError: () => {},
        onLost: (error) => {
          lost = error;
        },
      },
    });
    host.connect(stream);
    deliver(stream, mutate(frames, random), random);
    // Plain comparisons: the runs are many.
    if (stream.ended !== (lost !== undefined))
      throw new Error(`run ${run}: the stream's end and the loss do not agree`);
    host.abandon("over");
    for (const result of await Promise.all(results))
      if (!/^(ok|E[A-Z]+)$/.test(result)) throw new Error(`run ${run}: a request ended with ${result}`);
    const code = lost?.code ?? "no loss";
    outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
  }
  expect(process.memoryUsage.rss() - rssAtStart).toBeLessThan(MAX_GROWTH_BYTES);
  // The mutator reaches every rule that it can; a rule that is never met is not tested here.
  for (const code of [
    "no loss",
    "PUD_MAGIC",
    "PUD_VERSION",
    "PUD_KIND",
    "PUD_LENGTH",
    "PUD_ORDER",
    "PUD_REPLY",
    "PUD_NODE",
    "PUD_GEOMETRY",
    "PUD_NAME",
  ])
    expect(outcomes.get(code) ?? 0, code).toBeGreaterThan(10);
});

test("2 x 10^4 mutated streams into the server half", { timeout: 120_000 }, async () => {
  const random = randomFrom(SEED + 1);
  const frames = [
    frame(KINDS.read, { node: 1, requestId: 1, offset: 0, count: 4 }),
    frame(KINDS.write, { node: 1, requestId: 2, offset: 4, count: 2 }, new Uint8Array(1024)),
    frame(KINDS.cancel, { node: 1, requestId: 1 }),
    frame(KINDS.trim, { node: 1, requestId: 3, offset: 8, count: 2 }),
    frame(KINDS.writeZeroes, { node: 1, requestId: 4, offset: 8, count: 2, flags: 1 }),
    frame(KINDS.ping, { requestId: 5 }),
    frame(KINDS.flush, { node: 1, requestId: 6 }),
    frame(KINDS.shutdown),
  ];
  let rssAtStart = 0;
  for (let run = 0; run < 20_000; run++) {
    if (run === 2000) rssAtStart = process.memoryUsage.rss();
    const stream = new DirectStream();
    const disk = new MemoryDisk({ blockCount: 16, maxTransferBytes: 4096 });
    const clock = new ManualClock();
    const bugs: string[] = [];
    let lost: LinkError | undefined;
    const server = createPudServer(stream, {
      clock,
      log: { write: ({ source, message }) => source !== "pud" && bugs.push(message) },
      onLost: (error) => {
        lost = error;
      },
    });
    server.publish("sd", disk);
    deliver(stream, mutate(frames, random), random);
    await turn();
    if (bugs.length > 0 || disk.inProgress !== 0)
      throw new Error(`run ${run}: ${disk.inProgress} left, ${bugs.join()}`);
    if (disk.calls.some((call) => call.firstBlock + call.blockCount > 16))
      throw new Error(`run ${run}: beyond the end`);
    if (lost !== undefined && !lost.code.startsWith("PUD_")) throw new Error(`run ${run}: lost with ${lost.code}`);
    server.close();
  }
  expect(process.memoryUsage.rss() - rssAtStart).toBeLessThan(MAX_GROWTH_BYTES + MAX_PAYLOAD_BYTES);
});

const LINE_HOW = {
  settings: { baud: 9600, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" },
  outputs: { dtr: true, rts: true },
} as const;

test("2 x 10^4 mutated streams from a serial line into the host half", { timeout: 120_000 }, async () => {
  const random = randomFrom(SEED + 2);
  const status = encodeStatus({
    lines: { cts: true, dsr: false, dcd: true, ri: false },
    errors: { framing: 1, parity: 0, overrun: 2, break: 0 },
  });
  const frames = [
    hello(),
    frame(KINDS.node, { node: 1 }, encodeNode("ttyU", 0, new MemoryTty())),
    frame(KINDS.ready),
    frame(KINDS.reply, { node: 1, requestId: 1 }, encodeSettings(LINE_HOW.settings)),
    frame(KINDS.ttyChanged, { node: 1 }, status),
    frame(KINDS.ttyData, { node: 1 }, new Uint8Array(40)),
    frame(KINDS.ttyData, { node: 1, flags: FLAG_STATUS }, concat([status, new Uint8Array(60)])),
    frame(KINDS.reply, { node: 1, requestId: 2 }, status),
    frame(
      KINDS.reply,
      { node: 1, requestId: 3, status: STATUS_NUMBERS.EIO },
      encodeTtyFailure(new DeviceError("EIO", "lost"), "lost"),
    ),
    frame(KINDS.ttyClosed, { node: 1, status: STATUS_NUMBERS.EIO }),
    frame(KINDS.nodeGone, { node: 1 }),
  ];
  const outcomes = new Map<string, number>();
  let opened = 0;
  let rssAtStart = 0;
  for (let run = 0; run < 20_000; run++) {
    if (run === 2_000) rssAtStart = process.memoryUsage.rss();
    const results: Promise<string>[] = [];
    const outcome = (asked: Promise<unknown>): Promise<string> =>
      asked.then(
        () => "ok",
        (error: unknown) => (error instanceof DeviceError ? error.code : String(error)),
      );
    let lost: LinkError | undefined;
    const stream = new DirectStream();
    const collector = new Collector();
    const host = createPudHost({
      clock: new ManualClock(),
      lossPolicy: run % 2 === 0 ? "fail" : "hold",
      loadTtyLine: async () => HostLine,
      handlers: {
        onDevice: () => {},
        onNode: ({ device }) => {
          if (device.kind !== "tty") return;
          results.push(
            outcome(
              device.open(LINE_HOW, collector).then(async (port) => {
                opened++;
                port.grant(100);
                results.push(outcome(port.status()), outcome(port.write(new Uint8Array(50))));
              }),
            ),
          );
        },
        onNodeGone: () => {},
        onLog: () => {},
        onReady: () => {},
        onError: () => {},
        onLost: (error) => {
          lost = error;
        },
      },
    });
    host.connect(stream);
    // In three parts, so that the opening, and what is asked after it, is asked before it is answered.
    const bytes = mutate(frames, random);
    const [first, second] = [3, 4].map((count) => frames.slice(0, count).reduce((sum, one) => sum + one.length, 0));
    for (const part of [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]) {
      deliver(stream, part, random);
      await Promise.resolve();
      await turn();
    }
    if (stream.ended !== (lost !== undefined))
      throw new Error(`run ${run}: the stream's end and the loss do not agree`);
    if (collector.bytes > 100) throw new Error(`run ${run}: ${collector.bytes} bytes of 100 that were granted`);
    host.abandon("over");
    await turn();
    for (let at = 0; at < results.length; at++)
      if (!/^(ok|E[A-Z]+)$/.test((await results[at]) ?? ""))
        throw new Error(`run ${run}: ended with ${await results[at]}`);
    const code = lost?.code ?? "no loss";
    outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
  }
  expect(process.memoryUsage.rss() - rssAtStart).toBeLessThan(MAX_GROWTH_BYTES);
  expect(opened).toBeGreaterThan(4_000);
  for (const code of ["no loss", "PUD_LENGTH", "PUD_ORDER", "PUD_REPLY", "PUD_NODE", "PUD_LINE", "PUD_FLOOD"])
    expect(outcomes.get(code) ?? 0, code).toBeGreaterThan(10);
});

test("2 x 10^4 mutated streams into the server half of a serial line", { timeout: 120_000 }, async () => {
  const random = randomFrom(SEED + 3);
  const frames = [
    frame(KINDS.ttyOpen, { node: 1, requestId: 1 }, encodeTtyOpen(LINE_HOW)),
    frame(KINDS.ttyGrant, { node: 1, count: 1000 }),
    frame(KINDS.ttyWrite, { node: 1, requestId: 2 }, new Uint8Array(300)),
    frame(KINDS.ttyConfigure, { node: 1, requestId: 3 }, encodeSettings({ ...LINE_HOW.settings, baud: 1 })),
    frame(KINDS.ttyOutputs, { node: 1, requestId: 4 }, encodeOutputs({ dtr: false })),
    frame(KINDS.ttyStatus, { node: 1, requestId: 5 }),
    frame(KINDS.ttyLatency, { node: 1, requestId: 6, count: 5 }),
    frame(KINDS.ttyBreak, { node: 1, requestId: 7, count: 1 }),
    frame(KINDS.ttyDrain, { node: 1, requestId: 8 }),
    frame(KINDS.ttyFlush, { node: 1, requestId: 9, count: 3 }),
    frame(KINDS.cancel, { node: 1, requestId: 2 }),
    frame(KINDS.ttyClose, { node: 1, requestId: 10 }),
    frame(KINDS.shutdown),
  ];
  for (let run = 0; run < 20_000; run++) {
    const stream = new DirectStream();
    const tty = new MemoryTty();
    tty.loopback = true;
    const bugs: string[] = [];
    let lost: LinkError | undefined;
    const server = createPudServer(stream, {
      clock: new ManualClock(),
      log: { write: ({ source, message }) => source !== "pud" && bugs.push(message) },
      onLost: (error) => {
        lost = error;
      },
    });
    server.publish("ttyU", tty);
    deliver(stream, mutate(frames, random), random);
    await turn();
    if (bugs.length > 0) throw new Error(`run ${run}: ${bugs.join()}`);
    if (lost !== undefined && !lost.code.startsWith("PUD_")) throw new Error(`run ${run}: lost with ${lost.code}`);
    server.close();
    await turn();
    if (tty.port !== undefined) throw new Error(`run ${run}: the line is still open`);
  }
});
