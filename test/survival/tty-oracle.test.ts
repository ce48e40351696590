/** The judge of the streams: what driver processes that die may do to one passes, what nothing may do does not. */
import { expect, test } from "vitest";
import { randomBytes, wrongStream } from "./tty-oracle.js";

const SENT = randomBytes(10_000, 3);
const ALLOWED = { jumps: 2, backBytes: 4096, aheadBytes: 2048 };

const joined = (...pieces: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(pieces));
const between = (piece: Uint8Array): Uint8Array => joined(SENT.subarray(0, 3000), piece, SENT.subarray(2500));

test.each([
  ["the stream as it is", SENT],
  ["twice and missing, within bounds", joined(SENT.subarray(0, 3000), SENT.subarray(4000, 6000), SENT.subarray(5000))],
  ["a piece of a few bytes between two places", between(SENT.subarray(4000, 4005))],
])("right: %s", (_, arrived) => expect(wrongStream(SENT, arrived, ALLOWED)).toBeUndefined());

test.each([
  ["more missing than may be", joined(SENT.subarray(0, 3000), SENT.subarray(6000)), ALLOWED],
  ["bytes that nobody sent", between(Uint8Array.of(1, 2, 3, 4, 5)), ALLOWED],
  ["more jumps than may be, a short piece between them", between(SENT.subarray(4000, 4005)), { ...ALLOWED, jumps: 1 }],
  ["an end before the end", SENT.subarray(0, 5000), ALLOWED],
])("wrong: %s", (_, arrived, allowed) => expect(wrongStream(SENT, arrived, allowed)).toBeDefined());
