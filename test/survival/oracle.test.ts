/** The oracle itself: it must see every kind of wrong it is there for. */
import { expect, test } from "vitest";
import { Oracle, SECTOR_BYTES } from "./oracle.js";

const SECTORS = 4;

function disk(): { oracle: Oracle; bytes: Uint8Array; put: (sector: number, data: Uint8Array) => void } {
  const bytes = new Uint8Array(SECTORS * SECTOR_BYTES);
  return { oracle: new Oracle(SECTORS), bytes, put: (sector, data) => bytes.set(data, sector * SECTOR_BYTES) };
}

test("an answered write that a read does not see is wrong; one under way may be seen or not", () => {
  const { oracle, bytes, put } = disk();
  const first = oracle.write(1, 2, false);
  expect(oracle.read(0)(bytes)).toEqual([]);
  first.answered();
  expect(oracle.read(0)(bytes)).toHaveLength(2);
  put(1, first.data);
  expect(oracle.read(0)(bytes)).toEqual([]);
});

test("what was flushed and is not there is wrong; what was only answered may be lost with the power", () => {
  const { oracle, bytes, put } = disk();
  const kept = oracle.write(0, 1, false);
  kept.answered();
  const flushed = oracle.flush();
  const late = oracle.write(1, 1, false);
  late.answered();
  expect(oracle.afterPowerLoss(bytes)).toEqual([]);
  flushed();
  expect(oracle.afterPowerLoss(bytes)).toHaveLength(1);
  put(0, kept.data);
  expect(oracle.afterPowerLoss(bytes)).toEqual([]);
  put(1, late.data);
  expect(oracle.afterPowerLoss(bytes)).toEqual([]);
});

test("an older value after a newer one was flushed is wrong, and so is one from another sector, a torn or a foreign one", () => {
  const { oracle, bytes, put } = disk();
  const old = oracle.write(2, 1, false);
  old.answered();
  const forced = oracle.write(2, 1, true);
  forced.answered();
  put(2, old.data);
  expect(oracle.afterPowerLoss(bytes)).toHaveLength(1);
  put(2, forced.data);
  expect(oracle.afterPowerLoss(bytes)).toEqual([]);
  put(3, forced.data);
  expect(oracle.afterPowerLoss(bytes)).toHaveLength(1);
  put(3, new Uint8Array(SECTOR_BYTES));
  put(2, Uint8Array.from([...forced.data.subarray(0, 256), ...old.data.subarray(256)]));
  expect(oracle.afterPowerLoss(bytes)).toHaveLength(1);
});

test("of two writes under way together either may stay", () => {
  const { oracle, bytes, put } = disk();
  const a = oracle.write(0, 1, false);
  const b = oracle.write(0, 1, false);
  b.answered();
  a.answered();
  oracle.flush()();
  for (const { data } of [a, b]) {
    put(0, data);
    expect(oracle.read(0)(bytes)).toEqual([]);
    expect(oracle.afterPowerLoss(bytes)).toEqual([]);
  }
});
