import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hex, RecordError } from "../../../src/bytes.js";
import * as cdb from "../../../src/dev/scsipi/cdb.js";
import {
  parseBlockLimits,
  parseModeSense,
  parseProvisioning,
  parseSupportedPages,
} from "../../../src/dev/scsipi/pages.js";
import { parseInquiry, parseLunList, printable } from "../../../src/dev/scsipi/replies.js";
import { describeSense, parseSense, UNREADABLE_SENSE } from "../../../src/dev/scsipi/sense.js";

describe("command descriptor blocks", () => {
  const BLOCKS: readonly (readonly [cdb.CommandBlock, string, string])[] = [
    [cdb.testUnitReady(), "00 00 00 00 00 00", "TEST UNIT READY"],
    [cdb.requestSense(18), "03 00 00 00 12 00", "REQUEST SENSE"],
    [cdb.inquiry(36), "12 00 00 00 24 00", "INQUIRY"],
    [cdb.inquiry(252, 0xb0), "12 01 b0 00 fc 00", "INQUIRY page B0h"],
    [cdb.modeSense6(0x3f, 192), "1a 00 3f 00 c0 00", "MODE SENSE(6) page 3Fh"],
    [cdb.modeSense10(0x08, 192), "5a 00 08 00 00 00 00 00 c0 00", "MODE SENSE(10) page 08h"],
    [cdb.startUnit(), "1b 00 00 00 01 00", "START STOP UNIT (start)"],
    [cdb.preventAllow(true), "1e 00 00 00 01 00", "PREVENT ALLOW MEDIUM REMOVAL (prevent)"],
    [cdb.preventAllow(false), "1e 00 00 00 00 00", "PREVENT ALLOW MEDIUM REMOVAL (allow)"],
    [cdb.readCapacity10(), "25 00 00 00 00 00 00 00 00 00", "READ CAPACITY(10)"],
    [cdb.readCapacity16(32), "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00", "READ CAPACITY(16)"],
    [cdb.reportLuns(136), "a0 00 00 00 00 00 00 00 00 88 00 00", "REPORT LUNS"],
    [cdb.read(8, 8), "28 00 00 00 00 08 00 00 08 00", "READ(10) block 8 + 8"],
    [cdb.read(2 ** 32 - 8, 8), "28 00 ff ff ff f8 00 00 08 00", "READ(10) block 4294967288 + 8"],
    [cdb.read(2 ** 32 - 7, 8), "88 00 00 00 00 00 ff ff ff f9 00 00 00 08 00 00", "READ(16) block 4294967289 + 8"],
    [cdb.read(0, 65536), "88 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00", "READ(16) block 0 + 65536"],
    [cdb.write(1, 2, false), "2a 00 00 00 00 01 00 00 02 00", "WRITE(10) block 1 + 2"],
    [cdb.write(1, 2, true), "2a 08 00 00 00 01 00 00 02 00", "WRITE(10) block 1 + 2 FUA"],
    [
      cdb.write(2 ** 40, 2, true),
      "8a 08 00 00 01 00 00 00 00 00 00 00 00 02 00 00",
      "WRITE(16) block 1099511627776 + 2 FUA",
    ],
    [cdb.synchronizeCache(2 ** 32), "35 00 00 00 00 00 00 00 00 00", "SYNCHRONIZE CACHE(10)"],
    [cdb.synchronizeCache(2 ** 32 + 1), "91 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", "SYNCHRONIZE CACHE(16)"],
    [cdb.writeSame16(3, 4), "93 00 00 00 00 00 00 00 00 03 00 00 00 04 00 00", "WRITE SAME(16) block 3 + 4"],
  ];
  for (const [block, bytes, what] of BLOCKS)
    test(what, () => {
      expect(hex(block.cdb)).toBe(bytes);
      expect(block.what).toBe(what);
      expect(block.timeoutMs).toBeGreaterThan(0);
    });

  test("UNMAP and its parameter list (SBC-3 §5.28)", () => {
    const { block, list } = cdb.unmap(0x1_0000_0002, 3);
    expect(hex(block.cdb)).toBe("42 00 00 00 00 00 00 00 18 00");
    expect(hex(list)).toBe("00 16 00 10 00 00 00 00 00 00 00 01 00 00 00 02 00 00 00 03 00 00 00 00");
  });
});

