import { constants } from "node:os";
import { describe, expect, test } from "vitest";
import { confine, confinedTo, mayReset } from "../../src/host/confine.js";
import { deviceOf } from "./interfaces.js";

test.each([
  ["a stick", [8], [0], [0], true],
  ["storage beside a keyboard: the keyboard is out of reach", [8, 3], [0], [0], false],
  ["the second of three", [3, 8, 3], [1], [1], false],
  ["a modem with its data interface", [2, 10], [0], [0, 1], true],
  ["not configured", [], [], [], true],
])("%s", (_name, classes, matched, allowed, reset) => {
  expect(confinedTo(deviceOf(classes, matched))).toEqual(allowed);
  expect(mayReset(deviceOf(classes, matched))).toBe(reset);
});

describe("the call", () => {
  test("has one bit for each interface", () => {
    const masks: number[] = [];
    confine(deviceOf([3, 8, 8], [1, 2]), 9, { dropPrivileges: (fd, mask) => masks.push(fd, mask) && 0 });
    expect(masks).toEqual([9, 0b110]);
  });

  test("is left out for a device that is not configured", () => {
    confine(deviceOf([], []), 9, {
      dropPrivileges: () => {
        throw new Error("called");
      },
    });
  });

  test.each([
    ["ENODEV", "DEVICE_GONE"],
    ["ENOTTY", "FAILED"],
  ] as const)("%s is %s", (errno, code) => {
    const calls = { dropPrivileges: () => -constants.errno[errno] };
    expect(() => confine(deviceOf([8], [0]), 9, calls)).toThrow(expect.objectContaining({ code }));
  });
});
