import fc from "fast-check";
import { expect, test } from "vitest";
import { DATA_BITS, FLOW_CONTROLS, type LineSettings, PARITIES } from "../../../../src/rump/devsw.js";
import {
  EXTPROC,
  FRESH_TERMIOS,
  lineRequestOf,
  processesInput,
  termios2Record,
  termiosRecord,
  type Termios,
  withExtproc,
  withLineSettings,
  withSpeedsFromCodes,
} from "../../../../src/pud/links/tty/termios.js";

const word = fc.integer({ min: 0, max: 0xffffffff });
const anyTermios: fc.Arbitrary<Termios> = fc.record({
  iflag: word,
  oflag: word,
  cflag: word,
  lflag: word,
  line: fc.integer({ min: 0, max: 255 }),
  controlChars: fc.uint8Array({ minLength: 19, maxLength: 19 }),
  ispeed: word,
  ospeed: word,
});
/** What termios can say: more than one stop bit is one and a half with five data bits, two with others. */
const anySettings: fc.Arbitrary<LineSettings> = fc
  .record({
    baud: fc.oneof(word, fc.constantFrom(0, 50, 9600, 38400, 57600, 115200, 4_000_000)),
    dataBits: fc.constantFrom(...DATA_BITS),
    parity: fc.constantFrom(...PARITIES),
    more: fc.boolean(),
    flowControl: fc.constantFrom(...FLOW_CONTROLS),
  })
  .map(({ more, ...rest }) => ({ ...rest, stopBits: more ? (rest.dataBits === 5 ? 1.5 : 2) : 1 }));

test("the structures are as long as the kernel's", () => {
  expect([termiosRecord.size, termios2Record.size]).toEqual([36, 44]);
});

test("settings written into any modes are read back, whatever they were before", () => {
  fc.assert(
    fc.property(anyTermios, anySettings, (termios, settings) => {
      const changed = withLineSettings(termios, settings);
      expect(lineRequestOf(changed).settings).toEqual(settings);
      expect(termios2Record.decode(termios2Record.encode(changed))).toEqual(changed);
    }),
  );
});

test("a rate with a code is found by its code, any other by its number", () => {
  fc.assert(
    fc.property(anyTermios, anySettings, (termios, settings) => {
      const changed = withLineSettings(termios, settings);
      const { ospeed } = withSpeedsFromCodes((changed.cflag & 0x100f) === 0x1000 ? changed : { ...changed, ospeed: 7 });
      expect(ospeed).toBe(settings.baud);
    }),
  );
});

test("one setting leaves the others alone", () => {
  fc.assert(
    fc.property(anyTermios, anySettings, (termios, { baud }) => {
      const before = lineRequestOf(termios);
      expect(lineRequestOf(withLineSettings(termios, { baud }))).toEqual({
        ...before,
        settings: { ...before.settings, baud },
      });
    }),
  );
});

test("any modes are some settings", () => {
  fc.assert(
    fc.property(anyTermios, (termios) => {
      const { settings } = lineRequestOf(termios);
      expect(DATA_BITS).toContain(settings.dataBits);
      expect(PARITIES).toContain(settings.parity);
      expect(FLOW_CONTROLS).toContain(settings.flowControl);
    }),
  );
});

test("EXTPROC is one bit", () => {
  fc.assert(
    fc.property(anyTermios, fc.boolean(), (termios, on) => {
      const changed = withExtproc(termios, on);
      expect((changed.lflag & EXTPROC) !== 0).toBe(on);
      expect(changed.lflag & ~EXTPROC).toBe(termios.lflag & ~EXTPROC);
    }),
  );
});

test("a fresh line is 9600 8N1 and leaves bytes alone", () => {
  expect(lineRequestOf(FRESH_TERMIOS)).toEqual({
    settings: { baud: 9600, dataBits: 8, parity: "none", stopBits: 1, flowControl: "none" },
    hangUpOnClose: true,
  });
  expect(processesInput(FRESH_TERMIOS)).toBe(false);
});
