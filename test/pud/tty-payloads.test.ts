import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RecordError } from "../../src/bytes.js";
import { LinkError } from "../../src/pud/errors.js";
import { KINDS } from "../../src/pud/frames.js";
import { decodeNode } from "../../src/pud/payloads.js";
import { encodeNode } from "../../src/pud/served-payloads.js";
import {
  checkEncodable,
  decodeOutputs,
  decodeSettings,
  decodeStatus,
  decodeTtyFailure,
  decodeTtyOpen,
  encodeOutputs,
  encodeSettings,
  encodeStatus,
  encodeTtyFailure,
  encodeTtyOpen,
  ttyFailureRecord,
  ttyLatencyRecord,
  ttyOutputsRecord,
  ttySettingsRecord,
  ttyStatusRecord,
} from "../../src/pud/tty-payloads.js";
import { ttyNodeRecord } from "../../src/pud/tty-node-payload.js";
import {
  DATA_BITS,
  DeviceError,
  FLOW_CONTROLS,
  type LineSettings,
  LineSettingsError,
  MODEM_LINES,
  PARITIES,
  STOP_BITS,
  WriteError,
} from "../../src/rump/devsw.js";
import { MemoryTty } from "../fakes/memory-tty.js";

const settings: fc.Arbitrary<LineSettings> = fc.record({
  baud: fc.integer({ min: 1, max: 0xffff_ffff }),
  dataBits: fc.constantFrom(...DATA_BITS),
  parity: fc.constantFrom(...PARITIES),
  stopBits: fc.constantFrom(...STOP_BITS),
  flowControl: fc.constantFrom(...FLOW_CONTROLS),
});
const lines = fc.record({ cts: fc.boolean(), dsr: fc.boolean(), dcd: fc.boolean(), ri: fc.boolean() });
const errors = fc.record({
  framing: fc.maxSafeNat(),
  parity: fc.maxSafeNat(),
  overrun: fc.maxSafeNat(),
  break: fc.maxSafeNat(),
});
const outputs = fc.record({ dtr: fc.boolean(), rts: fc.boolean() });

/** Either a value or a typed error, whatever the bytes. */
function isTyped(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): boolean {
  try {
    decode(bytes);
    return true;
  } catch (error) {
    return error instanceof LinkError || error instanceof RecordError;
  }
}

test("the sizes are those that the frames have", () => {
  expect(ttyNodeRecord.size).toBe(KINDS.node.minPayloadBytes);
  expect(ttySettingsRecord.size).toBe(KINDS.ttyConfigure.minPayloadBytes);
  expect(ttyOutputsRecord.size).toBe(KINDS.ttyOutputs.minPayloadBytes);
  expect(ttySettingsRecord.size + ttyOutputsRecord.size).toBe(KINDS.ttyOpen.minPayloadBytes);
  expect(ttyStatusRecord.size).toBe(KINDS.ttyChanged.minPayloadBytes);
  expect(ttyLatencyRecord.size).toBe(4);
});

function same<T>(value: T, through: (value: T) => T): void {
  expect(through(value)).toEqual(value);
}

