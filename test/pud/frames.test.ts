import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DeviceError, type DeviceErrorCode } from "../../src/rump/devsw.js";
import {
  deviceErrorCodeOf,
  frameHeader,
  KIND_BY_NUMBER,
  KINDS,
  MAX_PAYLOAD_BYTES,
  STATUS_NUMBERS,
} from "../../src/pud/frames.js";
import {
  decodeDemotion,
  decodeDevice,
  decodeError,
  decodeHello,
  decodeLog,
  decodeNode,
  demotionRecord,
  deviceRecord,
  errorRecord,
  helloRecord,
  logRecord,
} from "../../src/pud/payloads.js";
import {
  encodeDemotion,
  encodeDevice,
  encodeError,
  encodeHello,
  encodeLog,
  encodeNode,
} from "../../src/pud/served-payloads.js";
import { diskNodeRecord } from "../../src/pud/disk-payloads.js";
import { statusOf } from "../../src/pud/served-request.js";
import { decodeText, encodeText } from "../../src/pud/text.js";
import { MemoryDisk } from "../fakes/memory-disk.js";

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u53 = fc.maxSafeNat();

describe("header", () => {
  test("is 32 bytes and survives the way through any memory", () => {
    expect(frameHeader.size).toBe(32);
    const headers = fc.record({
      magic: u16,
      version: u8,
      kind: u8,
      node: u16,
      status: u8,
      flags: u8,
      requestId: u32,
      payloadBytes: u32,
      offset: u53,
      count: u53,
    });
    fc.assert(
      fc.property(headers, fc.nat(40), (header, at) => {
        const memory = new Uint8Array(at + 32);
        frameHeader.encodeInto(memory, at, header);
        expect(frameHeader.decode(memory, at)).toEqual(header);
      }),
    );
  });

  test("64-bit fields are little-endian, and unsafe ones do not pass for safe", () => {
    const bytes = frameHeader.encode({ ...frameHeader.decode(new Uint8Array(32)), offset: 0x0001_0203_0405_06 });
    expect([...bytes.subarray(16, 24)]).toEqual([0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0, 0]);
    bytes.fill(0xff, 16, 24);
    expect(Number.isSafeInteger(frameHeader.decode(bytes).offset)).toBe(false);
  });
});

describe("kinds and statuses", () => {
  test("numbers are unique and the tables agree with the records", () => {
    expect(KIND_BY_NUMBER.size).toBe(Object.keys(KINDS).length);
    expect(helloRecord.size).toBe(KINDS.hello.minPayloadBytes);
    expect(deviceRecord.size).toBe(KINDS.device.minPayloadBytes);
    expect(demotionRecord.size).toBe(KINDS.demotion.minPayloadBytes);
    expect(diskNodeRecord.size).toBe(KINDS.node.minPayloadBytes);
    expect(logRecord.size).toBe(KINDS.log.minPayloadBytes);
    expect(errorRecord.size).toBe(KINDS.error.minPayloadBytes);
    for (const kind of Object.values(KINDS)) expect(kind.maxPayloadBytes).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
  });

  test.each(Object.entries(STATUS_NUMBERS))("%s is %i both ways", (code, number) => {
    expect(deviceErrorCodeOf(number)).toBe(code);
    expect(statusOf(new DeviceError(code as DeviceErrorCode, "because"))).toBe(number);
  });

  test("what is no DeviceError is EIO, and 0 is no error", () => {
    expect(statusOf(new TypeError("bug"))).toBe(STATUS_NUMBERS.EIO);
    expect(deviceErrorCodeOf(0)).toBeUndefined();
    expect(deviceErrorCodeOf(255)).toBeUndefined();
  });
});

describe("text", () => {
  test("is at most as long as allowed, whole characters, a prefix of what was meant", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.nat(64), (text, maxBytes) => {
        const bytes = encodeText(text, maxBytes);
        expect(bytes.length).toBeLessThanOrEqual(maxBytes);
        expect(text.startsWith(new TextDecoder("utf-8", { fatal: true }).decode(bytes))).toBe(true);
      }),
    );
  });

  test("of any bytes has nothing in it that a terminal would act on", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        expect(decodeText(bytes)).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u);
      }),
    );
  });

  test.each([
    ["\u001b[2Jx", "\ufffd[2Jx"],
    ["a\r\nb", "a\ufffd\ufffdb"],
    ["a\u202eb", "a\ufffdb"],
    ["\u009b1m", "\ufffd1m"],
    ["Größe ✓", "Größe ✓"],
  ])("%j is read as %j", (written, read) => {
    expect(decodeText(encodeText(written, 100))).toBe(read);
  });

  test("ends at the first NUL", () => {
    expect(decodeText(Uint8Array.of(0x61, 0, 0x62))).toBe("a");
  });
});

