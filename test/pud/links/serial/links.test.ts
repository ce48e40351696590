import { access, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openLink, parseLink } from "../../../../src/pud/links/links.js";
import { DEFAULT_SETTINGS } from "../../../../src/pud/links/wheres.js";
import type { Disk } from "../../../../src/rump/devsw.js";
import { linkContext } from "../../../fakes/link-context.js";
import { MemoryTty } from "../../../fakes/memory-tty.js";
import { requireTool, runTool } from "../../../tools.js";
import { temporaryFolder } from "../nbd/rig.js";
import { PlainClient, serveOnTcp, until } from "./rig.js";

describe("KIND[=WHERE]", () => {
  const loopback = { host: "127.0.0.1", port: 4000 };
  test.each<[string, unknown]>([
    ["rfc2217", { kind: "rfc2217", where: {} }],
    ["rfc2217=tcp:4000", { kind: "rfc2217", where: { address: loopback } }],
    ["rfc2217=unix:/run/a,b", { kind: "rfc2217", where: { address: { unix: "/run/a,b" } } }],
    ["raw", { kind: "raw", where: { settings: DEFAULT_SETTINGS } }],
    ["raw=127.0.0.1:4000", { kind: "raw", where: { address: loopback, settings: DEFAULT_SETTINGS } }],
    ["raw=baud=9600", { kind: "raw", where: { settings: { ...DEFAULT_SETTINGS, baud: 9600 } } }],
    [
      "raw=unix:/run/a,b,baud=9600,data=7,parity=even,stop=1.5,flow=rtsCts",
      {
        kind: "raw",
        where: {
          address: { unix: "/run/a,b" },
          settings: { baud: 9600, dataBits: 7, parity: "even", stopBits: 1.5, flowControl: "rtsCts" },
        },
      },
    ],
  ])("%s", async (text, spec) => {
    expect(parseLink(text)).toEqual(spec);
  });

  test.each<[string, RegExp]>([
    ["rfc2217=", /nothing after "="/],
    ["rfc2217=4000", /ends with a port/],
    ["rfc2217=0.0.0.0:4000", /only loopback/],
    ["rfc2217=tcp:4000,baud=9600", /ends with a port/],
    ["raw=tcp:4000,baud=0", /baud "0" is no rate/],
    ["raw=tcp:4000,baud=fast", /baud "fast" is no rate/],
    ["raw=tcp:4000,parity=some", /parity "some" is none of none, odd, even, mark, space/],
    ["raw=tcp:4000,toString=1", /ends with a port/],
    ["raw=tcp:4000,colour=red", /no setting "colour=red"/],
    ["raw=baud=9600,tcp:4000", /no setting "tcp:4000"/],
  ])("%s is refused", async (text, message) => {
    expect(() => parseLink(text)).toThrow(
      expect.objectContaining({ code: "LINK_USAGE", message: expect.stringMatching(message) }),
    );
  });
});

describe.each(["rfc2217", "raw"])("nodes of %s", (kind) => {
  test("have sockets of their own in the runtime folder, for their owner alone", async () => {
    await using folder = await temporaryFolder();
    const link = await openLink(parseLink(kind), linkContext(folder.path));
    const first = await link.serve("ttyU0", new MemoryTty());
    const tty = new MemoryTty();
    const second = await link.serve("ttyU1", tty);
    const path = join(folder.path, `ttyU1.${kind}.sock`);
    expect(first.uri).toMatch(`${folder.path}/ttyU0.${kind}.sock`);
    expect(second.uri).toMatch(path);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const client = await PlainClient.dial({ path });
    client.write("hello");
    await until(() => tty.sentBytes.toString() === "hello");
    await second.remove("unplugged");
    await second.remove("unplugged");
    await client.closed;
    expect(tty.calls.at(-1)).toBe("close");
    await expect(access(path)).rejects.toThrow(/ENOENT/);
    await link.close();
    await expect(access(join(folder.path, `ttyU0.${kind}.sock`))).rejects.toThrow(/ENOENT/);
  });

  test("share no place: the second needs another, and the place is free when the first has gone", async () => {
    await using rig = await serveOnTcp(`${kind}=tcp:0`);
    await expect(rig.link.serve("ttyU1", new MemoryTty())).rejects.toThrow(
      expect.objectContaining({ code: "LINK_IN_USE", message: expect.stringMatching(/ttyU1 needs another/) }),
    );
    await rig.node.remove("unplugged");
    const orphan = await PlainClient.dial({ host: "127.0.0.1", port: rig.port });
    await orphan.closed;
    expect(orphan.received.toString()).toBe("ENODEV: there is no line here now\r\n");
    const tty = new MemoryTty();
    await rig.link.serve("ttyU1", tty);
    const client = await PlainClient.dial({ host: "127.0.0.1", port: rig.port });
    client.write("x");
    await until(() => tty.sentBytes.length === 1);
  });

  test("that are no lines are not for it", async () => {
    await using rig = await serveOnTcp(`${kind}=tcp:0`);
    await expect(rig.link.serve("sd0", { kind: "disk" } as Disk)).rejects.toThrow(
      expect.objectContaining({ code: "LINK_USAGE", message: `sd0 is a disk; link ${kind} serves ttys` }),
    );
  });

  test("have one client; the next may come when it has gone", async () => {
    await using rig = await serveOnTcp(`${kind}=tcp:0`);
    const where = { host: "127.0.0.1", port: rig.port };
    const first = await PlainClient.dial(where);
    await until(() => rig.tty.port !== undefined);
    const second = await PlainClient.dial(where);
    await second.closed;
    expect(second.received.toString()).toBe("EBUSY: ttyU0 is in use\r\n");
    first.socket.end();
    await first.closed;
    await until(() => rig.tty.port === undefined);
    const third = await PlainClient.dial(where);
    third.write("x");
    await until(() => rig.tty.sentBytes.length === 1);
  });
});

describe("raw", () => {
  test("opens the line with the settings of its link", async () => {
    await using rig = await serveOnTcp("raw=tcp:0,baud=19200,parity=odd");
    await PlainClient.dial({ host: "127.0.0.1", port: rig.port });
    await until(() => rig.tty.port !== undefined);
    expect(rig.tty.port?.settings).toEqual({ ...DEFAULT_SETTINGS, baud: 19_200, parity: "odd" });
    expect(rig.tty.port?.outputs).toEqual({ dtr: true, rts: true });
  });

  test("says to a client that the line cannot have these settings", async () => {
    await using rig = await serveOnTcp("raw=tcp:0,baud=4000000");
    const client = await PlainClient.dial({ host: "127.0.0.1", port: rig.port });
    await client.closed;
    expect(client.received.toString()).toBe("EINVAL: 4000000 baud: possible are 300 to 3000000\r\n");
  });

  test("socat brings bytes there and back", async (context) => {
    const socat = requireTool("socat", context);
    const tty = new MemoryTty();
    tty.loopback = true;
    await using rig = await serveOnTcp("raw=tcp:0", tty);
    const { stdout } = await runTool("/bin/sh", [
      "-c",
      `printf '\\377\\000 every byte \\r\\n' | ${socat} -t 5 - TCP:127.0.0.1:${rig.port} | od -An -tx1`,
    ]);
    expect(Buffer.from(stdout.replaceAll(/\s/g, ""), "hex").toString("latin1")).toBe("\xff\0 every byte \r\n");
  });
});
