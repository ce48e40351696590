import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HotplugWatch } from "../../src/host/hotplug.js";
import { realClock } from "../../src/rumpuser/real/clock.js";

let base = "";
let watches: HotplugWatch[] = [];
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "rumpusb-hp-"));
});
afterEach(() => {
  for (const watch of watches) watch.close();
  watches = [];
  rmSync(base, { recursive: true, force: true });
});

interface Changes {
  /** Resolves at the next change that is told. */
  readonly next: () => Promise<void>;
  readonly unavailable: string[];
}

async function watchFolder(devRoot: string, watchUevents?: (event: () => void) => () => void): Promise<Changes> {
  let told = (): void => {};
  const unavailable: string[] = [];
  const watch = new HotplugWatch({
    devRoot,
    clock: realClock,
    changed: () => told(),
    unavailable: (source) => unavailable.push(source),
    ...(watchUevents === undefined ? {} : { watchUevents }),
  });
  watches.push(watch);
  await watch.start();
  return {
    unavailable,
    next: async () =>
      await new Promise((resolve) => {
        told = resolve;
      }),
  };
}

test("a device node that comes or goes is told, also on a bus that was not there before", async () => {
  const bus = join(base, "001");
  mkdirSync(bus);
  const { next } = await watchFolder(base);
  const added = next();
  writeFileSync(join(bus, "002"), "");
  await added;

  const newBus = next();
  mkdirSync(join(base, "002"));
  await newBus;
  const onNewBus = next();
  writeFileSync(join(base, "002", "001"), "");
  await onNewBus;

  const removed = next();
  rmSync(join(bus, "002"));
  await removed;
});

test("the folder is waited for where it does not exist, and only its way is looked at", async () => {
  const devRoot = join(base, "bus/usb");
  let told = 0;
  const { next } = await watchFolder(devRoot);
  const change = next().then(() => told++);
  writeFileSync(join(base, "tty"), ""); // nothing of ours
  mkdirSync(join(devRoot, "001"), { recursive: true });
  await change;
  const device = next();
  writeFileSync(join(devRoot, "001", "002"), "");
  await device;
  expect(told).toBe(1);
});

test("uevents are told too, a burst of them once", async () => {
  let event = (): void => {};
  let stopped = 0;
  const { next } = await watchFolder(base, (usbEvent) => {
    event = usbEvent;
    return () => stopped++;
  });
  const change = next();
  for (let i = 0; i < 10; i++) event();
  await change;
  for (const watch of watches) watch.close();
  expect(stopped).toBe(1);
});

test("without uevents the rest goes on", async () => {
  const { next, unavailable } = await watchFolder(base, () => {
    throw new Error("no netlink here");
  });
  expect(unavailable).toEqual(["kernel uevents"]);
  const change = next();
  mkdirSync(join(base, "001"));
  await change;
});