describe("payloads", () => {
  test("HELLO of another version is refused", () => {
    decodeHello(encodeHello());
    expect(() => decodeHello(helloRecord.encode({ version: 2, memoryBytes: 0 }))).toThrow(
      expect.objectContaining({ code: "PUD_VERSION" }),
    );
  });

  test("DEVICE", () => {
    const device = {
      driver: "umass0",
      vendor: 0x0951,
      product: 0x1666,
      revision: 0x0100,
      interfaceNumber: 3,
      manufacturer: "Kingston",
      productName: "DataTraveler 3.0",
      serial: "60A44C413FAE",
    };
    expect(decodeDevice(encodeDevice(device))).toEqual(device);
    const chosen = { ...device, mode: "overlap (default)" };
    expect(decodeDevice(encodeDevice(chosen))).toEqual(chosen);
    const badName = expect.objectContaining({ code: "PUD_NAME" }) as Error;
    expect(() => encodeDevice({ ...device, driver: "../umass" })).toThrow(badName);
    const lie = { ...deviceRecord.decode(encodeDevice(device)), driver: encodeText("../umass", 16) };
    expect(() => decodeDevice(deviceRecord.encode(lie))).toThrow(badName);
  });

  test("NODE of any possible disk", () => {
    const disks = fc.record({
      blockBytes: fc.constantFrom(512, 1024, 2048, 4096),
      readOnly: fc.boolean(),
      removable: fc.boolean(),
      volatileCache: fc.boolean(),
      canTrim: fc.boolean(),
      canWriteZeroes: fc.boolean(),
      model: fc.string({ maxLength: 16 }).filter((s) => !/[\p{Cc}\ufeff]/u.test(s)),
    });
    fc.assert(
      fc.property(disks, u16, (options, unit) => {
        const disk = new MemoryDisk({ ...options, blockCount: 4 });
        expect(decodeNode(encodeNode("sd", unit, disk))).toEqual({
          className: "sd",
          unit,
          kind: "disk",
          info: disk.info,
        });
      }),
    );
  });

  test("a disk that takes more than a frame holds is announced with what fits", () => {
    const disk = new MemoryDisk({ maxTransferBytes: 32 * 1024 * 1024 });
    expect(decodeNode(encodeNode("sd", 0, disk)).info).toMatchObject({ maxTransferBytes: MAX_PAYLOAD_BYTES });
  });

  const possible = diskNodeRecord.decode(encodeNode("sd", 0, new MemoryDisk()));
  test.each([
    ["blocks of 0 bytes", { blockBytes: 0 }, "PUD_GEOMETRY"],
    ["blocks of 520 bytes", { blockBytes: 520 }, "PUD_GEOMETRY"],
    ["blocks of 8192 bytes", { blockBytes: 8192 }, "PUD_GEOMETRY"],
    ["2^53 bytes", { blockCount: 2 ** 44 }, "PUD_GEOMETRY"],
    ["2^53 blocks", { blockCount: 2 ** 53 }, "PUD_GEOMETRY"],
    ["transfers of 0 bytes", { maxTransferBytes: 0 }, "PUD_GEOMETRY"],
    ["transfers of half a block", { maxTransferBytes: 256 }, "PUD_GEOMETRY"],
    ["transfers of no whole blocks", { maxTransferBytes: 1000 }, "PUD_GEOMETRY"],
    ["transfers above a frame", { maxTransferBytes: MAX_PAYLOAD_BYTES + 512 }, "PUD_GEOMETRY"],
    ["a kind that has no host half", { kind: 3 }, "PUD_NODE"],
    ["no class name", { className: new Uint8Array(16) }, "PUD_NAME"],
    ["a class name with a path in it", { className: encodeText("../sd", 16) }, "PUD_NAME"],
    ["a class name without end", { className: encodeText("sdsdsdsdsdsdsdsd", 16) }, "PUD_NAME"],
  ])("NODE with %s is refused", (_, lie, code) => {
    expect(() => decodeNode(diskNodeRecord.encode({ ...possible, ...lie }))).toThrow(expect.objectContaining({ code }));
  });

  test("LOG and ERROR, cut to what a frame holds", () => {
    const entry = { level: "warn", source: "umass0", message: "residue 512" } as const;
    expect(decodeLog(encodeLog(entry))).toEqual(entry);
    expect(encodeLog({ ...entry, message: "x".repeat(5000) }).length).toBe(KINDS.log.maxPayloadBytes);
    expect(decodeError(encodeError("USB_PROTOCOL", "it lied"))).toEqual(["USB_PROTOCOL", "it lied"]);
    expect(encodeError("E", "é".repeat(5000)).length).toBeLessThanOrEqual(KINDS.error.maxPayloadBytes);
  });

  test("DEMOTION: one word, and a reason that is cut; another word is refused on either side", () => {
    const demotion = { mode: "sequence", reason: "CSW: tag 9, sent 8" };
    expect(decodeDemotion(encodeDemotion(demotion))).toEqual(demotion);
    expect(encodeDemotion({ ...demotion, reason: "é".repeat(500) }).length).toBeLessThanOrEqual(
      KINDS.demotion.maxPayloadBytes,
    );
    const refused = expect.objectContaining({ code: "PUD_NAME" }) as Error;
    for (const mode of ["", "Sequence", "two words", "../overlap", "x".repeat(16)]) {
      expect(() => encodeDemotion({ ...demotion, mode })).toThrow(refused);
      expect(() => decodeDemotion(demotionRecord.encode({ mode: encodeText(mode, 16) }))).toThrow(refused);
    }
  });

  test("LOG with a level that does not exist is the loudest", () => {
    const payload = encodeLog({ level: "debug", source: "x", message: "y" });
    payload[0] = 200;
    expect(decodeLog(payload).level).toBe("error");
  });
});
