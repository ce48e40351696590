import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import type { HostEvent } from "../../src/host/events.js";
import { ServedNode } from "../../src/session/served-node.js";
import { defaultLinks, type Link, linksFor, linkWordsFor } from "../../src/pud/links/links.js";
import type { Device } from "../../src/rump/devsw.js";
import { realClock } from "../../src/rumpuser/real/clock.js";
import { MemoryDisk } from "../fakes/memory-disk.js";
import { MemoryTty } from "../fakes/memory-tty.js";

/** A link of this kind that notes what it is asked to serve. */
function notedLink(kind: string): Link & { readonly served: Device[] } {
  const served: Device[] = [];
  return {
    kind,
    served,
    serve: async (name, device) => {
      served.push(device);
      return { uri: `${kind}:${name}`, remove: async () => {} };
    },
    close: async () => {},
  };
}

async function serve(
  device: MemoryDisk | MemoryTty,
  links: readonly Link[],
  readOnly = false,
): Promise<{ events: HostEvent[]; node: ServedNode }> {
  const events: HostEvent[] = [];
  const node = await ServedNode.serve(device.kind === "tty" ? "ttyU" : "sd", device, {
    clock: realClock,
    device: "1-1",
    rights: { takeUnit: async (className) => ({ name: `${className}0`, release: () => {} }) },
    links,
    readOnly,
    emit: (event) => events.push(event),
  });
  return { events, node };
}

describe("a serial line", () => {
  test("is told with its model, and served by the links of its kind alone", async () => {
    const [disks, lines] = [notedLink("nbd"), notedLink("rfc2217")];
    const tty = new MemoryTty({ model: "FT232R" });
    const { events, node } = await serve(tty, [disks, lines]);
    expect(events).toEqual([
      { event: "node", node: "ttyU0", kind: "tty", device: "1-1", model: "FT232R" },
      { event: "link", node: "ttyU0", link: "rfc2217", uri: "rfc2217:ttyU0" },
    ]);
    expect(disks.served).toEqual([]);
    expect(lines.served).toEqual([tty]);
    await node.remove("unplugged");
    expect(events.at(-1)).toMatchObject({ event: "node-gone", node: "ttyU0" });
  });

  test("without a link for it: said, with the words that would serve it", async () => {
    const { events } = await serve(new MemoryTty(), [notedLink("nbd")]);
    expect(events.at(-1)).toMatchObject({ event: "log", level: "warn", source: "ttyU0" });
    expect(events.at(-1)).toHaveProperty("message", expect.stringMatching(/no link serves a tty; .*--link rfc2217/));
  });

  test("with --read-only: not served, and said why", async () => {
    const link = notedLink("rfc2217");
    const { events } = await serve(new MemoryTty(), [link], true);
    expect(link.served).toEqual([]);
    expect(events.at(-1)).toMatchObject({ event: "log", message: expect.stringContaining("--read-only") as string });
  });
});

test("a disk goes to the links of disks", async () => {
  const [disks, lines] = [notedLink("nbd"), notedLink("rfc2217")];
  const { events } = await serve(new MemoryDisk(), [disks, lines]);
  expect(events.map(({ event }) => event)).toEqual(["node", "link"]);
  expect(disks.served.length).toBe(1);
  expect(lines.served).toEqual([]);
});

const EMFILE = Object.assign(new Error("listen EMFILE: too many open files"), { code: "EMFILE" });

/** A link that fails so often, and then serves. */
function failingLink(
  failures: number,
  error: Error,
): Link & { readonly tries: () => number; readonly removals: string[] } {
  let tries = 0;
  const removals: string[] = [];
  return {
    kind: "nbd",
    tries: () => tries,
    removals,
    serve: async (name) => {
      if (tries++ < failures) throw error;
      return { uri: `nbd:${name}`, remove: async (reason) => void removals.push(reason) };
    },
    close: async () => {},
  };
}

describe("a link for which this machine has nothing left", () => {
  test("is told once, and tried again until it serves", async () => {
    const link = failingLink(2, new Error("no socket", { cause: EMFILE }));
    const { events, node } = await serve(new MemoryDisk(), [link]);
    expect(events.map(({ event }) => event)).toEqual(["node", "error"]);
    await vi.waitFor(() => expect(events.map(({ event }) => event)).toEqual(["node", "error", "link"]), {
      timeout: 10_000,
    });
    expect(link.tries()).toBe(3);
    await node.remove("unplugged");
    expect(link.removals).toEqual(["unplugged"]);
  });

  test("is not tried any more when the node has gone, nor one that fails for another reason", async () => {
    const links = [failingLink(9, EMFILE), failingLink(9, new Error("in use"))];
    const { events, node } = await serve(new MemoryDisk(), links);
    expect(events.filter(({ event }) => event === "error")).toHaveLength(2);
    await node.remove("unplugged");
    await delay(2_500);
    expect(links.map((link) => link.tries())).toEqual([1, 1]);
  });
});

test("each kind that has a default link is served by it", () => {
  expect(defaultLinks()).toContain("nbd");
  expect(linkWordsFor("disk")).toEqual(["nbd"]);
  for (const kind of ["disk", "tty"] as const)
    expect(linksFor(kind, defaultLinks().map(notedLink)).length, kind).toBe(1);
  // A program's own link says itself what it serves.
  expect(linksFor("tty", [notedLink("mine")]).length).toBe(1);
});
