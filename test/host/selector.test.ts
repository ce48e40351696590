import { describe, expect, test } from "vitest";
import { HostError } from "../../src/host/errors.js";
import { parseSelector, selects } from "../../src/host/selector.js";

describe("parseSelector", () => {
  test.each([
    ["1-1", { kind: "path", path: "1-1" }],
    ["3-1.2.4", { kind: "path", path: "3-1.2.4" }],
    ["0951:1666", { kind: "ids", vendor: 0x0951, product: 0x1666 }],
    ["ABCD:ef01", { kind: "ids", vendor: 0xabcd, product: 0xef01 }],
    ["@00:11 22", { kind: "serial", serial: "00:11 22" }],
    ["sim:flash-drive", { kind: "sim", model: "flash-drive", options: [] }],
    [
      "sim:flash-drive,image=/tmp/a b.img,readOnly,fault=csw:tag:nth=3",
      { kind: "sim", model: "flash-drive", options: ["image=/tmp/a b.img", "readOnly", "fault=csw:tag:nth=3"] },
    ],
    ["usbip:pi.local/1-1.2", { kind: "usbip", address: { host: "pi.local", port: 3240 }, busId: "1-1.2" }],
    ["usbip:127.0.0.1:4000/1-1", { kind: "usbip", address: { host: "127.0.0.1", port: 4000 }, busId: "1-1" }],
    ["usbip:[::1]:4000/1-1", { kind: "usbip", address: { host: "::1", port: 4000 }, busId: "1-1" }],
    ["usbip:unix:/run/x/vdev.sock/1-1", { kind: "usbip", address: { unix: "/run/x/vdev.sock" }, busId: "1-1" }],
  ])("%s", (text, expected) => {
    expect(parseSelector(text)).toEqual({ text, ...expected });
  });

  test.each([
    [""],
    ["stick"],
    ["usb1"],
    ["1-1:1.0"],
    ["1-1.2.3.4.5.6.7"],
    ["951:1666"],
    ["0951:16666"],
    ["@"],
    ["sim:"],
    ["sim:Flash"],
    ["sim:flash-drive,"],
    ["sim:flash-drive,=x"],
    ["usbip:host"],
    ["usbip:host/"],
    ["usbip:host:0/1-1"],
    ["usbip:host:65536/1-1"],
    ["usbip:unix:relative.sock/1-1"],
    ["usbip:host/1-1 x"],
    [`usbip:host/${"1".repeat(32)}`],
  ])("%j is refused, saying what is allowed", (text) => {
    expect(() => parseSelector(text)).toThrowError(HostError);
    expect(() => parseSelector(text)).toThrowError(/does not name a device; allowed: 1-1\.2 \(bus path\)/);
  });
});

describe("selects", () => {
  const device = { path: "1-1.2", vendor: 0x0951, product: 0x1666, serial: "S1" };
  test.each([
    ["1-1.2", true],
    ["1-1", false],
    ["0951:1666", true],
    ["0951:1667", false],
    ["@S1", true],
    ["@S", false],
  ])("%s: %s", (text, expected) => {
    const selector = parseSelector(text);
    if (selector.kind === "sim" || selector.kind === "usbip") throw new Error("not a USB selector");
    expect(selects(selector, device)).toBe(expected);
  });
});