describe("sense data", () => {
  const fixed = (key: number, asc: number, ascq: number): Uint8Array =>
    Uint8Array.of(0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0);
  const ROWS: readonly (readonly [string, Uint8Array, string, string])[] = [
    ["fixed", fixed(3, 0x11, 0), "mediumError", "MEDIUM ERROR, unrecovered read error (11h/00h)"],
    [
      "fixed, valid bit set",
      fixed(3, 0x11, 0).with(0, 0xf0),
      "mediumError",
      "MEDIUM ERROR, unrecovered read error (11h/00h)",
    ],
    [
      "fixed, cut after the key",
      fixed(2, 0, 0).subarray(0, 3),
      "notReady",
      "NOT READY, no additional sense information (00h/00h)",
    ],
    [
      "descriptor",
      Uint8Array.of(0x72, 6, 0x28, 0, 0, 0, 0, 0),
      "mediumChanged",
      "UNIT ATTENTION, medium may have changed (28h/00h)",
    ],
    [
      "deferred",
      fixed(3, 0x0c, 2).with(0, 0x71),
      "mediumError",
      "MEDIUM ERROR, write error, auto reallocation failed (0Ch/02h), deferred from an earlier command",
    ],
    [
      "qualifier without a text of its own",
      fixed(6, 0x29, 0x55),
      "attention",
      "UNIT ATTENTION, power on, reset, or bus device reset (29h/55h)",
    ],
    ["code without a text", fixed(5, 0xfe, 1), "illegalRequest", "ILLEGAL REQUEST, unlisted condition (FEh/01h)"],
    ["no medium", fixed(2, 0x3a, 2), "noMedium", "NOT READY, medium not present, tray open (3Ah/02h)"],
    ["becoming ready", fixed(2, 4, 1), "becomingReady", "NOT READY, becoming ready (04h/01h)"],
    ["needs start", fixed(2, 4, 2), "needsStart", "NOT READY, initializing command required (04h/02h)"],
    ["write protected", fixed(7, 0x27, 0), "writeProtected", "DATA PROTECT, write protected (27h/00h)"],
    ["no space", fixed(7, 0x27, 7), "noSpace", "DATA PROTECT, space allocation failed, write protect (27h/07h)"],
    ["out of range", fixed(5, 0x21, 0), "outOfRange", "ILLEGAL REQUEST, logical block address out of range (21h/00h)"],
    ["capacity changed", fixed(6, 0x2a, 9), "capacityChanged", "UNIT ATTENTION, capacity data has changed (2Ah/09h)"],
    ["recovered", fixed(1, 0x18, 0), "recovered", "RECOVERED ERROR, recovered data with error correction (18h/00h)"],
  ];
  for (const [name, bytes, meaning, text] of ROWS)
    test(name, () => {
      const sense = parseSense(bytes);
      expect(sense.meaning).toBe(meaning);
      expect(describeSense(sense)).toBe(text);
      expect(sense.deferred).toBe(name === "deferred");
    });

  test("any bytes give a sense that can be described", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 32 }), (bytes) => {
        expect(describeSense(parseSense(bytes))).toMatch(/\([0-9A-F]{2}h\/[0-9A-F]{2}h\)/);
      }),
    );
    expect(parseSense(new Uint8Array(0))).toBe(UNREADABLE_SENSE);
    expect(parseSense(Uint8Array.of(0x70, 0))).toBe(UNREADABLE_SENSE);
  });
});

