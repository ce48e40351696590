/**
 * Mutated NBD streams against a connection without a socket: whatever a client sends, the connection ends, nothing is
 * thrown, the disk is asked for nothing outside itself, and no memory stays.
 *
 * Each stream follows from its number, so a failure repeats: FUZZ_NBD_FIRST=number FUZZ_NBD_STREAMS=1.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import type { Disk } from "../../src/rump/devsw.js";
import { CMD, OPT, infoData, option, request } from "../pud/links/nbd/client.js";
import { direct } from "../pud/links/nbd/rig.js";

const STREAMS = Number(process.env["FUZZ_NBD_STREAMS"] ?? 100_000);
const FIRST = Number(process.env["FUZZ_NBD_FIRST"] ?? 0);
const BATCH = 500;
const BLOCKS = 128;

/** What one stream may cost: far more than any seed needs, far less than a loop would take. */
const MAX_STREAM_MS = 2000;
const MAX_GROWTH_BYTES = 16 * 1024 * 1024;

const FLAGS = Buffer.from([0, 0, 0, 3]);
const GO = option(OPT.GO, infoData("sd0", [0, 1, 2, 3]));
const STRUCTURED = option(OPT.STRUCTURED_REPLY);
const REQUESTS = [
  request({ type: CMD.READ, cookie: 1n, offset: 512, length: 1024 }),
  request({ type: CMD.WRITE, cookie: 2n, offset: 1024, data: Buffer.alloc(1024, 0x55) }),
  request({ type: CMD.FLUSH, cookie: 3n }),
  request({ type: CMD.TRIM, cookie: 4n, offset: 0, length: 4096 }),
  request({ type: CMD.WRITE_ZEROES, cookie: 5n, flags: 2, offset: 4096, length: 512 }),
  request({ type: CMD.READ, cookie: 6n, flags: 4, offset: 0, length: 65536 }),
  request({ type: CMD.DISC }),
];

const SEEDS: readonly Buffer[] = [
  Buffer.concat([FLAGS, GO, ...REQUESTS]),
  Buffer.concat([FLAGS, STRUCTURED, GO, ...REQUESTS]),
  Buffer.concat([FLAGS, option(OPT.LIST), option(OPT.INFO, infoData("sd0", [3])), option(OPT.ABORT)]),
  Buffer.concat([FLAGS, option(OPT.EXPORT_NAME, Buffer.from("sd0")), ...REQUESTS]),
  Buffer.concat([FLAGS, option(10, Buffer.alloc(20)), option(OPT.STARTTLS), option(12), GO, ...REQUESTS.slice(0, 2)]),
  Buffer.concat([Buffer.from([0, 0, 0, 1]), option(OPT.GO, infoData("", [])), ...REQUESTS, ...REQUESTS]),
];
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fe00, 0xffff_ffff];

