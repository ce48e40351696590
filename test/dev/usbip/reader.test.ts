import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat } from "../../../src/bytes.js";
import { type PayloadTarget, RecordReader } from "../../../src/dev/usbip/reader.js";

/** Messages: a header of two bytes, `length` and `kind`; kind 1 carries a payload, kind 2 one to be skipped. */
function collector() {
  const seen: string[] = [];
  let target = new Uint8Array(0);
  const reader = new RecordReader(2, 8, {
    onHeader(view): PayloadTarget {
      const length = view.getUint8(0);
      const kind = view.getUint8(1);
      seen.push(`header ${length} ${kind}`);
      if (kind === 1) {
        target = new Uint8Array(length);
        return target;
      }
      return kind === 2 ? { skipBytes: length } : undefined;
    },
    onPayload: () => seen.push(`payload ${[...target].join(",")}`),
  });
  return { reader, seen };
}

const message = (kind: number, payload: number[]) =>
  Uint8Array.of(payload.length, kind, ...(kind === 0 ? [] : payload));

describe("record reader", () => {
  test("takes headers and payloads apart", () => {
    const { reader, seen } = collector();
    reader.push(concat([message(0, [9]), message(1, [1, 2, 3]), message(2, [7, 7]), message(1, [])]));
    expect(seen).toEqual([
      "header 1 0",
      "header 3 1",
      "payload 1,2,3",
      "header 2 2",
      "payload 1,2,3",
      "header 0 1",
      "payload ",
    ]);
  });

  test("however the stream is cut, the same comes out", () => {
    const messages = fc.array(fc.tuple(fc.constantFrom(0, 1, 2), fc.array(fc.nat(255), { maxLength: 20 })), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (list, cuts) => {
        const stream = concat(list.map(([kind, payload]) => message(kind, payload)));
        const whole = collector();
        whole.reader.push(stream);
        const cut = collector();
        for (let at = 0, n = 0; at < stream.length; n++) {
          const size = cuts[n % cuts.length] ?? 1;
          const chunk = stream.slice(at, at + size);
          cut.reader.push(chunk);
          chunk.fill(0xee); // only lent
          at += size;
        }
        expect(cut.seen).toEqual(whole.seen);
      }),
    );
  });

  test("after stop nothing is delivered, also of the same chunk", () => {
    const seen: number[] = [];
    const reader = new RecordReader(1, 1, {
      onHeader(view) {
        seen.push(view.getUint8(0));
        reader.stop();
        return undefined;
      },
      onPayload: () => undefined,
    });
    reader.push(Uint8Array.of(1, 2, 3));
    reader.push(Uint8Array.of(4));
    expect(seen).toEqual([1]);
  });

  test("the size of headers may change, within what was said at the start", () => {
    const sizes: number[] = [];
    const reader = new RecordReader(1, 4, {
      onHeader(_view, bytes) {
        sizes.push(bytes.length);
        reader.expect(4);
        return undefined;
      },
      onPayload: () => undefined,
    });
    reader.push(new Uint8Array(9));
    expect(sizes).toEqual([1, 4, 4]);
    expect(() => reader.expect(5)).toThrow("1 to 4 fit");
    expect(() => reader.expect(0)).toThrow(RangeError);
  });
});
