import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { LocalUnits, sharedUnits } from "../../src/host/units.js";

const folders = [mkdtempSync(join(tmpdir(), "rumpusb-u-")), mkdtempSync(join(tmpdir(), "rumpusb-u-"))] as const;
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

test("the lowest free unit, also across holders of the same directory", async () => {
  const mine = await sharedUnits(folders[0]);
  const theirs = await sharedUnits(folders[0]);
  const first = await mine("sd");
  const second = await theirs("sd");
  const other = await theirs("cd");
  expect([first.name, second.name, other.name]).toEqual(["sd0", "sd1", "cd0"]);
  first.release();
  const again = await theirs("sd");
  expect(again.name).toBe("sd0");
  for (const held of [second, other, again]) held.release();
});

test("ten at once get ten names", async () => {
  const take = await sharedUnits(folders[0]);
  const held = await Promise.all(Array.from({ length: 10 }, async () => await take("sd")));
  expect(new Set(held.map((unit) => unit.name)).size).toBe(10);
  for (const unit of held) unit.release();
});

test("another directory counts for itself", async () => {
  const a = await (await sharedUnits(folders[0]))("sd");
  const b = await (await sharedUnits(folders[1]))("sd");
  expect([a.name, b.name]).toEqual(["sd0", "sd0"]);
  a.release();
  b.release();
});

test("units of drivers count within the process", () => {
  const units = new LocalUnits();
  const first = units.take("umass");
  expect(units.take("umass").name).toBe("umass1");
  first.release();
  expect(units.take("umass").name).toBe("umass0");
});
