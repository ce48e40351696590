import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type OptionChoice, type Side, TelnetOptions } from "../../../../src/pud/links/rfc2217/options.js";
import {
  COM_PORT,
  DO,
  DONT,
  encodeData,
  encodeNegotiation,
  encodeSubnegotiation,
  IAC,
  MAX_SUBNEGOTIATION_BYTES,
  SB,
  SE,
  TelnetDecoder,
  type Verb,
  WILL,
  WONT,
} from "../../../../src/pud/links/rfc2217/telnet.js";

/** What a decoder says, with neighbouring data joined. */
class Heard {
  readonly events: string[] = [];
  data: number[] = [];
  readonly decoder = new TelnetDecoder({
    data: (bytes) => this.data.push(...bytes),
    command: (code) => this.#tell(`command ${code}`),
    negotiation: (verb, option) => this.#tell(`${verb} ${option}`),
    subnegotiation: (option, payload) => this.#tell(`sb ${option} ${Buffer.from(payload).toString("hex")}`),
    malformed: (message) => this.#tell(`malformed ${message}`),
  });

  /** Feeds the bytes in parts of these lengths, then the rest. */
  feed(bytes: Uint8Array, cuts: readonly number[] = []): string[] {
    let at = 0;
    for (const cut of cuts) {
      this.decoder.feed(bytes.slice(at, at + cut));
      at += cut;
    }
    this.decoder.feed(bytes.slice(at));
    this.#flush();
    return this.events;
  }

  #tell(event: string): void {
    this.#flush();
    this.events.push(event);
  }

  #flush(): void {
    if (this.data.length > 0) this.events.push(`data ${Buffer.from(this.data).toString("hex")}`);
    this.data = [];
  }
}

/** Bytes among which those that mean something are frequent. */
const bytes = fc
  .uint8Array({ maxLength: 64 })
  .chain((plain) =>
    fc
      .array(fc.oneof(fc.constantFrom(0, 10, 13, 240, 250, 251, 253, 255), fc.nat(255)), { maxLength: 64 })
      .map((marked) => Uint8Array.from([...plain, ...marked])),
  );
const cuts = fc.array(fc.nat(9), { maxLength: 30 });

describe("data", () => {
  test("comes out as it went in, however it is cut (RFC 854, 856)", () => {
    fc.assert(
      fc.property(bytes, cuts, fc.boolean(), (data, lengths, binary) => {
        const heard = new Heard();
        heard.decoder.binary = binary;
        const events = heard.feed(encodeData(data, binary), lengths);
        expect(events).toEqual(data.length === 0 ? [] : [`data ${Buffer.from(data).toString("hex")}`]);
      }),
    );
  });

  test.each<[string, boolean, number[], number[]]>([
    ["IAC is doubled", true, [1, 255, 2], [1, 255, 255, 2]],
    ["CR is followed by NUL", false, [13, 65, 13], [13, 0, 65, 13, 0]],
    ["or by LF", false, [13, 10], [13, 10]],
    ["and by nothing in BINARY", true, [13, 65], [13, 65]],
  ])("%s", (_what, binary, data, wire) => {
    expect([...encodeData(Uint8Array.from(data), binary)]).toEqual(wire);
  });

  test("a chunk without commands is handed on without a copy in BINARY", () => {
    const parts: Uint8Array[] = [];
    const nothing = (): void => undefined;
    const decoder = new TelnetDecoder({
      data: (part) => parts.push(part),
      command: nothing,
      negotiation: nothing,
      subnegotiation: nothing,
      malformed: nothing,
    });
    decoder.binary = true;
    const chunk = Uint8Array.of(1, 13, 0);
    decoder.feed(chunk);
    expect(parts[0]).toBe(chunk);
  });
});