describe("replies are a stranger's bytes", () => {
  test("any INQUIRY data are facts with a printable name, or a RecordError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        if (bytes.length < 5) {
          expect(() => parseInquiry(bytes)).toThrow(RecordError);
          return;
        }
        const inquiry = parseInquiry(bytes);
        expect(inquiry.model).toMatch(/^[ -~]*$/);
        expect(inquiry.model.length).toBeLessThanOrEqual(30);
        expect(inquiry.deviceType).toBeLessThanOrEqual(0x1f);
      }),
    );
  });

  test("names lose what is not printable", () => {
    expect(printable(Buffer.from("\x1b[31mEvil\n\0  Disk \x7f"))).toBe("[31mEvil Disk");
  });

  test("any LUN list is at most as long as its bytes, whatever it says", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 160 }), (bytes) => {
        if (bytes.length < 8) {
          expect(() => parseLunList(bytes)).toThrow(RecordError);
          return;
        }
        expect(parseLunList(bytes).length).toBeLessThanOrEqual((bytes.length - 8) / 8);
      }),
    );
    const list = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    expect(parseLunList(list)).toEqual([2]);
  });

  test("any MODE SENSE data are read to an end", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 192 }), fc.constantFrom(6 as const, 10 as const), (bytes, form) => {
        if (bytes.length < (form === 6 ? 4 : 8)) {
          expect(() => parseModeSense(bytes, form)).toThrow(RecordError);
          return;
        }
        expect(typeof parseModeSense(bytes, form).writeProtected).toBe("boolean");
      }),
    );
  });

  const CACHING = [0x08, 0x12, 0x04, ...new Uint8Array(17)];
  const MODES: readonly (readonly [string, 6 | 10, readonly number[], boolean | undefined])[] = [
    ["one page", 6, [23, 0, 0x90, 0, ...CACHING], true],
    ["after a block descriptor", 6, [31, 0, 0x90, 8, ...new Uint8Array(8), ...CACHING], true],
    ["after another page and a subpage", 6, [31, 0, 0x90, 0, 0x01, 1, 0, 0x41, 2, 0, 1, 9, ...CACHING], true],
    ["in the long form", 10, [0, 26, 0, 0x90, 0, 0, 0, 0, ...CACHING], true],
    ["off", 6, [23, 0, 0x90, 0, 0x08, 0x12, 0x00, ...new Uint8Array(17)], false],
    ["beyond the length that the header says", 6, [3, 0, 0x90, 0, ...CACHING], undefined],
    ["behind a block descriptor that ends beyond the reply", 6, [23, 0, 0x90, 255, ...CACHING], undefined],
    ["cut before its flags", 6, [5, 0, 0x90, 0, 0x08, 0x12], undefined],
  ];
  for (const [name, form, bytes, wce] of MODES)
    test(`the caching page, ${name}`, () => {
      expect(parseModeSense(Uint8Array.from(bytes), form)).toEqual({
        writeProtected: true,
        dpoFua: true,
        writeCacheEnabled: wce,
      });
    });

  test("vital product data of another page are none, short ones are clipped", () => {
    const inquiry = new Uint8Array(36).fill(0x20);
    expect(parseBlockLimits(inquiry)).toBeUndefined();
    expect(parseProvisioning(inquiry)).toBeUndefined();
    expect(parseSupportedPages(inquiry).size).toBe(0);
    expect([...parseSupportedPages(Uint8Array.of(0, 0, 0, 200, 0x00, 0xb0))]).toEqual([0x00, 0xb0]);
    const short = Uint8Array.of(0, 0xb0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 0);
    expect(parseBlockLimits(short)).toEqual({ maxTransferBlocks: 256, maxUnmapBlocks: 0, maxWriteSameBlocks: 0 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        parseBlockLimits(bytes);
        parseProvisioning(bytes);
        expect(parseSupportedPages(bytes).size).toBeLessThanOrEqual(Math.max(0, bytes.length - 4));
      }),
    );
  });
});
