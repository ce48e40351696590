import fc from "fast-check";
import { expect, test } from "vitest";
import { ProtocolError } from "../../../../src/dev/usb/errors.js";
import { checkStatus, CSW_SIGNATURE, csw, READING_RULES, STATUS_RULES } from "../../../../src/dev/usb/umass/csw.js";

const EXPECTED = {
  tag: 7,
  requestedBytes: 512,
  signature: CSW_SIGNATURE,
  ignoreTag: false,
  ignoreResidue: false,
};

test("the list of rules is the list of BOT 1.0 §6.3", () => {
  expect([...READING_RULES, ...STATUS_RULES].map((rule) => rule.name)).toEqual([
    "second stall",
    "length",
    "signature",
    "tag",
    "status",
    "residue",
  ]);
});

test("any bytes are a status of 13 bytes that keeps every rule, or a ProtocolError", () => {
  const near = fc
    .record({
      dCSWSignature: fc.constantFrom(CSW_SIGNATURE, 0x55425355),
      dCSWTag: fc.constantFrom(7, 8),
      dCSWDataResidue: fc.integer({ min: 0, max: 1024 }),
      bCSWStatus: fc.integer({ min: 0, max: 4 }),
    })
    .map((fields) => csw.encode(fields));
  fc.assert(
    fc.property(fc.boolean(), fc.oneof(near, fc.uint8Array({ maxLength: 20 })), (stalled, bytes) => {
      try {
        const { residueBytes } = checkStatus({ stalled, bytes }, EXPECTED);
        const fields = csw.decode(bytes);
        expect(stalled).toBe(false);
        expect(bytes.length).toBe(csw.size);
        expect(fields).toMatchObject({ dCSWSignature: CSW_SIGNATURE, dCSWTag: 7 });
        expect(fields.bCSWStatus).toBeLessThan(2);
        expect(residueBytes).toBeLessThanOrEqual(512);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        expect(error.message).toMatch(/^CSW: .*BOT 1\.0 §/);
      }
    }),
    { numRuns: 500 },
  );
});