describe("commands", () => {
  test("stand among data in their order, however they are cut", () => {
    const wire = Uint8Array.from([
      65,
      IAC,
      241,
      66,
      ...encodeNegotiation(DO, 3),
      ...encodeSubnegotiation(COM_PORT, Uint8Array.of(1, 0, 255, 0)),
      IAC,
      IAC,
      67,
    ]);
    fc.assert(
      fc.property(cuts, (lengths) => {
        expect(new Heard().feed(wire, lengths)).toEqual([
          "data 41",
          "command 241",
          "data 42",
          "253 3",
          "sb 44 0100ff00",
          "data ff43",
        ]);
      }),
    );
  });

  test.each<[string, number[], RegExp]>([
    ["an SE alone", [IAC, SE], /without IAC SB/],
    ["a subnegotiation of nothing", [IAC, SB, IAC, SE], /without an option/],
    ["a command in a subnegotiation", [IAC, SB, 44, IAC, 241], /IAC 241 in a subnegotiation/],
    [
      "a subnegotiation that is too long",
      [IAC, SB, ...Array<number>(MAX_SUBNEGOTIATION_BYTES + 1).fill(44), IAC, SE],
      /of 1025 bytes, at most 1024/,
    ],
  ])("%s is dropped, and what follows is read", (_what, wire, message) => {
    const events = new Heard().feed(Uint8Array.from([...wire, 65]));
    expect(events[0]).toMatch(message);
    expect(events.at(-1)).toBe("data 41");
  });

  test("the longest subnegotiation is read", () => {
    const payload = new Uint8Array(MAX_SUBNEGOTIATION_BYTES - 1).fill(IAC);
    expect(new Heard().feed(encodeSubnegotiation(7, payload))).toEqual([`sb 7 ${"ff".repeat(payload.length)}`]);
  });
});

describe("options", () => {
  const choices = fc
    .array(
      fc.record({
        option: fc.nat(3),
        side: fc.constantFrom<Side>("us", "them"),
        ask: fc.boolean(),
      }) satisfies fc.Arbitrary<OptionChoice>,
      { maxLength: 8 },
    )
    .map((all) => all.filter((one, at) => all.findIndex((o) => o.option === one.option && o.side === one.side) === at));

  test("two ends agree, and stop talking (RFC 1143)", () => {
    fc.assert(
      fc.property(choices, choices, fc.array(fc.boolean(), { maxLength: 40 }), (left, right, turns) => {
        const wires: [Verb, number][][] = [[], []];
        const ends = [left, right].map(
          (wanted, at) =>
            new TelnetOptions(
              wanted,
              (verb, option) => wires[at]?.push([verb, option]),
              () => undefined,
            ),
        );
        for (const end of ends) end.start();
        let said = 0;
        for (let step = 0; wires.some((wire) => wire.length > 0); step++) {
          // The random turns decide who is heard next; after them whoever has something to say.
          const from = wires[turns[step] === true ? 1 : 0]?.length
            ? Number(turns[step] === true)
            : wires[0]?.length
              ? 0
              : 1;
          const [verb, option] = wires[from]?.shift() ?? [DO, 0];
          ends[1 - from]?.heard(verb, option);
          said++;
          expect(said).toBeLessThan(100);
        }
        for (const option of [0, 1, 2, 3]) {
          expect(ends[0]?.isOn("us", option)).toBe(ends[1]?.isOn("them", option));
          expect(ends[0]?.isOn("them", option)).toBe(ends[1]?.isOn("us", option));
        }
      }),
    );
  });

  test.each<[string, Verb, Verb]>([
    ["WILL", WILL, DONT],
    ["DO", DO, WONT],
  ])("%s of an option that is not wanted is refused", (_name, asked, answer) => {
    const said: [Verb, number][] = [];
    new TelnetOptions(
      [],
      (...words) => said.push(words),
      () => undefined,
    ).heard(asked, 24);
    expect(said).toEqual([[answer, 24]]);
  });

  test("what was asked for is not acknowledged again, and can be switched off", () => {
    const said: string[] = [];
    const options = new TelnetOptions(
      [{ side: "us", option: 0, ask: true }],
      (verb) => said.push(`say ${verb}`),
      (_side, _option, on) => said.push(on ? "on" : "off"),
    );
    options.start();
    for (const verb of [DO, DO, DONT, DONT] as const) options.heard(verb, 0);
    expect(said).toEqual([`say ${WILL}`, "on", `say ${WONT}`, "off"]);
  });
});
