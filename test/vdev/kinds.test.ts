import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FlashDrive } from "../../src/vdev/flash-drive.js";
import { ImageError } from "../../src/vdev/image.js";
import { createModel, modelKinds, type ModelOptions, OptionError } from "../../src/vdev/kinds.js";
import { done, ManualClock, TestBus } from "./bus.js";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-kinds-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function make(options: ModelOptions) {
  const model = createModel("flash-drive", options, { clock: new ManualClock() });
  return { model, bus: new TestBus(model).configure() };
}

/** The units of a flash drive that was made from options. */
function units(options: ModelOptions) {
  const { model } = make(options);
  expect(model).toBeInstanceOf(FlashDrive);
  return model instanceof FlashDrive ? model.scsi.units : [];
}

describe("a flash drive from text", () => {
  test("by default 16 MiB with a FAT file system that holds README.TXT", () => {
    const { bus } = make({});
    const { data } = bus.read([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8);
    expect(new DataView(data.buffer).getUint32(0)).toBe(32767);
    const boot = bus.read([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512).data;
    expect([Buffer.from(boot.subarray(54, 59)).toString(), boot[510], boot[511]]).toEqual(["FAT16", 0x55, 0xaa]);
    const start = bus.read([0x28, 0, 0, 0, 0, 0, 0, 2, 0, 0], 512 * 512).data;
    expect(Buffer.from(start).includes("README  TXT")).toBe(true);
  });

  test.each([
    [{ size: "3M" }, { blockCount: 6144, blockBytes: 512 }],
    [
      { size: "1m", blockBytes: "4096" },
      { blockCount: 256, blockBytes: 4096 },
    ],
    [{ readOnly: "" }, { writeProtected: true }],
    [{ readOnly: "no" }, { writeProtected: false }],
    [{ removable: "yes" }, { removable: true, hasMedium: true }],
    [{ medium: "none" }, { removable: true, hasMedium: false }],
    [{ cache: "" }, { hasWriteCache: true, writeCacheEnabled: true }],
  ])("%o", (options, expected) => {
    expect(units(options)[0]).toMatchObject(expected);
  });

  test("units, identity, ids and speed", () => {
    expect(units({ luns: "3", size: "1M" }).length).toBe(3);
    const { model, bus } = make({
      vendor: "ACME",
      product: "Stick",
      serial: "0123456789AB",
      ids: "0951:1666",
      speed: "super",
    });
    const device = new DataView(model.deviceDescriptor.slice().buffer);
    expect([device.getUint16(8, true), device.getUint16(10, true), model.speed]).toEqual([0x0951, 0x1666, "super"]);
    const serial = done(bus.control(0x80, 6, 0x0303, 0x0409, 255)).data;
    expect(Buffer.from(serial.subarray(2)).toString("utf16le")).toBe("0123456789AB");
    expect(Buffer.from(bus.read([0x12, 0, 0, 0, 36, 0], 36).data.subarray(8, 21)).toString()).toBe("ACME    Stick");
  });

  test("start-up, attention, styles and faults, repeated or joined", () => {
    const slow = make({ startup: "1" }).bus;
    expect([slow.read([0, 0, 0, 0, 0, 0], 0).status, slow.read([0, 0, 0, 0, 0, 0], 0).status]).toEqual([1, 0]);
    expect(make({ attention: "" }).bus.read([0, 0, 0, 0, 0, 0], 0).status).toBe(1);
    expect(make({ shortIn: "pad" }).bus.read([0x12, 0, 0, 0, 36, 0], 100).data.length).toBe(100);
    for (const fault of [
      "csw:status:value=1;csw:status:value=2:nth=2",
      ["csw:status:value=1", "csw:status:value=2:nth=2"],
    ]) {
      const { bus } = make({ fault });
      expect([bus.read([0, 0, 0, 0, 0, 0], 0).status, bus.read([0, 0, 0, 0, 0, 0], 0).status]).toEqual([1, 2]);
    }
  });

  test("an image in a file", async () => {
    const image = join(folder, "disk.img");
    writeFileSync(image, "");
    truncateSync(image, 1 << 20);
    const { model, bus } = make({ image });
    expect(bus.write([0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0], new Uint8Array(512).fill(7)).status).toBe(0);
    await model.close();
    const again = make({ image, readOnly: "" });
    expect(again.bus.read([0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0], 512).data[0]).toBe(7);
    await again.model.close();
  });

  test.each([
    [{ colour: "red" }, 'option "colour" is none of image, size'],
    [{ size: "0" }, 'size="0"'],
    [{ size: "12X" }, "powers of 1024"],
    [{ size: "1000" }, "1000 bytes is not a multiple of the block size 512"],
    [{ size: "3T" }, "use a sparse file"],
    [{ size: "4K" }, "too few for a FAT"],
    [{ size: "99999999T" }, 'size="99999999T"'],
    [{ blockBytes: "520" }, "512, 1024, 2048, 4096"],
    [{ luns: "17" }, "from 1 to 16"],
    [{ luns: "1.5" }, "whole number"],
    [{ readOnly: "maybe" }, "a flag stands alone"],
    [{ medium: "cd" }, "it is one of none"],
    [{ image: "/nonexistent/x", size: "1M" }, "has its own size"],
    [{ image: "/nonexistent/x" }, "no such file"],
    [{ vendor: "NINE CHARS" }, "1 to 8 printable"],
    [{ serial: "tab\t" }, "printable"],
    [{ ids: "951:1666" }, "idVendor:idProduct"],
    [{ speed: "warp" }, "full, high, super"],
    [{ fault: "csw:tga" }, 'action "tga" is none of'],
    [{ size: ["1M", "2M"] }, "given more than once"],
    [{ size: "1", toString: "" }, 'option "toString"'],
  ] as [ModelOptions, string][])("%o is refused", (options, message) => {
    expect(() => make(options)).toThrow(message);
  });

  test("errors have classes; kinds have help", () => {
    expect(() => createModel("toaster", {}, { clock: new ManualClock() })).toThrow(OptionError);
    expect(() => createModel("constructor", {}, { clock: new ManualClock() })).toThrow(
      'kind "constructor" is none of flash-drive',
    );
    expect(() => make({ image: "/nonexistent/x" })).toThrow(ImageError);
    expect(modelKinds().map(({ kind }) => kind)).toEqual(["flash-drive", "serial"]);
  });
});
