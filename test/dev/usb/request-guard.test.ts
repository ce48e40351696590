import { expect, test } from "vitest";
import { DRIVERS } from "../../../src/dev/usb/drivers.js";
import { isAllowed, RequestGuard, STANDARD_REQUESTS } from "../../../src/dev/usb/request-guard.js";
import { umass } from "../../../src/dev/usb/umass/umass.js";
import type { ControlPipe, ControlRequest, Driver, RequestRule } from "../../../src/dev/usb/usbdi.js";

/** Every bmRequestType and bRequest there is, as "80 06". */
function allowedPairs(rules: readonly RequestRule[] | undefined): string[] {
  const pairs: string[] = [];
  for (let type = 0; type < 256; type++)
    for (let request = 0; request < 256; request++)
      if (isAllowed(rules, type, request, 0)) pairs.push(`${byte(type)} ${byte(request)}`);
  return pairs.sort();
}
const byte = (value: number): string => value.toString(16).padStart(2, "0");

/** GET_STATUS, GET_DESCRIPTOR, GET_CONFIGURATION, GET_INTERFACE, SYNCH_FRAME, CLEAR_FEATURE(ENDPOINT_HALT). */
const STANDARD = ["02 01", "80 00", "80 06", "80 08", "81 00", "81 06", "81 0a", "82 00", "82 0c"];

test("umass: of 65536 combinations exactly the standard ones, Get Max LUN and the reset (BOT 1.0 §3)", () => {
  expect(allowedPairs(umass.requests)).toEqual([...STANDARD, "21 ff", "a1 fe"].sort());
});

test("a driver with no request of its own sends standard ones only", () => {
  expect(allowedPairs([])).toEqual(STANDARD);
});

test("a driver that declares none: class and vendor requests, but no other standard ones", () => {
  const standard = allowedPairs(undefined).filter((pair) => (Number.parseInt(pair, 16) & 0x60) === 0);
  expect(standard).toEqual(STANDARD);
});

test("a feature other than ENDPOINT_HALT stays set (USB 2.0 §9.4.1)", () => {
  expect(isAllowed([], 0x02, 1, 0)).toBe(true);
  expect(isAllowed([], 0x02, 1, 2)).toBe(false);
});

test.each(DRIVERS.map(({ name, specifier }) => [name, specifier] as const))(
  "%s, which comes with the project, declares its requests",
  async (name, specifier) => {
    const path = new URL(specifier.replace(/\.js$/, ".ts"), new URL("../../../src/dev/usb/", import.meta.url)).pathname;
    const module = (await import(path)) as Record<string, Driver>;
    expect(module[name]?.requests).toBeDefined();
  },
);

test("what is refused is not sent, is counted, and is logged eight times at most", async () => {
  const sent: ControlRequest[] = [];
  const pipe: ControlPipe = {
    in: async (request) => {
      sent.push(request);
      return { status: "ok", data: new Uint8Array(0) };
    },
    out: async (request) => {
      sent.push(request);
      return { status: "ok", bytesSent: 0 };
    },
  };
  const lines: string[] = [];
  const guard = new RequestGuard(pipe, { rules: umass.requests, log: (_level, message) => lines.push(message) });
  const dfuDownload = { type: "class", recipient: "interface", request: 1, value: 0, index: 0 } as const;
  for (let i = 0; i < 20; i++)
    await expect(guard.out(dfuDownload, new Uint8Array(64))).rejects.toMatchObject({ code: "USB_REFUSED" });
  await expect(guard.in({ ...dfuDownload, type: "vendor" }, 8)).rejects.toThrow(/c1h 01h/);
  expect(sent).toEqual([]);
  expect(guard.refused).toBe(21);
  expect(lines).toHaveLength(8);
  await guard.in({ ...dfuDownload, request: 0xfe }, 1);
  expect(sent).toHaveLength(1);
});

test("rows of the table are all standard requests", () => {
  expect(STANDARD_REQUESTS.every(({ type }) => type === "standard")).toBe(true);
});
