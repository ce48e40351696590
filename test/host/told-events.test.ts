import fc from "fast-check";
import { expect, test } from "vitest";
import { checkedEvent, printableLines } from "../../src/host/told-events.js";

test("an event comes through as it is", () => {
  for (const event of [
    { event: "node", node: "sd0", kind: "disk", device: "1-1", size: 512, blockBytes: 512, readOnly: false },
    { event: "device", device: "1-1", vendor: "0951", product: "1666", driver: "umass0", pid: 7 },
    { event: "link", node: "sd0", link: "nbd", uri: "nbd+unix:///sd0", path: "/dev/nbd0" },
    { event: "error", code: "NO_DRIVER", message: "1-1: no driver\n  umass0: refused", device: "1-1" },
    { event: "restart", device: "1-1", pid: 7, reason: "signal SIGKILL", downMs: 12.5, count: 1 },
  ])
    expect(checkedEvent(event)).toEqual(event);
});

test.each([
  ["nothing", undefined],
  ["a text", "node"],
  ["no name", { device: "1-1" }],
  ["a name that is a word of the language", { event: "constructor" }],
  ["an event that only this process tells", { event: "ready", nodes: [] }],
  ["a field that is missing", { event: "detach" }],
  ["a node of no sane name", { event: "link", node: "sd0; reboot #", link: "nbd", uri: "" }],
  ["a field of another kind", { event: "detach", device: ["1-1"] }],
  [
    "a field of another kind that may be left out",
    { event: "device", device: "1-1", vendor: "", product: "", driver: "", pid: 1, mode: 2 },
  ],
])("%s is refused", (_, told) => {
  expect(() => checkedEvent(told)).toThrow(/event/);
});

test("nothing but what an event may say, and nothing that a terminal obeys", () => {
  const told = { event: "log", level: "warn", source: "sd0", message: "a\u001b[2Jb", extra: "x", toString: 1 };
  expect(checkedEvent(told)).toEqual({ event: "log", level: "warn", source: "sd0", message: "a?[2Jb" });
});

test("messages and reasons may have several lines, names none", () => {
  expect(checkedEvent({ event: "unplug", device: "1-1\nReady.", graceMs: 1 })).toMatchObject({ device: "1-1?Ready." });
  expect(checkedEvent({ event: "node-gone", node: "sd0", device: "1-1", reason: "a\nb" })).toMatchObject({
    reason: "a\nb",
  });
});

test("lines stay lines; whatever the text, they are printable and bounded", () => {
  expect(printableLines("one\n  two\r\n")).toBe("one\n  two?\n");
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      for (const line of printableLines(text).split("\n")) expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }),
  );
  expect(printableLines("x\n".repeat(100)).split("\n")).toHaveLength(32);
});
