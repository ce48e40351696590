import { mkdtempSync, openSync, closeSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { HostError } from "../../src/host/errors.js";
import type { HostEvent } from "../../src/host/events.js";
import { DeviceSession } from "../../src/host/session.js";
import { noSandbox } from "../../src/host/sandbox/sandbox.js";
import type { DeviceSource } from "../../src/host/sources/source.js";
import { LocalUnits, sharedUnits } from "../../src/host/units.js";
import type { Link } from "../../src/pud/links/links.js";
import type { Device, Disk } from "../../src/rump/devsw.js";
import { realClock } from "../../src/rumpuser/real/rumpuser.js";

const FAKE_RUMP = fileURLToPath(new URL("fake-rump.mjs", import.meta.url));

/** A link that notes what it serves. */
class NotedLink implements Link {
  readonly kind = "noted";
  readonly served = new Map<string, Disk>();

  async serve(name: string, device: Device): ReturnType<Link["serve"]> {
    if (device.kind !== "disk") throw new Error(`no ${device.kind} here`);
    this.served.set(name, device);
    return {
      uri: `noted:${name}`,
      remove: async () => {
        this.served.delete(name);
      },
    };
  }

  async close(): Promise<void> {}
}

interface Rig {
  readonly session: DeviceSession;
  readonly events: HostEvent[];
  readonly link: NotedLink;
  /** How the session ended; started by the first `run`. */
  readonly ended: Promise<HostError | undefined>;
  /** Resolves when it has attached or ended. */
  readonly settled: Promise<void>;
  readonly released: () => number;
}

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-s-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function start(behaviour: string, readOnly = false): Promise<Rig> {
  const events: HostEvent[] = [];
  const link = new NotedLink();
  let releases = 0;
  const source: DeviceSource = {
    key: "1-1",
    open: async () => {
      const descriptor = openSync("/dev/null", "r+");
      return {
        bus: { kind: "usbfs" },
        drivers: [{ name: behaviour, specifier: "./none.js" }],
        descriptor,
        closeDescriptor: () => closeSync(descriptor),
        release: async () => {
          releases++;
        },
      };
    },
  };
  const session = new DeviceSession(source, {
    clock: realClock,
    takeUnit: await sharedUnits(folder),
    driverUnits: new LocalUnits(),
    links: [link],
    readOnly,
    emit: (event) => events.push(event),
    sandbox: noSandbox,
    rumpScript: FAKE_RUMP,
  });
  let attached = (): void => {};
  const whenAttached = new Promise<void>((resolve) => {
    attached = resolve;
  });
  const ended = session.run(attached).then(
    () => undefined,
    (error: HostError) => error,
  );
  const settled = Promise.race([whenAttached, ended.then(() => undefined)]);
  return { session, events, link, ended, settled, released: () => releases };
}

const names = (events: readonly HostEvent[]): string[] => events.map((event) => event.event);

test("attach: device, node and link are told, and the node works; stop undoes it all in order", async () => {
  const { session, events, link, ended, settled, released } = await start("attach");
  await settled;
  expect(events).toEqual([
    { event: "device", device: "1-1", vendor: "0951", product: "1666", driver: "umass0", pid: expect.any(Number) },
    { event: "node", node: "sd0", kind: "disk", device: "1-1", size: 32768, blockBytes: 512, readOnly: false },
    { event: "link", node: "sd0", link: "noted", uri: "noted:sd0" },
  ]);
  const disk = link.served.get("sd0");
  await disk?.write(3, new Uint8Array(512).fill(7));
  expect((await disk?.read(3, 1))?.[0]).toBe(7);

  session.stop("SIGTERM");
  expect(await ended).toBeUndefined();
  expect(events.slice(3)).toEqual([
    { event: "node-gone", node: "sd0", device: "1-1", reason: "SIGTERM" },
    { event: "detach", device: "1-1" },
  ]);
  expect(link.served.size).toBe(0);
  expect(released()).toBe(1);
});

test("two sessions: names of nodes and drivers differ", async () => {
  const rigs = [await start("attach"), await start("attach")];
  await Promise.all(rigs.map(async (rig) => await rig.settled));
  const nodes = rigs.flatMap((rig) => rig.events.flatMap((event) => (event.event === "node" ? [event.node] : [])));
  expect(nodes.sort()).toEqual(["sd0", "sd1"]);
  for (const rig of rigs) rig.session.stop("enough");
  await Promise.all(rigs.map(async (rig) => await rig.ended));
});

test("--read-only: the node says so, and nothing is written whatever the driver thinks", async () => {
  const { session, events, link, ended, settled } = await start("attach", true);
  await settled;
  expect(events[1]).toMatchObject({ event: "node", readOnly: true });
  const disk = link.served.get("sd0");
  await expect(disk?.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: "EROFS" });
  await expect(disk?.trim(0, 1)).rejects.toMatchObject({ code: "EROFS" });
  expect(await disk?.read(0, 1)).toHaveLength(512);
  session.stop("enough");
  await ended;
});

test("killed: ends at once, without a word to the driver", async () => {
  const { session, ended, settled, released } = await start("attach");
  await settled;
  session.kill();
  expect(await ended).toBeUndefined();
  expect(released()).toBe(1);
});

test("stopped while it attaches", async () => {
  const { session, events, ended, released } = await start("silent");
  session.kill();
  await ended;
  expect(events).toEqual([]);
  expect(released()).toBe(1);
});

describe("the rump process", () => {
  test("crashes: an error with the signal and its last words, made printable; then detach", async () => {
    const { events, ended, link, released } = await start("crash");
    const error = await ended;
    expect(error?.code).toBe("RUMP_LOST");
    expect(error?.message).toMatch(/^1-1: rump process [0-9]+: ended with signal SIGSEGV\n {2}last words\?\[2J$/);
    expect(names(events)).toEqual(["device", "node", "link", "node-gone", "detach"]);
    expect(link.served.size).toBe(0);
    expect(released()).toBe(1);
  });

  test("ends with status 0: its device has gone, and that is no error", async () => {
    const { events, ended } = await start("gone");
    expect(await ended).toBeUndefined();
    expect(names(events)).toEqual(["device", "node", "link", "node-gone", "detach"]);
  });

  test("says why no driver attached: that is the error", async () => {
    const { events, ended } = await start("refuse");
    expect(await ended).toMatchObject({ code: "DRIVER", message: "1-1: nothing for umass here (USB_UNSUPPORTED)" });
    expect(events).toEqual([]);
  });

  test("has no driver for it", async () => {
    const { ended } = await start("nothing");
    expect(await ended).toMatchObject({ code: "NO_DRIVER" });
  });

  test("ends before it says anything", async () => {
    const { ended, released } = await start("early");
    expect(await ended).toMatchObject({ code: "RUMP_LOST", message: expect.stringContaining("status 3") });
    expect(released()).toBe(1);
  });
});
