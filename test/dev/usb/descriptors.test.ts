import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat, RecordError } from "../../../src/bytes.js";
import { parseConfiguration } from "../../../src/dev/usb/configuration.js";
import {
  configurationDescriptor,
  endpointDescriptor,
  interfaceDescriptor,
  parseBos,
  parseLanguages,
  parseString,
  walkDescriptors,
} from "../../../src/dev/usb/descriptors.js";
import { DescriptorError } from "../../../src/dev/usb/errors.js";

function configuration(parts: readonly Uint8Array[], fields: { total?: number; interfaces?: number } = {}): Uint8Array {
  const body = concat(parts);
  const header = configurationDescriptor.encode({
    bLength: 9,
    bDescriptorType: 2,
    wTotalLength: fields.total ?? 9 + body.length,
    bNumInterfaces: fields.interfaces ?? 1,
    bConfigurationValue: 1,
    iConfiguration: 0,
    bmAttributes: 0x80,
    bMaxPower: 50,
  });
  return concat([header, body]);
}

function interfaceBytes(number: number, alternate = 0, interfaceClass = 8): Uint8Array {
  return interfaceDescriptor.encode({
    bLength: 9,
    bDescriptorType: 4,
    bInterfaceNumber: number,
    bAlternateSetting: alternate,
    bNumEndpoints: 1,
    bInterfaceClass: interfaceClass,
    bInterfaceSubClass: 6,
    bInterfaceProtocol: 0x50,
    iInterface: 0,
  });
}

function endpointBytes(address: number, wMaxPacketSize = 512, bmAttributes = 2): Uint8Array {
  return endpointDescriptor.encode({
    bLength: 7,
    bDescriptorType: 5,
    bEndpointAddress: address,
    bmAttributes,
    wMaxPacketSize,
    bInterval: 0,
  });
}

const COMPANION = Uint8Array.of(6, 48, 15, 4, 0, 0);
const CLASS_SPECIFIC = Uint8Array.of(5, 0x24, 1, 2, 3);

describe("walkDescriptors", () => {
  test.each([
    ["bLength 0", [0, 4]],
    ["bLength 1", [1, 4]],
    ["bLength past the end", [3, 4]],
  ])("%s is refused instead of walked over for ever (USB 2.0 §9.5)", (_, bytes) => {
    expect(() => [...walkDescriptors(Uint8Array.from(bytes))]).toThrow(DescriptorError);
  });

  test("every byte of a well-formed block is in exactly one descriptor", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 })), (bodies) => {
        const block = concat(bodies.map((body) => concat([Uint8Array.of(body.length + 1), body])));
        expect(concat([...walkDescriptors(block)])).toEqual(block);
      }),
    );
  });
});

