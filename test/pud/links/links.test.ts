import { access } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { LinkByNeed } from "../../../src/pud/links/link-by-need.js";
import { linkForms, linkServes, openDefaultLinks, openLink, parseLink } from "../../../src/pud/links/links.js";
import type { LinkSpec } from "../../../src/pud/links/links.js";
import type { Tty } from "../../../src/rump/devsw.js";
import { linkContext } from "../../fakes/link-context.js";
import { MemoryDisk } from "../../fakes/memory-disk.js";
import { dial, temporaryFolder } from "./nbd/rig.js";

describe("KIND[=WHERE]", () => {
  test.each<[string, LinkSpec["where"]]>([
    ["nbd", { form: "socketPerNode" }],
    ["nbd=/dev/nbd0", { form: "kernel", device: "/dev/nbd0" }],
    ["nbd=/dev/nbd15", { form: "kernel", device: "/dev/nbd15" }],
    ["nbd=unix:/run/x=y.sock", { form: "server", address: { unix: "/run/x=y.sock" } }],
    ["nbd=127.0.0.1:10809", { form: "server", address: { host: "127.0.0.1", port: 10809 } }],
    ["nbd=localhost:0", { form: "server", address: { host: "localhost", port: 0 } }],
    ["nbd=[::1]:10809", { form: "server", address: { host: "::1", port: 10809 } }],
    ["nbd=tcp:10810", { form: "server", address: { host: "127.0.0.1", port: 10810 } }],
  ])("%s", async (text, where) => {
    expect(parseLink(text)).toEqual({ kind: "nbd", where });
  });

  test.each<[string, RegExp]>([
    ["", /no kind ""; allowed are nbd/],
    ["floppy", /no kind "floppy"; allowed are nbd/],
    ["constructor", /no kind "constructor"/],
    ["NBD", /no kind "NBD"/],
    ["nbd=", /nothing after "="/],
    ["nbd=/dev/sda", /a kernel device is \/dev\/nbd0/],
    ["nbd=/dev/nbd0p1", /a kernel device is \/dev\/nbd0/],
    ["nbd=/dev/../etc/passwd", /a kernel device is \/dev\/nbd0/],
    ["nbd=unix:relative", /absolute/],
    ["nbd=unix:", /absolute/],
    [`nbd=unix:/${"x".repeat(107)}`, /108 bytes, at most 107/],
    ["nbd=here", /ends with a port, which is a number/],
    ["nbd=127.0.0.1", /ends with a port/],
    ["nbd=127.0.0.1:abc", /ends with a port/],
    ["nbd=tcp:99999", /0 to 65535/],
    ["nbd=10.0.0.1:10809", /only loopback/],
    ["nbd=[::2]:10809", /only loopback/],
    ["nbd=example.org:10809", /only loopback/],
  ])("%s is refused", async (text, message) => {
    expect(() => parseLink(text)).toThrow(
      expect.objectContaining({ code: "LINK_USAGE", message: expect.stringMatching(message) }),
    );
  });

  test.each<[string, LinkSpec["where"]]>([
    ["tty-cuse", {}],
    ["tty-cuse=ttyGPS", { name: "ttyGPS" }],
  ])("%s", (text, where) => {
    expect(parseLink(text)).toEqual({ kind: "tty-cuse", where });
  });

  test.each(["tty-cuse=tty", "tty-cuse=tty1", "tty-cuse=null", "tty-cuse=ttyU0/x"])("%s is refused", (text) => {
    expect(() => parseLink(text)).toThrow(/a name in \/dev like ttyU0 or ttyGPS; allowed are tty-cuse, tty-cuse=NAME/);
  });

  test("what was read is plain data: nothing is lost on the way to another process", () => {
    for (const text of [
      "nbd",
      "nbd=/dev/nbd0",
      "nbd=tcp:1",
      "pty",
      "pty=/run/gps,7E",
      "raw=unix:/s,baud=300",
      "tty-cuse",
    ]) {
      const spec = parseLink(text);
      expect(JSON.parse(JSON.stringify(spec))).toStrictEqual(spec);
    }
  });

  test("each kind says what it serves and how it is written", () => {
    expect(linkServes("nbd")).toEqual(["disk"]);
    expect(linkForms().join()).toContain("nbd=/dev/nbdN");
    expect(linkServes("pty")).toEqual(["tty"]);
  });
});

