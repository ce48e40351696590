/** The small parts: event decoder, notifications, functional descriptors, inbox, match tables, multi-port functions. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DRIVERS } from "../../../../src/dev/usb/drivers.js";
import { findMatches } from "../../../../src/dev/usb/match.js";
import { acmFunctionOf, NotificationReader } from "../../../../src/dev/usb/ucom/cdc.js";
import type { ChipSink } from "../../../../src/dev/usb/ucom/chip.js";
import { Inbox } from "../../../../src/dev/usb/ucom/inbox.js";
import { EventDecoder, EVENT_ESCAPE } from "../../../../src/dev/usb/ucom/uslsa-events.js";
import { AcmModel } from "../../../../src/vdev/serial-acm.js";
import { pattern } from "../../../vdev/bus.js";
import { attachSerial, until } from "./rig.js";

/** What a sink hears, as text. */
function hearing(): { sink: ChipSink; data: () => number[]; heard: string[] } {
  const heard: string[] = [];
  const data: number[] = [];
  const sink: ChipSink = {
    data: (bytes) => void data.push(...bytes),
    lines: (lines) =>
      void heard.push(
        `lines ${Object.entries(lines)
          .filter(([, on]) => on)
          .map(([name]) => name)
          .join(" ")}`.trim(),
      ),
    error: (error) => void heard.push(error),
  };
  return { sink, data: () => data, heard };
}

describe("embedded events (AN571 §5.21)", () => {
  const E = EVENT_ESCAPE;
  const STREAM = Uint8Array.of(1, E, 0, 2, E, 1, 0x08, 3, E, 2, 0x12, E, 3, 0x30, 4, E, 9, 5);
  const check = (cuts: readonly number[]): void => {
    const { sink, data, heard } = hearing();
    const decoder = new EventDecoder();
    let from = 0;
    for (const cut of [...cuts, STREAM.length]) {
      decoder.decode(STREAM.subarray(from, cut), sink);
      from = cut;
    }
    expect(data()).toEqual([1, E, 2, 3, 4, 5]);
    expect(heard).toEqual(["framing", "overrun", "break", "lines cts dsr"]);
  };

  test("a damaged character that is the escape character is a character", () => {
    const { sink, data, heard } = hearing();
    new EventDecoder().decode(Uint8Array.of(E, 1, 0x08, E, 0x41), sink);
    expect([data(), heard]).toEqual([[E, 0x41], ["framing"]]);
  });

  test("data and events, cut at every place", () => {
    check([]);
    for (let cut = 0; cut <= STREAM.length; cut++) check([cut]);
    check(Array.from(STREAM, (_, at) => at));
  });

  test("whatever comes, no more data comes out than went in", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const { sink, data } = hearing();
        new EventDecoder().decode(bytes, sink);
        expect(data().length).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });
});

describe("CDC notifications (CDC 1.2 §6.3, PSTN 1.2 §6.5.4)", () => {
  const state = (bits: number): Uint8Array => Uint8Array.of(0xa1, 0x20, 0, 0, 0, 0, 2, 0, bits, 0);

  test("whole, and in packets of 8 bytes", () => {
    const { sink, heard } = hearing();
    const reader = new NotificationReader();
    reader.read(state(0x0b), sink);
    reader.read(state(0x70).subarray(0, 8), sink);
    reader.read(state(0x70).subarray(8), sink);
    expect(heard).toEqual(["lines dcd dsr ri", "lines", "framing", "parity", "overrun"]);
  });

  test("a length that cannot be, a torn one, another kind: dropped, and the next one is read", () => {
    const { sink, heard } = hearing();
    const reader = new NotificationReader();
    reader.read(Uint8Array.of(0xa1, 0x20, 0, 0, 0, 0, 0xff, 0xff, 1), sink);
    reader.read(Uint8Array.of(0xa1, 0x00, 1, 0, 0, 0, 0, 0), sink);
    reader.read(state(1).subarray(0, 8), sink);
    reader.read(state(2), sink);
    expect(heard).toEqual(["lines dsr"]);
  });

  test("noise is heard as nothing else than lines and errors, and ends", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 50 }), (packets) => {
        const { sink, data } = hearing();
        const reader = new NotificationReader();
        for (const packet of packets) reader.read(packet, sink);
        expect(data()).toEqual([]);
      }),
    );
  });
});

