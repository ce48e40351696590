import { mkdtempSync, openSync, closeSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { HostError } from "../../src/host/errors.js";
import type { HostEvent } from "../../src/host/events.js";
import { DeviceSession } from "../../src/session/session.js";
import { localRights, localSource } from "../../src/host/local-rights.js";
import { noSandbox } from "../../src/host/sandbox/sandbox.js";
import type { DeviceSource } from "../../src/host/sources/source.js";
import type { RumpStarterContext } from "../../src/host/start-rump.js";
import type { SessionSource } from "../../src/session/rights.js";
import { LocalUnits, sharedUnits } from "../../src/host/units.js";
import { realClock } from "../../src/rumpuser/real/clock.js";
import { NotedLink } from "../fakes/noted-link.js";

const FAKE_RUMP = fileURLToPath(new URL("fake-rump.mjs", import.meta.url));

interface Rig {
  readonly session: DeviceSession;
  readonly events: HostEvent[];
  readonly link: NotedLink<"disk">;
  /** How the session ended; started by the first `run`. */
  readonly ended: Promise<HostError | undefined>;
  /** Resolves when it has attached or ended. */
  readonly settled: Promise<void>;
  readonly released: () => number;
  /** Processes. */
  readonly started: () => number;
  /** The device, plugged in anew. */
  readonly source: SessionSource;
  /** How often it was opened, the first time included. */
  readonly opened: () => number;
}

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-s-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

interface RigOptions {
  readonly readOnly?: boolean;
  readonly graceMs?: number;
  /** The device may come back behind its source. */
  readonly mayReturn?: boolean;
  /** The device cannot be opened again so many times, for this reason. */
  readonly reopenFailures?: number;
  readonly reopenFailure?: Error;
  /** Processes after the first one cannot be started so many times. */
  readonly startFailures?: number;
}

/** As it comes from a list of devices that cannot be read. */
const LIST_UNREAD = Object.assign(new Error("EMFILE: too many open files, scandir '/sys'"), { code: "EMFILE" });
const OUT_OF_DESCRIPTORS = new HostError("NO_RESOURCES", "1-1: EMFILE: too many open files", { cause: LIST_UNREAD });
const NO_PROCESS = new HostError("NO_RESOURCES", "cannot start the rump process: spawn EMFILE", { cause: LIST_UNREAD });

async function start(behaviour: string, options: RigOptions = {}): Promise<Rig> {
  const { readOnly = false, graceMs = 0, mayReturn = false, reopenFailures = 0, startFailures = 0 } = options;
  const { reopenFailure = OUT_OF_DESCRIPTORS } = options;
  const events: HostEvent[] = [];
  const link = new NotedLink("disk");
  let releases = 0;
  let opens = 0;
  let starts = 0;
  let failuresLeft = reopenFailures;
  const source: DeviceSource = {
    key: "1-1",
    mayReturn,
    open: async () => {
      opens++;
      let descriptor = openSync("/dev/null", "r+");
      let isOpen = true;
      const closeDescriptor = (): void => {
        if (isOpen) closeSync(descriptor);
        isOpen = false;
      };
      return {
        bus: { kind: "usbip", busId: "1-1" },
        drivers: [{ name: behaviour, specifier: "./none.js" }],
        get descriptor() {
          return descriptor;
        },
        closeDescriptor,
        reopen: async () => {
          if (failuresLeft-- > 0) throw reopenFailure;
          descriptor = openSync("/dev/null", "r+");
          isOpen = true;
          return true;
        },
        release: async () => {
          closeDescriptor();
          releases++;
        },
      };
    },
  };
  const starter: RumpStarterContext = {
    clock: realClock,
    sandbox: {
      ...noSandbox,
      plan: async () => {
        const isFailing = starts > 0 && starts <= startFailures;
        starts++;
        if (isFailing) throw NO_PROCESS;
        return await noSandbox.plan();
      },
    },
    rumpScript: FAKE_RUMP,
  };
  const sessionSource = localSource(source, starter);
  const session = new DeviceSession(sessionSource, {
    clock: realClock,
    rights: localRights(await sharedUnits(folder)),
    driverUnits: new LocalUnits(),
    links: [link],
    readOnly,
    graceMs,
    emit: (event) => {
      if (event.event !== "sandbox") events.push(event);
    },
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
  return {
    session,
    events,
    link,
    ended,
    settled,
    released: () => releases,
    started: () => starts,
    source: sessionSource,
    opened: () => opens,
  };
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
  const { session, events, link, ended, settled } = await start("attach", { readOnly: true });
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

describe("survival", () => {
  const restarts = (events: readonly HostEvent[]): Extract<HostEvent, { event: "restart" }>[] =>
    events.flatMap((event) => (event.event === "restart" ? [event] : []));

  test.each([
    ["crashOnce", /^signal SIGSEGV$/],
    [
      "hangOnce",
      /^no frame in \d+ ms( \(\d+ ms without a processor left out\))?, not even PONG, with 1 requests unanswered$/,
    ],
  ])("%s: another process answers what was asked; nodes and links are the same", async (behaviour, reason) => {
    const { session, events, ended, link, settled } = await start(behaviour);
    await settled;
    const disk = link.served.get("sd0");
    await disk?.write(3, new Uint8Array(512).fill(7));
    expect(await disk?.read(3, 1)).toHaveLength(512);
    expect(link.served.get("sd0")).toBe(disk);
    expect(names(events)).toEqual(["device", "node", "link", "restart"]);
    expect(restarts(events)).toEqual([
      {
        event: "restart",
        device: "1-1",
        pid: expect.any(Number),
        reason: expect.stringMatching(reason),
        downMs: expect.any(Number),
        count: 1,
      },
    ]);
    session.stop("enough");
    expect(await ended).toBeUndefined();
  });

  test("a device that went wrong: told once a step, and the next process begins where the one before has come to", async () => {
    const { session, events, ended, link, settled, started } = await start("demote");
    await settled;
    const told = (): HostEvent[] => events.filter(({ event }) => event === "device" || event === "demotion");
    await vi.waitFor(() => expect(started()).toBe(2)); // the one in reserve
    const disk = link.served.get("sd0");
    await disk?.read(1, 1);
    await vi.waitFor(() => expect(started()).toBe(3)); // another one, which knows
    await disk?.read(2, 1);
    await disk?.read(3, 1);
    await disk?.read(63, 1);
    expect(told()).toEqual([
      expect.objectContaining({ event: "device", mode: "together (default)" }),
      { event: "demotion", device: "1-1", mode: "overlap", reason: "block 1" },
      { event: "demotion", device: "1-1", mode: "sequence", reason: "block 2" },
      expect.objectContaining({ event: "device", mode: "sequence (demoted before the restart: block 2)" }),
    ]);
    session.stop("enough");
    expect(await ended).toBeUndefined();
  });

  test("a process that lies can choose among the calmer modes, and only downwards", async () => {
    const { session, events, ended, link, settled } = await start("lie");
    await settled;
    await link.served.get("sd0")?.read(0, 1);
    expect(events.filter(({ event }) => event === "demotion")).toEqual([
      { event: "demotion", device: "1-1", mode: "sequence", reason: "a lie" },
    ]);
    session.stop("enough");
    expect(await ended).toBeUndefined();
  });

  test("a request that kills its process three times is answered EIO; others go on", async () => {
    const { session, events, ended, link, settled } = await start("poison");
    await settled;
    const disk = link.served.get("sd0");
    await expect(disk?.read(13, 1)).rejects.toMatchObject({ code: "EIO" });
    expect(await disk?.read(12, 1)).toHaveLength(512);
    expect(restarts(events)).toHaveLength(3);
    session.stop("enough");
    expect(await ended).toBeUndefined();
  });

  test("processes that die without doing anything: after five, quarantine; then as the user says", async () => {
    const { session, events, ended, link, released } = await start("crash");
    await vi.waitFor(() => expect(names(events)).toContain("node-gone"), { timeout: 15_000 });
    expect(names(events)).toEqual([
      "device",
      "node",
      "link",
      "restart",
      "restart",
      "restart",
      "restart",
      "quarantine",
      "node-gone",
    ]);
    expect(events.find(({ event }) => event === "quarantine")).toEqual({
      event: "quarantine",
      device: "1-1",
      failures: 5,
      reason: "signal SIGSEGV",
    });
    expect(link.served.size).toBe(0);
    session.resume();
    await vi.waitFor(() => expect(link.served.size).toBe(1));
    session.stop("enough");
    expect(await ended).toBeUndefined();
    expect(released()).toBe(1);
  });

  test.each([
    ["its node", OUT_OF_DESCRIPTORS],
    ["the list of devices", LIST_UNREAD],
  ])(
    "out of descriptors for %s, longer than five deaths last: told once, tried again, and the request waits",
    async (_, reopenFailure) => {
      const { session, events, ended, link, settled } = await start("crashOnce", { reopenFailures: 5, reopenFailure });
      await settled;
      expect(await link.served.get("sd0")?.read(3, 1)).toHaveLength(512);
      expect(names(events)).toEqual(["device", "node", "link", "error", "restart"]);
      expect(events.find(({ event }) => event === "error")).toEqual({
        event: "error",
        code: "NO_RESOURCES",
        message: `1-1: no process can be started for it; tried again until one can: ${reopenFailure.message}`,
        device: "1-1",
      });
      session.stop("enough");
      expect(await ended).toBeUndefined();
    },
  );

  test("out of descriptors for good: stopped, it ends", async () => {
    const { session, events, ended, link, settled } = await start("crashOnce", { reopenFailures: 1000 });
    await settled;
    const waiting = expect(link.served.get("sd0")?.read(3, 1)).rejects.toMatchObject({ code: "ENODEV" });
    await vi.waitFor(() => expect(names(events)).toContain("error"));
    session.stop("SIGTERM");
    await waiting;
    expect(await ended).toBeUndefined();
  });

  test("cannot be opened again, and it is no shortage: quarantine, which the user may end", async () => {
    const reopenFailure = new HostError("FAILED", "1-1: EINVAL: invalid argument");
    const { session, events, ended, link, settled } = await start("crashOnce", { reopenFailures: 5, reopenFailure });
    await settled;
    await expect(link.served.get("sd0")?.read(3, 1)).rejects.toMatchObject({ code: "EIO" });
    expect(events.find(({ event }) => event === "quarantine")).toMatchObject({
      reason: "1-1: EINVAL: invalid argument",
    });
    session.resume();
    await vi.waitFor(() => expect(link.served.size).toBe(1), { timeout: 10_000 });
    session.stop("enough");
    expect(await ended).toBeUndefined();
  });

  test("unplugged and back within the grace time: the node stays, requests wait", async () => {
    const { session, events, ended, link, settled } = await start("goneOnce", { graceMs: 10_000, mayReturn: true });
    await settled;
    await vi.waitFor(() => expect(names(events)).toContain("unplug"));
    expect(await link.served.get("sd0")?.read(3, 1)).toHaveLength(512);
    expect(names(events)).toEqual(["device", "node", "link", "unplug", "replug"]);
    session.stop("enough");
    expect(await ended).toBeUndefined();
  });

  test.each([
    ["looked for", true],
    ["announced", false],
  ])("back, %s, while no process can be started: tried again until one can", async (_, mayReturn) => {
    // The first of them is the one that would have been in reserve.
    const rig = await start("goneOnce", { graceMs: 10_000, mayReturn, startFailures: 3 });
    const { session, events, ended, link, settled, released, opened } = rig;
    await settled;
    await vi.waitFor(() => expect(names(events)).toContain("unplug"));
    if (!mayReturn) await vi.waitFor(() => expect(session.replugged(rig.source)).toBe(true));
    expect(await link.served.get("sd0")?.read(3, 1)).toHaveLength(512);
    expect(names(events)).toEqual(["device", "node", "link", "unplug", "replug"]);
    session.stop("enough");
    expect(await ended).toBeUndefined();
    expect([opened(), released()]).toEqual([4, 4]);
  });

  test("back, and no process can be started for the whole of its time: EIO", async () => {
    const rig = await start("goneOnce", { graceMs: 700, mayReturn: true, startFailures: 1000 });
    const { events, ended, link, settled, released, opened } = rig;
    await settled;
    await vi.waitFor(() => expect(names(events)).toContain("unplug"));
    await expect(link.served.get("sd0")?.read(3, 1)).rejects.toMatchObject({ code: "EIO" });
    expect(await ended).toBeUndefined();
    expect(names(events)).toEqual(["device", "node", "link", "unplug", "node-gone", "detach"]);
    expect(opened()).toBeGreaterThan(2);
    expect(released()).toBeGreaterThanOrEqual(opened());
  });

  test("not back in time: what waits fails with EIO, and it is no error of the session", async () => {
    const { events, ended, link, settled, released } = await start("gone", { graceMs: 300 });
    await settled;
    const disk = link.served.get("sd0");
    await vi.waitFor(() => expect(names(events)).toContain("unplug"));
    await expect(disk?.read(3, 1)).rejects.toMatchObject({ code: "EIO" });
    expect(await ended).toBeUndefined();
    expect(names(events)).toEqual(["device", "node", "link", "unplug", "node-gone", "detach"]);
    expect(released()).toBeGreaterThan(0);
  });

  test("stopped while nothing serves it: everything ends", async () => {
    const { session, events, ended, link, settled } = await start("gone", { graceMs: 60_000 });
    await settled;
    await vi.waitFor(() => expect(names(events)).toContain("unplug"));
    const waiting = expect(link.served.get("sd0")?.read(3, 1)).rejects.toMatchObject({ code: "ENODEV" });
    session.stop("SIGTERM");
    await waiting;
    expect(await ended).toBeUndefined();
  });
});