/** xorshift32: every stream repeats from its number. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed + 1, 0x9e37_79b1) | 1) >>> 0;
  }

  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  pick<T>(values: readonly T[], otherwise: T): T {
    return values[this.below(values.length)] ?? otherwise;
  }
}

type Mutation = (bytes: Buffer, dice: Dice) => Buffer;

const MUTATIONS: readonly Mutation[] = [
  (bytes, dice) => {
    const at = dice.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8));
    return bytes;
  },
  (bytes, dice) => {
    bytes[dice.below(bytes.length)] = dice.below(256);
    return bytes;
  },
  (bytes, dice) => {
    if (bytes.length >= 4) bytes.writeUInt32BE(dice.pick(INTERESTING, 0), dice.below(bytes.length - 3));
    return bytes;
  },
  (bytes, dice) => bytes.subarray(0, 1 + dice.below(bytes.length)),
  (bytes, dice) => {
    const at = dice.below(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + dice.below(32))]);
  },
  (bytes, dice) => {
    const [at, from] = [dice.below(bytes.length), dice.below(bytes.length)];
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(from, from + dice.below(64)), bytes.subarray(at)]);
  },
  (bytes, dice) => {
    const other = dice.pick(SEEDS, bytes);
    return Buffer.concat([bytes.subarray(0, dice.below(bytes.length)), other.subarray(dice.below(other.length))]);
  },
];

function stream(number: number): {
  readonly chunks: Buffer[];
  readonly ending: "closed" | "half-closed" | "shut down";
} {
  const dice = new Dice(number);
  let bytes: Buffer = Buffer.from(dice.pick(SEEDS, FLAGS));
  for (let left = dice.below(4); left >= 0; left--)
    if (bytes.length > 0) bytes = dice.pick(MUTATIONS, (same) => same)(bytes, dice);
  const chunks: Buffer[] = [];
  const most = dice.pick([1, 7, 28, 1000, 1_000_000], 1);
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + dice.below(most);
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return { chunks, ending: dice.pick(["closed", "half-closed", "shut down"] as const, "closed") };
}

/** A disk that takes offence at anything the server should have refused. */
function strictDisk(asked: () => void): Disk {
  const check = (firstBlock: number, count: number): void => {
    asked();
    const whole = Number.isInteger(firstBlock) && Number.isInteger(count);
    if (!whole || firstBlock < 0 || count < 1 || firstBlock + count > BLOCKS)
      throw new Error(`the disk was asked for ${count} blocks at ${firstBlock}`);
  };
  return {
    kind: "disk",
    info: {
      blockBytes: 512,
      blockCount: BLOCKS,
      readOnly: false,
      removable: true,
      volatileCache: true,
      canTrim: true,
      canWriteZeroes: true,
      maxTransferBytes: 2048,
      model: "fuzz",
    },
    async read(firstBlock, count) {
      check(firstBlock, count);
      if (count > 4) throw new Error(`${count} blocks are more than a transfer`);
      return new Uint8Array(count * 512);
    },
    async write(firstBlock, data) {
      check(firstBlock, data.length / 512);
      if (data.length > 2048) throw new Error(`${data.length} bytes are more than a transfer`);
    },
    flush: () => Promise.resolve(),
    async trim(firstBlock, count) {
      check(firstBlock, count);
    },
    async writeZeroes(firstBlock, count) {
      check(firstBlock, count);
    },
  };
}

/** @returns what was wrong, if anything. */
async function runStream(number: number, disk: Disk): Promise<string[]> {
  const rig = direct(disk);
  const { chunks, ending } = stream(number);
  const begun = performance.now();
  for (const chunk of chunks) if (!rig.peer.paused) rig.connection.receive(chunk);
  if (ending === "half-closed") rig.connection.peerEnded();
  if (ending === "shut down") rig.connection.shutDown("fuzzing ends");
  await new Promise((resolve) => setImmediate(resolve));
  rig.peer.destroy();
  // The parts of one request come one after the other: a few turns of the loop, not more.
  for (let turns = 0; !rig.closed() && turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve));
  const problems = rig.log.entries.filter((entry) => entry.startsWith("error"));
  if (!rig.closed()) problems.push("the connection is not over");
  if (rig.clock.armed > 0) problems.push(`${rig.clock.armed} timers left`);
  if (performance.now() - begun > MAX_STREAM_MS) problems.push(`took more than ${MAX_STREAM_MS} ms`);
  return problems.map((problem) => `stream ${number}: ${problem}`);
}

/** Bytes that are reachable: the least of some collections, for what one of them leaves to its threads the next one finds free. */
async function memoryBytes(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  let leastBytes = Number.POSITIVE_INFINITY;
  for (let collections = 0; collections < 4; collections++) {
    if (typeof collect === "function") collect();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    leastBytes = Math.min(leastBytes, heapUsed + arrayBuffers);
  }
  return leastBytes;
}

test(`${STREAMS} mutated streams: no crash, no hang, no growth`, { timeout: 120_000 }, async () => {
  let asked = 0;
  const disk = strictDisk(() => asked++);
  let settledBytes = 0;
  for (let from = 0; from < STREAMS; from += BATCH) {
    // The first tenth fills caches and compiles code.
    if (from * 10 >= STREAMS && settledBytes === 0) settledBytes = await memoryBytes();
    const numbers = Array.from({ length: Math.min(BATCH, STREAMS - from) }, (_, index) => FIRST + from + index);
    const problems = await Promise.all(numbers.map((number) => runStream(number, disk)));
    expect(problems.flat()).toEqual([]);
  }
  // Mutations that never get past the handshake would prove little.
  expect(asked).toBeGreaterThan(STREAMS);
  if (settledBytes > 0) expect((await memoryBytes()) - settledBytes).toBeLessThan(MAX_GROWTH_BYTES);
});