describe("parseConfiguration", () => {
  test("interfaces, alternate settings, endpoints, companions and class descriptors end up where they belong", () => {
    const parsed = parseConfiguration(
      configuration(
        [
          Uint8Array.of(8, 11, 0, 2, 8, 6, 0x50, 0),
          interfaceBytes(0, 1),
          endpointBytes(0x81, 1024),
          COMPANION,
          interfaceBytes(0, 0),
          CLASS_SPECIFIC,
          endpointBytes(0x02, 0x1000 | 512, 3),
          interfaceBytes(1),
        ],
        { interfaces: 2 },
      ),
    );
    expect(parsed.problems).toEqual([]);
    expect(parsed.associations).toHaveLength(1);
    expect(parsed.interfaces.map((i) => i.alternates.map((a) => a.alternateSetting))).toEqual([[0, 1], [0]]);
    const [first, second] = parsed.interfaces[0]?.alternates ?? [];
    expect(first?.extraDescriptors).toEqual([CLASS_SPECIFIC]);
    expect(first?.endpoints).toMatchObject([
      { endpointAddress: 2, type: "interrupt", maxPacketBytes: 512, transactionsPerMicroframe: 3 },
    ]);
    expect(second?.endpoints[0]?.companion).toMatchObject({ bMaxBurst: 15, bmAttributes: 4 });
  });

  test.each([
    ["wTotalLength larger than what came", configuration([interfaceBytes(0)], { total: 500 }), /wTotalLength 500/],
    ["bNumInterfaces that lies", configuration([interfaceBytes(0)], { interfaces: 9 }), /bNumInterfaces 9/],
    [
      "an endpoint described twice",
      configuration([interfaceBytes(0), endpointBytes(0x81), endpointBytes(0x81)]),
      /twice/,
    ],
    ["an alternate setting described twice", configuration([interfaceBytes(0), interfaceBytes(0)]), /twice/],
    ["endpoint 0", configuration([interfaceBytes(0), endpointBytes(0x80)]), /not an endpoint address/],
    [
      "reserved endpoint address bits",
      configuration([interfaceBytes(0), endpointBytes(0x91)]),
      /not an endpoint address/,
    ],
    ["wMaxPacketSize 0 on a bulk endpoint", configuration([interfaceBytes(0), endpointBytes(0x81, 0)]), /cannot be/],
    ["wMaxPacketSize FFFFh", configuration([interfaceBytes(0), endpointBytes(0x81, 0xffff)]), /cannot be/],
    [
      "an endpoint before any interface",
      configuration([endpointBytes(0x81), interfaceBytes(0)]),
      /outside an interface/,
    ],
    ["a cut descriptor", configuration([interfaceBytes(0), Uint8Array.of(7, 5, 0x81)]), /claims 7 of 3/],
  ])("%s is left out and said", (_, block, problem) => {
    const parsed = parseConfiguration(block);
    expect(parsed.problems.join("\n")).toMatch(problem);
    expect(parsed.interfaces[0]?.interfaceNumber).toBe(0);
  });

  test("limits: 32 interfaces, 128 alternate settings, 30 endpoints", () => {
    const endpoints = Array.from({ length: 40 }, (_, n) => endpointBytes((n % 15) + 1 + (n >= 15 ? 0x80 : 0)));
    const interfaces = Array.from({ length: 255 }, (_, n) => interfaceBytes(n));
    const alternates = Array.from({ length: 255 }, (_, n) => interfaceBytes(0, n));
    expect(parseConfiguration(configuration(interfaces)).interfaces).toHaveLength(32);
    expect(parseConfiguration(configuration(alternates)).interfaces[0]?.alternates).toHaveLength(128);
    const one = parseConfiguration(configuration([interfaceBytes(0), ...endpoints]));
    expect(one.interfaces[0]?.alternates[0]?.endpoints).toHaveLength(30);
  });

  test("a block that is no configuration is refused", () => {
    expect(() => parseConfiguration(Uint8Array.of(9, 1, 9, 0, 1, 1, 0, 0, 0))).toThrow(DescriptorError);
    expect(() => parseConfiguration(new Uint8Array(3))).toThrow(RecordError);
  });
});

describe("strings (USB 2.0 §9.6.7)", () => {
  const utf16 = (text: string): Uint8Array => {
    const body = new Uint8Array(Buffer.from(text, "utf16le"));
    return concat([Uint8Array.of(body.length + 2, 3), body]);
  };

  test.each([
    ["plain text", "Kingston", "Kingston"],
    ["line ends and NUL", "a\nb\r\0c", "a?b??c"],
    ["terminal escapes", "\u001b[31mred\u009b", "?[31mred?"],
    ["bidirectional overrides", "a\u202eb", "a?b"],
    ["a lone surrogate", "x\ud800y", "x?y"],
    ["other scripts", "Флешка 随身碟", "Флешка 随身碟"],
    ["padding", "  USB DISK   ", "USB DISK"],
  ])("%s", (_, text, safe) => expect(parseString(utf16(text))).toBe(safe));

  test("an odd length loses its half character, a lying length is refused", () => {
    expect(parseString(Uint8Array.of(5, 3, 65, 0, 66))).toBe("A");
    for (const bytes of [[], [2], [9, 3, 65, 0], [4, 2, 65, 0], [1, 3]])
      expect(() => parseString(Uint8Array.from(bytes))).toThrow(DescriptorError);
  });

  test("the language list", () => {
    expect(parseLanguages(Uint8Array.of(6, 3, 0x07, 0x04, 0x09, 0x04))).toEqual([0x0407, 0x0409]);
  });
});

describe("BOS (USB 3.2 §9.6.2)", () => {
  test("capabilities, as many as were announced", () => {
    const block = Uint8Array.of(5, 15, 12, 0, 1, 7, 16, 2, 6, 0, 0, 0);
    expect(parseBos(block)).toEqual([{ capabilityType: 2, data: Uint8Array.of(6, 0, 0, 0) }]);
  });

  test.each([
    ["wTotalLength 0", [5, 15, 0, 0, 1]],
    ["bLength 0", [0, 15, 9, 0, 1, 0, 0, 0, 0]],
    ["a capability past the end", [5, 15, 8, 0, 1, 9, 16, 2]],
  ])("%s: an error or nothing, never a loop", (_, bytes) => {
    try {
      expect(parseBos(Uint8Array.from(bytes))).toEqual([]);
    } catch (error) {
      expect(error).toBeInstanceOf(DescriptorError);
    }
  });
});