describe("functional descriptors (CDC 1.2 §5.2.3)", () => {
  test.each([
    ["union", [[5, 0x24, 6, 0, 1]], 1],
    ["union with master and slave swapped", [[5, 0x24, 6, 1, 0]], 1],
    ["call management alone", [[5, 0x24, 1, 0, 3]], 3],
    [
      "a union that names itself, call management",
      [
        [5, 0x24, 6, 0, 0],
        [5, 0x24, 1, 0, 2],
      ],
      2,
    ],
    ["a union that is cut", [[4, 0x24, 6, 0]], undefined],
    ["none", [], undefined],
  ] as const)("%s", (_name, descriptors, expected) => {
    expect(
      acmFunctionOf(
        descriptors.map((one) => Uint8Array.from(one)),
        0,
      ).dataInterface,
    ).toBe(expected);
  });

  test("capabilities: without line coding and break the chip is not asked for them", () => {
    expect(acmFunctionOf([Uint8Array.of(4, 0x24, 2, 0)], 0)).toMatchObject({ hasLineCoding: false, hasBreak: false });
    expect(acmFunctionOf([], 0)).toMatchObject({ hasLineCoding: true, hasBreak: true });
  });
});

test("inbox: bytes come out in order and never beyond the grants, whatever the sizes", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(50), fc.uint8Array({ maxLength: 40 })), { maxLength: 60 }), (steps) => {
      const [wanted, got]: [number[], number[]] = [[], []];
      let granted = 0;
      const inbox = new Inbox((data) => void got.push(...data));
      for (const step of steps) {
        if (typeof step === "number") {
          granted += step;
          inbox.grant(step);
        } else {
          wanted.push(...step);
          inbox.put(step);
        }
        expect(got).toEqual(wanted.slice(0, Math.min(granted, wanted.length)));
        expect(inbox.heldBytes).toBe(wanted.length - got.length);
      }
    }),
  );
});

describe("match tables", () => {
  const ids = (vendor: number, product: number, interfaceClass = 0xff) => ({
    vendor,
    product,
    revision: 0,
    deviceClass: 0,
    deviceSubClass: 0,
    deviceProtocol: 0,
    interfaceClass,
    interfaceSubClass: interfaceClass === 2 ? 2 : 0,
    interfaceProtocol: 0,
    interfaceNumber: 0,
  });

  test.each([
    [0x0403, 0x6001, 0xff, "uftdi"],
    [0x0403, 0x6048, 0xff, "uftdi"],
    [0x0403, 0xbcd9, 0xff, undefined], // interface 0 is JTAG
    [0x0403, 0xfc60, 0xff, "uftdi"],
    [0x04d8, 0x000a, 0x02, "umodem"], // Microchip's demonstration id is a modem, too
    [0x1b1c, 0x1c02, 0xff, "uslsa"],
    [0x0557, 0x2022, 0xff, "uplcom"],
    [0x0572, 0x1329, 0xff, "umodem"], // Conexant: no union, and not always the class
    [0x10c4, 0xea60, 0xff, "uslsa"],
    [0x10c4, 0xea71, 0xff, "uslsa"],
    [0x1a86, 0x7523, 0xff, "uchcom"],
    [0x1a86, 0x55d3, 0x02, "uchcom"],
    [0x1a86, 0x55d2, 0x02, "umodem"],
    [0x067b, 0x2303, 0xff, "uplcom"],
    [0x067b, 0x23f3, 0xff, "uplcom"],
    [0x18d1, 0x5014, 0xff, undefined],
    [0x2341, 0x0043, 0x02, "umodem"],
    [0x0951, 0x1666, 0x08, undefined],
  ] as const)("%i:%i class %i: %s", (vendor, product, interfaceClass, driver) => {
    expect(findMatches(DRIVERS, ids(vendor, product, interfaceClass))[0]?.driver.name).toBe(driver);
  });

  test("no two rows of the drivers are the same", () => {
    const rows = DRIVERS.flatMap(({ match }) => match.map((rule) => JSON.stringify(rule)));
    expect(rows.filter((row, at) => rows.indexOf(row) !== at)).toEqual([]);
  });
});

test("a function with two CDC ports: each takes its own data interface", async () => {
  const rig = await attachSerial((options) => new AcmModel({ ...options, ports: 2, wiring: "null-modem" }));
  expect(rig.switched).toEqual(["+ttyU0", "+ttyU1"]);
  const a = await rig.openPort({}, "ttyU0");
  const b = await rig.openPort({}, "ttyU1");
  await rig.sim.run(() => a.port.write(pattern(1000, 1)));
  await until(rig, () => b.collector.bytes === 1000);
  expect(Buffer.compare(b.collector.data, pattern(1000, 1))).toBe(0);
  expect(rig.problems()).toEqual([]);
});

test("1 MB with packet boundaries at odd places, on the chip with the longest packets", async () => {
  const { FtdiModel } = await import("../../../../src/vdev/serial-ftdi.js");
  const rig = await attachSerial((options) => new FtdiModel("ft2232h", options));
  const { port, collector } = await rig.openPort({ baud: 12_000_000 });
  const data = pattern(1 << 20, 9);
  await rig.sim.run(async () => {
    for (let at = 0, size = 1; at < data.length; at += size, size = (size * 5 + 7) % 40_009)
      await port.write(data.subarray(at, at + size));
  });
  await until(rig, () => collector.bytes >= data.length);
  expect(Buffer.compare(collector.data, data)).toBe(0);
});