describe("both ways", () => {
  test("NODE of any possible line", () => {
    const info = fc.record({
      model: fc.string({ maxLength: 16 }).filter((s) => !/[\p{Cc}\ufeff]/u.test(s)),
      minBaud: fc.integer({ min: 1, max: 1000 }),
      maxBaud: fc.integer({ min: 1000, max: 0xffff_ffff }),
      dataBits: fc.subarray([...DATA_BITS], { minLength: 1 }),
      parities: fc.subarray([...PARITIES], { minLength: 1 }),
      stopBits: fc.subarray([...STOP_BITS], { minLength: 1 }),
      flowControls: fc.subarray([...FLOW_CONTROLS], { minLength: 1 }),
      modemLines: fc.subarray([...MODEM_LINES]),
      canBreak: fc.boolean(),
      hasLatency: fc.boolean(),
    });
    fc.assert(
      fc.property(info, fc.nat(0xffff), (what, unit) => {
        const tty = new MemoryTty(what);
        const node = { className: "ttyU", unit, kind: "tty", info: tty.info };
        expect(decodeNode(encodeNode("ttyU", unit, tty))).toEqual(node);
      }),
    );
  });

  test("settings, opening, outputs, status", () => {
    fc.assert(fc.property(settings, (value) => same(value, (one) => decodeSettings(encodeSettings(one)))));
    const how = fc.record({ settings, outputs });
    fc.assert(fc.property(how, (value) => same(value, (one) => decodeTtyOpen(encodeTtyOpen(one)))));
    const some = fc.record({ dtr: fc.boolean(), rts: fc.boolean() }, { requiredKeys: [] });
    fc.assert(fc.property(some, (value) => same(value, (one) => decodeOutputs(encodeOutputs(one)))));
    const status = fc.record({ lines, errors });
    fc.assert(fc.property(status, (value) => same(value, (one) => decodeStatus(encodeStatus(one)))));
  });

  test("why a request failed", () => {
    const read = (error: DeviceError, writtenBytes: number): DeviceError =>
      decodeTtyFailure(error.code, encodeTtyFailure(error, error.message), writtenBytes);
    fc.assert(
      fc.property(settings, (nearest) => {
        const error = read(new LineSettingsError("too fast", nearest), 0);
        expect(error).toBeInstanceOf(LineSettingsError);
        expect(error).toMatchObject({ code: "EINVAL", message: "too fast", nearest });
      }),
    );
    const write = read(new WriteError("ECANCELED", "flushed", 17), 20);
    expect(write).toBeInstanceOf(WriteError);
    expect(write).toMatchObject({ code: "ECANCELED", bytesTaken: 17 });
    expect(read(new DeviceError("EIO", "lost"), 20)).toBeInstanceOf(WriteError);
    expect(read(new DeviceError("EIO", "lost"), 0)).not.toBeInstanceOf(WriteError);
    const long = encodeTtyFailure(new DeviceError("EIO", ""), "é".repeat(5000));
    expect(long.length).toBeLessThanOrEqual(KINDS.nodeGone.maxPayloadBytes);
  });
});

describe("what cannot be", () => {
  test("any bytes are a value or a typed error", () => {
    const decoders = [decodeSettings, decodeTtyOpen, decodeOutputs, decodeStatus, decodeNode] as const;
    const failure = (bytes: Uint8Array): unknown => decodeTtyFailure("EINVAL", bytes, 10);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) =>
        [...decoders, failure].every((decode) => isTyped(decode, bytes)),
      ),
    );
  });

  const possible = ttyNodeRecord.decode(encodeNode("ttyU", 0, new MemoryTty()));
  test.each([
    ["0 baud at least", { minBaud: 0 }],
    ["more at least than at most", { minBaud: 2, maxBaud: 1 }],
    ["no choice of data bits", { dataBits: 0 }],
    ["no choice of parity", { parities: 0 }],
    ["no choice of stop bits", { stopBits: 0 }],
    ["no choice of flow control", { flowControls: 0 }],
    ["a parity that there is not", { parities: 0x20 }],
    ["a modem line that there is not", { modemLines: 0x10 }],
  ])("NODE of a line with %s", (_, lie) => {
    expect(() => decodeNode(ttyNodeRecord.encode({ ...possible, ...lie }))).toThrow(
      expect.objectContaining({ code: "PUD_LINE" }),
    );
  });

  test("more bytes taken than were written; settings of 0 baud", () => {
    const failure = encodeTtyFailure(new WriteError("EIO", "no", 11), "no");
    expect(() => decodeTtyFailure("EIO", failure, 10)).toThrow(expect.objectContaining({ code: "PUD_LINE" }));
    expect(() => decodeSettings(new Uint8Array(8))).toThrow(expect.objectContaining({ code: "PUD_LINE" }));
    const zero = ttyFailureRecord.encode({
      bytesTaken: 0,
      hasNearest: 1,
      reserved: new Uint8Array(0),
      settings: new Uint8Array(8),
    });
    expect(() => decodeTtyFailure("EINVAL", zero, 0)).toThrow(expect.objectContaining({ code: "PUD_LINE" }));
  });

  test.each([0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 32])(
    "%d baud has a nearest that can be",
    (baud) => {
      const { info } = new MemoryTty();
      const wrong: LineSettings = { baud, dataBits: 7, parity: "even", stopBits: 2, flowControl: "none" };
      try {
        checkEncodable(info, wrong);
        expect.unreachable();
      } catch (error) {
        expect(error).toBeInstanceOf(LineSettingsError);
        const { nearest } = error as LineSettingsError;
        expect(nearest).toMatchObject({ dataBits: 7, parity: "even" });
        expect(nearest.baud).toBeGreaterThanOrEqual(info.minBaud);
        expect(nearest.baud).toBeLessThanOrEqual(info.maxBaud);
      }
    },
  );
});