describe("without --link", () => {
  test("each kind of device has a link, which is opened with the first node", async () => {
    await using folder = await temporaryFolder();
    const links = openDefaultLinks(linkContext(folder.path));
    expect(links.map(({ kind }) => kind)).toEqual(["nbd", "pty"]);
    const node = await links[0]?.serve("sd0", new MemoryDisk());
    expect(node?.uri).toBe(`nbd+unix:///sd0?socket=${folder.path}/sd0.nbd.sock`);
    for (const link of links) await link.close();
    await expect(access(join(folder.path, "sd0.nbd.sock"))).rejects.toThrow(/ENOENT/);
  });

  test("one that cannot be opened says so to every node, and closes all the same", async () => {
    let opens = 0;
    const link = new LinkByNeed("nbd", async () => {
      opens++;
      throw new Error("no code");
    });
    await link.close();
    expect(opens).toBe(0);
    await expect(link.serve("sd0", new MemoryDisk())).rejects.toThrow("no code");
    await expect(link.serve("sd1", new MemoryDisk())).rejects.toThrow("no code");
    await link.close();
    expect(opens).toBe(2);
  });

  test("one that was opened is not opened again, and what failed before was no verdict", async () => {
    let opens = 0;
    const link = new LinkByNeed("nbd", async () => {
      if (opens++ === 0) throw new Error("no descriptors");
      return { kind: "nbd", serve: async (name) => ({ uri: name, remove: async () => {} }), close: async () => {} };
    });
    await expect(link.serve("sd0", new MemoryDisk())).rejects.toThrow("no descriptors");
    expect((await link.serve("sd0", new MemoryDisk())).uri).toBe("sd0");
    expect((await link.serve("sd1", new MemoryDisk())).uri).toBe("sd1");
    await link.close();
    expect(opens).toBe(2);
  });
});

describe("nodes", () => {
  test("by default each has a socket of its own in the runtime folder", async () => {
    await using folder = await temporaryFolder();
    const link = await openLink(parseLink("nbd"), linkContext(folder.path));
    const first = await link.serve("sd0", new MemoryDisk());
    const second = await link.serve("sd1", new MemoryDisk({ blockCount: 1 }));
    const path = join(folder.path, "sd1.nbd.sock");
    expect(first.uri).toBe(`nbd+unix:///sd0?socket=${folder.path}/sd0.nbd.sock`);
    expect(second.uri).toBe(`nbd+unix:///sd1?socket=${path}`);
    const client = await dial({ path });
    expect((await client.go("sd1")).bytes).toBe(512n);
    await second.remove("unplugged");
    await second.remove("unplugged");
    await expect(access(path)).rejects.toThrow(/ENOENT/);
    await link.close();
    await expect(access(join(folder.path, "sd0.nbd.sock"))).rejects.toThrow(/ENOENT/);
  });

  test("share a server that has a place of its own", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "all.sock");
    const link = await openLink(parseLink(`nbd=unix:${path}`), linkContext("/nowhere"));
    const nodes = [await link.serve("sd0", new MemoryDisk()), await link.serve("sd1", new MemoryDisk())];
    expect(nodes.map(({ uri }) => uri)).toEqual(["sd0", "sd1"].map((name) => `nbd+unix:///${name}?socket=${path}`));
    await nodes[0]?.remove("unplugged");
    const client = await dial({ path });
    expect((await client.go("")).bytes).toBe(1048576n);
    await link.close();
    await expect(access(path)).rejects.toThrow(/ENOENT/);
  });

  test("that are no disks are not for nbd", async () => {
    await using folder = await temporaryFolder();
    const link = await openLink(parseLink("nbd"), linkContext(folder.path));
    const tty = { kind: "tty" } as Tty;
    await expect(link.serve("ttyU0", tty)).rejects.toThrow(
      expect.objectContaining({ code: "LINK_USAGE", message: "ttyU0 is a tty; link nbd serves disks" }),
    );
    await link.close();
  });

  test("a kernel device that is not there is an error, and leaves no socket", async () => {
    await using folder = await temporaryFolder();
    const link = await openLink(parseLink("nbd=/dev/nbd999"), linkContext(folder.path));
    await expect(link.serve("sd0", new MemoryDisk())).rejects.toThrow(
      expect.objectContaining({ code: "LINK_UNAVAILABLE" }),
    );
    await expect(access(join(folder.path, "sd0.nbd.sock"))).rejects.toThrow(/ENOENT/);
    await link.close();
  });
});
