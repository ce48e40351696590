/**
 * A million mutated descriptor sets: nothing but a DescriptorError or RecordError comes out, in bounded time and memory.
 *
 * Seeds are a few sets written out here, and every file of RUMPUSB_CORPORA/usb-descriptors when that variable names a folder.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { RecordError } from "../../src/bytes.js";
import { parseConfiguration } from "../../src/dev/usb/configuration.js";
import { deviceDescriptor, parseBos, parseString } from "../../src/dev/usb/descriptors.js";
import { DescriptorError } from "../../src/dev/usb/errors.js";

const SETS = 1_000_000;
const SEED = 20260101;
const MAX_HEAP_GROWTH_BYTES = 64 << 20;

/** A stick, a composite device with an IAD and a SuperSpeed device with companions, as device + configuration. */
const BUILT_IN = [
  "12010002000000405109661610010102030109022000010100803209040000020806500007058102000200070502020002 00",
  "1201000200ef02014009120100000100000001090243000201008032080b00020202010009040000010202010005240010 0107058303080010090401000 20a0000000705810240000007050202400000",
  "120100030000000909510016000101020301 09022c00010100800409040000020806500007058102000400063000000000 00070502020004000630 0f00000000",
];

const folder = process.env["RUMPUSB_CORPORA"];

test("a million mutated descriptor sets", { timeout: 120_000 }, () => {
  const seeds = [...BUILT_IN.map(fromHex), ...corpusFiles()];
  const random = mulberry32(SEED);
  const before = process.memoryUsage().heapUsed;
  const traceLimit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0; // most sets end in an error; its trace would be most of the time
  for (let n = 0; n < SETS; n++) parseEverything(mutate(seeds[n % seeds.length] ?? new Uint8Array(0), random));
  Error.stackTraceLimit = traceLimit;
  globalThis.gc?.();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(MAX_HEAP_GROWTH_BYTES);
});

test.skipIf(folder === undefined)(
  "every real descriptor set of RUMPUSB_CORPORA is read to its end (skipped: the variable names no folder)",
  () => {
    const readable = corpusFiles().filter((bytes) => bytes.length >= 27);
    expect(readable.length).toBeGreaterThan(100);
    for (const bytes of readable) parseEverything(bytes);
  },
);

/** Everything the stack does with a set: any error but the two typed ones fails the test. */
function parseEverything(bytes: Uint8Array): void {
  for (const parse of [
    () => deviceDescriptor.decode(bytes),
    () => parseConfiguration(bytes.subarray(18)),
    () => parseBos(bytes),
    () => parseString(bytes),
  ]) {
    try {
      parse();
    } catch (error) {
      if (!(error instanceof DescriptorError || error instanceof RecordError)) throw error;
    }
  }
}

/** Cut, grown, bytes changed (most often to the values that parsers trip over). */
function mutate(seed: Uint8Array, random: () => number): Uint8Array {
  const nasty = [0, 1, 2, 0x7f, 0x80, 0xff];
  const bytes = random() < 0.1 ? new Uint8Array([...seed, ...seed]) : seed.slice();
  const changes = 1 + Math.floor(random() * 4);
  for (let n = 0; n < changes; n++) {
    const at = Math.floor(random() * bytes.length);
    bytes[at] = random() < 0.5 ? (nasty[Math.floor(random() * nasty.length)] ?? 0) : Math.floor(random() * 256);
  }
  return random() < 0.2 ? bytes.subarray(0, Math.floor(random() * bytes.length)) : bytes;
}

function corpusFiles(): Uint8Array[] {
  if (folder === undefined) return [];
  const path = join(folder, "usb-descriptors");
  return readdirSync(path).map((name) => new Uint8Array(readFileSync(join(path, name))));
}

function fromHex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
}

/** A small seeded generator, so that a failure can be repeated. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
