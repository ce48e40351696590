import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isUsbUevent, watchUsbUevents } from "../../../src/rumpuser/real/uevents.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text.replaceAll("|", "\0"));

describe("a kernel message", () => {
  test.each(["add", "remove", "change", "bind", "unbind"])("%s: is about USB when its subsystem is", (action) => {
    const head = `${action}@/devices/x/1-1|ACTION=${action}|DEVPATH=/devices/x/1-1`;
    expect(isUsbUevent(bytes(`${head}|SUBSYSTEM=usb|DEVNAME=bus/usb/001/004|SEQNUM=7|`))).toBe(true);
    expect(isUsbUevent(bytes(`${head}|SUBSYSTEM=block|DEVNAME=sda|SEQNUM=7|`))).toBe(false);
    expect(isUsbUevent(bytes(`${head}|SUBSYSTEM=usbmon|DEVNAME=usbmon1|SEQNUM=7|`))).toBe(false);
  });

  test.each([
    "",
    "|",
    "remove@/devices/y|",
    "@/devices/z|SUBSYSTEM=usb|",
    "libudev|\u00fe\u00ed|SUBSYSTEM=usb|",
    "A=1|SUBSYSTEM=usb",
    "SUBSYSTEM=usb",
  ])("%j is none about USB", (text) => expect(isUsbUevent(bytes(text))).toBe(false));

  test("of any bytes is about USB or not", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (datagram) => {
        expect(typeof isUsbUevent(datagram)).toBe("boolean");
      }),
    );
  });
});

test("the socket opens and closes, many times", () => {
  for (let round = 0; round < 50; round++) {
    const stop = watchUsbUevents(() => {});
    stop();
    stop();
  }
});
