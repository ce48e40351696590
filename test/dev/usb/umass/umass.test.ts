import { describe, expect, test } from "vitest";
import { UnsupportedError } from "../../../../src/dev/usb/errors.js";
import { rankMatch } from "../../../../src/dev/usb/match.js";
import { UMASS_MATCH } from "../../../../src/dev/usb/umass/match.js";
import { findQuirks, QUIRKS } from "../../../../src/dev/usb/umass/quirks.js";
import { readLunCount, umass } from "../../../../src/dev/usb/umass/umass.js";
import { CBW, IDENTITY, type Reply, scriptedDevice, statusOf } from "./scripted-device.js";

describe("match", () => {
  const BOT = { interfaceClass: 0x08, interfaceSubClass: 0x06, interfaceProtocol: 0x50 };
  const IDS = {
    vendor: 1,
    product: 2,
    revision: 3,
    deviceClass: 0,
    deviceSubClass: 0,
    deviceProtocol: 0,
    interfaceNumber: 0,
    ...BOT,
  };
  for (const [name, change, isOurs] of [
    ["SCSI over BOT", {}, true],
    ["UAS", { interfaceProtocol: 0x62 }, false],
    ["a CBI floppy", { interfaceSubClass: 0x04, interfaceProtocol: 0x00 }, false],
    ["a keyboard", { interfaceClass: 0x03 }, false],
  ] as const)
    test(`${name}: ${isOurs ? "ours" : "left alone"}`, () => {
      const ranks = UMASS_MATCH.map((rule) => rankMatch(rule, { ...IDS, ...change }));
      expect(Math.max(...ranks) > 0).toBe(isOurs);
    });
});

describe("Get Max LUN (BOT 1.0 §3.2)", () => {
  for (const [name, reply, count, warns] of [
    ["0 is one unit", { data: Uint8Array.of(0) }, 1, 0],
    ["3 is four units", { data: Uint8Array.of(3) }, 4, 0],
    ["15 is sixteen", { data: Uint8Array.of(15) }, 16, 0],
    ["16 is nonsense: one", { data: Uint8Array.of(16) }, 1, 1],
    ["255 is nonsense: one", { data: Uint8Array.of(255) }, 1, 1],
    ["a stall is one", { ends: "stalled" }, 1, 0],
    ["nothing is one", { data: new Uint8Array(0) }, 1, 0],
    ["no answer in time is one", { ends: "hang" }, 1, 1],
    ["a bus error is one", { ends: "error" }, 1, 1],
  ] as const)
    test(name, async () => {
      const device = scriptedDevice([{ step: "max lun", ...reply }]);
      expect(await device.clock.runUntil(readLunCount(device.at))).toBe(count);
      expect(device.log.length).toBe(warns);
    });

  test("an unplug is none", async () => {
    const device = scriptedDevice([{ step: "max lun", ends: "disconnected" }]);
    await expect(readLunCount(device.at)).rejects.toMatchObject({ code: "USB_DISCONNECTED" });
  });
});

describe("attach", () => {
  /** INQUIRY data of a CD drive. */
  const cd = new Uint8Array(36).fill(0x20);
  cd.set([0x05, 0x80, 0x02, 0x02, 31]);
  const inquiry = [CBW, { step: "in", data: cd }, { step: "in", data: statusOf() }] as const satisfies Reply[];

  test("a device without a unit for us is left to the next driver, with the reason", async () => {
    const device = scriptedDevice([{ step: "max lun", ends: "stalled" }, ...inquiry]);
    const attached = umass.attach(device.at);
    await expect(attached).rejects.toThrow(UnsupportedError);
    await expect(attached).rejects.toThrow(/lun 0: CD or DVD \(type 05h\) left alone/);
    expect(device.left).toEqual([]);
  });

  test("quirks are named once in the log; a device that must not be asked for its units is not", async () => {
    const identity = { ...IDENTITY, vendor: 0x059b, product: 0x0001, revision: 0x0100 };
    const device = scriptedDevice([...inquiry], identity);
    await expect(umass.attach(device.at)).rejects.toThrow(UnsupportedError);
    const lines = device.log.filter((entry) => entry.message.startsWith("quirk"));
    expect(lines.map((entry) => entry.message)).toEqual([expect.stringMatching(/^quirk of 059b:0001: Iomega ZIP 100/)]);
  });
});

describe("quirk table", () => {
  test("every row says who, what and where it is known from", () => {
    for (const { vendor, product, quirks, reason } of QUIRKS) {
      expect([vendor, product].every((id) => Number.isInteger(id) && id > 0 && id <= 0xffff)).toBe(true);
      expect(Object.keys(quirks).length).toBeGreaterThan(0);
      expect(reason).toMatch(/\((NetBSD|Linux|lab) [A-Z0-9_, ]+\)$/);
    }
  });

  test("a row for one revision does not hold for another", () => {
    const ids = { vendor: 0x152d, product: 0x2329 };
    expect(findQuirks({ ...ids, revision: 0x0100 }).quirks).toEqual({ ignoreResidue: true });
    expect(findQuirks({ ...ids, revision: 0x0200 }).quirks).toEqual({});
  });

  test("rows add up", () => {
    const ids = { vendor: 1, product: 2, revision: 3 };
    const table = [
      { vendor: 1, product: 2, quirks: { ignoreTag: true }, reason: "a" },
      { vendor: 1, product: 2, revision: 3, quirks: { noGetMaxLun: true }, reason: "b" },
      { vendor: 1, product: 9, quirks: { ignoreResidue: true }, reason: "c" },
    ] as const;
    const { quirks, rows } = findQuirks(ids, table);
    expect(quirks).toEqual({ ignoreTag: true, noGetMaxLun: true });
    expect(rows.map((row) => row.reason)).toEqual(["a", "b"]);
  });
});
