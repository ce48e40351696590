import { expect, test } from "vitest";
import { confinedTo } from "../../src/host/confine.js";
import { functionsOf, partsOf } from "../../src/host/functions.js";
import { narrowed } from "../../src/host/parts.js";
import { deviceOf } from "./interfaces.js";

test.each([
  ["a stick", [8], [0], [[0]]],
  ["two sticks in one", [8, 8], [0, 1], [[0], [1]]],
  ["a keyboard between them, which has no driver", [8, 3, 8], [0, 2], [[0], [2]]],
  ["a modem with its data interface", [2, 10], [0], [[0, 1]]],
  [
    "two modems",
    [2, 10, 2, 10],
    [0, 2],
    [
      [0, 1],
      [2, 3],
    ],
  ],
  ["a modem whose data interface is past a disk", [2, 8, 10], [0, 1], [[0, 2], [1]]],
  ["a modem whose data interface comes first", [10, 2, 8], [1, 2], [[0, 1], [2]]],
  ["a modem whose ids match every interface", [2, 10, 8], [0, 1, 2], [[0, 1], [2]]],
  ["data beside a vendor's own interface", [255, 10, 8], [0, 2], [[0, 1], [2]]],
  ["data alone", [10, 10], [0], [[0, 1]]],
  ["nothing with a driver", [3, 3], [], []],
  ["not configured", [], [], []],
])("%s", (_name, classes, matched, functions) => {
  const it = deviceOf(classes, matched);
  expect(functionsOf(it)).toEqual(functions);
  expect(functions.flat().sort((a, b) => a - b)).toEqual(confinedTo(it));
});

test("a function has the number of its first interface in its key, and its own matches only", () => {
  const parts = partsOf(deviceOf([8, 2, 10], [0, 1]));
  expect(parts.map(({ key, interfaces }) => [key, interfaces])).toEqual([
    ["1-1:0", [0]],
    ["1-1:1", [1, 2]],
  ]);
  expect(parts.map((part) => part.device.matches.map((match) => match.interfaceNumber))).toEqual([[0], [1]]);
});

test.each([
  ["one function", [2, 10], [0]],
  ["none", [3], []],
])("a device with %s is left whole", (_name, classes, matched) => {
  const it = deviceOf(classes, matched);
  expect(partsOf(it)).toEqual([{ key: "1-1", device: it, interfaces: undefined }]);
  expect(narrowed(it, undefined)).toBe(it);
});
