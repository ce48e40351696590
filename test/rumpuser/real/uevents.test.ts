import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { listenUevents, parseUevent } from "../../../src/rumpuser/real/uevents.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text.replaceAll("|", "\0"));

describe("a kernel message", () => {
  test("is read into its fields", () => {
    const message =
      "add@/devices/x/1-1|ACTION=add|DEVPATH=/devices/x/1-1|SUBSYSTEM=usb|DEVNAME=bus/usb/001/004|SEQNUM=7|";
    expect(parseUevent(bytes(message))).toMatchObject({
      action: "add",
      devpath: "/devices/x/1-1",
      subsystem: "usb",
    });
    expect(parseUevent(bytes(message))?.fields.get("DEVNAME")).toBe("bus/usb/001/004");
  });

  test("without the fields has what its first line says", () => {
    expect(parseUevent(bytes("remove@/devices/y|"))).toMatchObject({
      action: "remove",
      devpath: "/devices/y",
      subsystem: "",
    });
  });

  test.each(["", "|", "@/devices/z", "libudev|\u00fe\u00ed", "nothing like it", "A=1|B=2"])("%j is none", (text) =>
    expect(parseUevent(bytes(text))).toBeUndefined(),
  );

  test("of any bytes is a message or none", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (datagram) => {
        const uevent = parseUevent(datagram);
        expect(uevent === undefined || uevent.action.length > 0).toBe(true);
      }),
    );
  });
});

test("the socket opens and closes, many times", () => {
  for (let round = 0; round < 50; round++) {
    const stop = listenUevents({ event: () => {}, lost: () => {} });
    stop();
    stop();
  }
});
