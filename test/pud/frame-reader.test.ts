import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat } from "../../src/bytes.js";
import { FrameReader } from "../../src/pud/frame-reader.js";
import { HEADER_BYTES, KINDS, type Kind, MAX_PAYLOAD_BYTES } from "../../src/pud/frames.js";
import { frame, type ReceivedFrame } from "../fakes/pud-frames.js";

function collect(): { reader: FrameReader; frames: ReceivedFrame[]; admitted: number[] } {
  const frames: ReceivedFrame[] = [];
  const admitted: number[] = [];
  const reader = new FrameReader("rump", {
    admit: (header) => {
      admitted.push(header.payloadBytes);
      return new Uint8Array(header.payloadBytes);
    },
    take: (header, payload) => frames.push({ header, payload }),
  });
  return { reader, frames, admitted };
}

const rumpKinds: Kind[] = Object.values(KINDS).filter((kind) => kind.from === "rump");
const anyFrame = fc.constantFrom(...rumpKinds).chain((kind) =>
  fc.record({
    kind: fc.constant(kind),
    requestId: fc.nat(1000),
    payload: fc.uint8Array({
      minLength: kind.minPayloadBytes,
      maxLength: Math.min(kind.maxPayloadBytes, kind.minPayloadBytes + 100),
    }),
  }),
);

test("frames come out whole and in order, wherever the stream is cut", () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 8 }), fc.array(fc.nat(600)), (frames, cuts) => {
      const bytes = concat(frames.map((f) => frame(f.kind, { requestId: f.requestId }, f.payload)));
      const { reader, frames: read } = collect();
      let at = 0;
      for (const cut of [...cuts, bytes.length]) {
        const lent = bytes.slice(at, at + cut);
        reader.push(lent);
        lent.fill(0xdd); // a lent chunk is not looked at again
        at = Math.min(bytes.length, at + cut);
      }
      expect(read.map((f) => [f.header.kind, f.header.requestId, f.payload])).toEqual(
        frames.map((f) => [f.kind.number, f.requestId, f.payload]),
      );
    }),
  );
});

test("a large payload is copied into the memory that was given for it", () => {
  const { reader, frames } = collect();
  const data = Uint8Array.from({ length: 1024 * 1024 }, (_, at) => (at * 31) >> 3);
  const bytes = frame(KINDS.reply, {}, data);
  for (let at = 0; at < bytes.length; at += 65_536) reader.push(bytes.subarray(at, at + 65_536));
  expect(Buffer.compare(frames[0]?.payload ?? new Uint8Array(0), data)).toBe(0);
});

describe("refused before anything is allocated", () => {
  test.each([
    ["another magic", frame(KINDS.ready, { magic: 0x5056 }), "PUD_MAGIC"],
    ["another version", frame(KINDS.ready, { version: 2 }), "PUD_VERSION"],
    ["kind 0", frame(KINDS.ready, { kind: 0 }), "PUD_KIND"],
    ["kind 255", frame(KINDS.ready, { kind: 255 }), "PUD_KIND"],
    ["a request from the rump process", frame(KINDS.read), "PUD_KIND"],
    ["4 GiB of reply", frame(KINDS.reply, { payloadBytes: 0xffff_ffff }), "PUD_LENGTH"],
    ["a byte more than a reply holds", frame(KINDS.reply, { payloadBytes: MAX_PAYLOAD_BYTES + 1 }), "PUD_LENGTH"],
    ["a payload where none belongs", frame(KINDS.ready, { payloadBytes: 1 }), "PUD_LENGTH"],
    ["HELLO without its record", frame(KINDS.hello), "PUD_LENGTH"],
    ["LOG above its bound", frame(KINDS.log, { payloadBytes: KINDS.log.maxPayloadBytes + 1 }), "PUD_LENGTH"],
  ])("%s", (_, bytes, code) => {
    const { reader, admitted } = collect();
    expect(() => reader.push(bytes)).toThrow(expect.objectContaining({ name: "LinkError", code }));
    expect(admitted).toEqual([]);
  });

  test("and nothing is read after that", () => {
    const { reader, frames } = collect();
    expect(() => reader.push(concat([new Uint8Array(HEADER_BYTES), frame(KINDS.ready)]))).toThrow();
    reader.push(frame(KINDS.ready));
    expect(frames).toEqual([]);
  });
});

test("stop within a frame ends the chunk in hand", () => {
  const seen: number[] = [];
  const reader: FrameReader = new FrameReader("rump", {
    admit: () => new Uint8Array(0),
    take: (header) => {
      seen.push(header.requestId);
      reader.stop();
    },
  });
  reader.push(concat([frame(KINDS.pong, { requestId: 1 }), frame(KINDS.pong, { requestId: 2 })]));
  expect(seen).toEqual([1]);
});
