import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ProtocolError } from "../../../../src/dev/usb/errors.js";
import {
  commandIu,
  encodeCommand,
  encodeTaskManagement,
  parseStatusIu,
  STATUS_IU_BYTES,
  taskManagementIu,
} from "../../../../src/dev/usb/uas/iu.js";

const CDB = Uint8Array.of(0x28, 0, 0, 0, 0, 1, 0, 0, 8, 0);

describe("what is sent", () => {
  test("a COMMAND IU: 32 bytes, tag and LUN big-endian, SIMPLE, the CDB filled up with zeroes", () => {
    const bytes = encodeCommand(0x1234, 5, CDB);
    expect(bytes.length).toBe(32);
    expect(Array.from(bytes.subarray(0, 16))).toEqual([1, 0, 0x12, 0x34, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0]);
    expect(Array.from(bytes.subarray(16))).toEqual([...CDB, 0, 0, 0, 0, 0, 0]);
    expect(commandIu.decode(bytes)).toMatchObject({ tag: 0x1234, additionalCdbLength: 0 });
  });

  test.each([
    ["abortTask", 0x01],
    ["logicalUnitReset", 0x08],
    ["nexusReset", 0x10],
  ] as const)("a TASK MANAGEMENT IU: %s", (what, code) => {
    const bytes = encodeTaskManagement(2, what, 0x0107, 3);
    expect(Array.from(bytes)).toEqual([5, 0, 0, 2, code, 0, 1, 7, 0, 3, 0, 0, 0, 0, 0, 0]);
    expect(taskManagementIu.size).toBe(16);
  });
});

const SENSE = [3, 0, 0, 9, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x70, 0, 5];

describe("what comes back", () => {
  test.each<readonly [string, readonly number[], object]>([
    ["READ READY", [6, 0, 0x12, 0x34], { kind: "readReady", tag: 0x1234 }],
    ["WRITE READY", [7, 0, 0, 1], { kind: "writeReady", tag: 1 }],
    ["SENSE with sense data", SENSE, { kind: "sense", tag: 9, status: 2, sense: Uint8Array.of(0x70, 0, 5) }],
    ["SENSE with less sense data than it says", SENSE.slice(0, 18), { kind: "sense", sense: Uint8Array.of(0x70, 0) }],
    ["SENSE without sense data", SENSE.slice(0, 16), { kind: "sense", status: 2, sense: new Uint8Array(0) }],
    ["RESPONSE", [4, 0, 0, 3, 0, 0, 0, 8], { kind: "response", tag: 3, responseCode: 8 }],
  ])("%s", (_, bytes, expected) => {
    expect(parseStatusIu(Uint8Array.from(bytes))).toMatchObject(expected);
  });

  test.each<readonly [string, readonly number[]]>([
    ["nothing", []],
    ["3 bytes", [6, 0, 0]],
    ["a SENSE IU of 15 bytes", SENSE.slice(0, 15)],
    ["a RESPONSE IU of 7 bytes", [4, 0, 0, 3, 0, 0, 0]],
    ["an id that is not defined", [2, 0, 0, 1]],
    ["a COMMAND IU", Array.from(encodeCommand(1, 0, CDB))],
  ])("%s: refused", (_, bytes) => {
    expect(() => parseStatusIu(Uint8Array.from(bytes))).toThrow(ProtocolError);
  });

  test("whatever a device sends is an IU or a ProtocolError, and is not read beyond its end", () => {
    const valid = [SENSE, [6, 0, 0, 1], [7, 0, 0, 1], [4, 0, 0, 3, 0, 0, 0, 8]];
    const mutated = fc
      .record({
        base: fc.constantFrom(...valid),
        changes: fc.array(fc.tuple(fc.nat(19), fc.nat(255)), { maxLength: 4 }),
        length: fc.nat(STATUS_IU_BYTES),
      })
      .map(({ base, changes, length }) => {
        const bytes = new Uint8Array(length);
        bytes.set(base.slice(0, length));
        for (const [at, value] of changes) if (at < length) bytes[at] = value;
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: STATUS_IU_BYTES })), (bytes) => {
        try {
          const iu = parseStatusIu(bytes);
          return iu.tag <= 0xffff && (iu.kind !== "sense" || iu.sense.length <= bytes.length - 16);
        } catch (error) {
          return error instanceof ProtocolError;
        }
      }),
      { numRuns: 120_000 },
    );
  });
});
