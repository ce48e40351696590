import { chmod, link, lstat, mkdir, stat, symlink, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { LinkSetupErrorCode } from "../../../../src/pud/links/errors.js";
import type { ListenAddress } from "../../../../src/pud/links/address.js";
import { MAX_CONNECTIONS } from "../../../../src/pud/links/nbd/server.js";
import type { NbdServer } from "../../../../src/pud/links/nbd/server.js";
import { listenNbd } from "../../../../src/pud/links/rights/listen-nbd.js";
import { MAX_ENGAGED_BYTES } from "../../../../src/pud/links/nbd/transmission.js";
import { MemoryDisk } from "../../../fakes/memory-disk.js";
import { CMD, request } from "./client.js";
import { RecordingLog, dial, temporaryFolder, until } from "./rig.js";

const ESHUTDOWN = 108;
const OPTIONS = { description: "a disk", readOnly: false };

interface ServerRig extends AsyncDisposable {
  readonly server: NbdServer;
  readonly disk: MemoryDisk;
  readonly path: string;
  readonly log: RecordingLog;
}

async function serving(disk = new MemoryDisk({ blockCount: 4096 }).fillPattern()): Promise<ServerRig> {
  const folder = await temporaryFolder();
  const path = join(folder.path, "sd0.sock");
  const log = new RecordingLog();
  const server = await listenNbd({ address: { unix: path }, log });
  server.addExport("sd0", disk, OPTIONS);
  return {
    server,
    disk,
    path,
    log,
    async [Symbol.asyncDispose]() {
      await server.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** The error of an address that cannot be listened on. */
function refused(address: ListenAddress): Promise<unknown> {
  return listenNbd({ address, log: new RecordingLog() }).then(
    async (server) => {
      await server.close();
      return "it listens";
    },
    (error: unknown) => error,
  );
}

async function listening(server: Server, path?: string): Promise<AddressInfo | string | null> {
  await new Promise<void>((resolve) =>
    path === undefined ? server.listen(0, "127.0.0.1", resolve) : server.listen(path, resolve),
  );
  return server.address();
}

describe("the Unix socket", () => {
  test("is its owner's alone, and goes away with the server", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "sd0.sock");
    const server = await listenNbd({ address: { unix: path }, log: new RecordingLog() });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await server.close();
    await expect(lstat(path)).rejects.toThrow(/ENOENT/);
  });

  test("leaves the umask and the rights of an existing folder as they were", async () => {
    await using folder = await temporaryFolder();
    await chmod(folder.path, 0o755);
    const before = process.umask();
    const server = await listenNbd({ address: { unix: join(folder.path, "s") }, log: new RecordingLog() });
    expect(process.umask()).toBe(before);
    expect((await stat(folder.path)).mode & 0o777).toBe(0o755);
    await server.close();
  });

  test("replaces the socket file of a server that died", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "s");
    // A bound socket whose owner has gone: bind, then keep the name by a second link while the first is removed.
    const dead = createServer();
    await listening(dead, `${path}.dead`);
    await link(`${path}.dead`, path);
    await new Promise((resolve) => dead.close(resolve));
    expect((await lstat(path)).isSocket()).toBe(true);
    const server = await listenNbd({ address: { unix: path }, log: new RecordingLog() });
    server.addExport("sd0", new MemoryDisk(), OPTIONS);
    const client = await dial({ path });
    await client.go("sd0");
    client.wire.close();
    await server.close();
  });

  test("of a living server is left alone", async () => {
    await using rig = await serving();
    expect(await refused({ unix: rig.path })).toMatchObject({
      code: "LINK_IN_USE",
      message: expect.stringContaining(rig.path),
    });
    const client = await dial({ path: rig.path });
    expect((await client.go("sd0")).bytes).toBe(2097152n);
    client.wire.close();
  });

  test("never replaces what is no socket", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "precious");
    await writeFile(path, "data");
    await symlink(path, join(folder.path, "link"));
    await mkdir(join(folder.path, "folder"));
    for (const name of ["precious", "link", "folder"])
      expect(await refused({ unix: join(folder.path, name) })).toMatchObject({ code: "LINK_IN_USE" });
    expect((await stat(path)).size).toBe(4);
  });

  const long = `/tmp/${"x".repeat(103)}`;
  test.each<[string, ListenAddress, LinkSetupErrorCode, RegExp]>([
    ["a path of 108 bytes", { unix: long }, "LINK_USAGE", /108 bytes, at most 107/],
    ["an empty path", { unix: "" }, "LINK_USAGE", /empty/],
    ["a file where the folder should be", { unix: "/dev/null/s" }, "LINK_USAGE", /\/dev\/null/],
    ["a folder that is not there", { unix: "/nonexistent/s" }, "LINK_USAGE", /\/nonexistent\/s: ENOENT/],
    ["a host of the network", { host: "192.168.1.1", port: 10809 }, "LINK_USAGE", /loopback/],
    ["all hosts", { host: "0.0.0.0", port: 10809 }, "LINK_USAGE", /loopback/],
    ["a name that only looks like loopback", { host: "127.example.org", port: 10809 }, "LINK_USAGE", /loopback/],
    ["all hosts by an empty name", { host: "", port: 10809 }, "LINK_USAGE", /loopback/],
    ["port 65536", { host: "127.0.0.1", port: 65536 }, "LINK_USAGE", /0 to 65535/],
  ])("%s is refused", async (_what, address, code, message) => {
    expect(await refused(address)).toMatchObject({ code, message: expect.stringMatching(message) });
  });
});

describe("TCP", () => {
  test("listens on loopback and says where", async () => {
    const server = await listenNbd({ address: { host: "127.0.0.1", port: 0 }, log: new RecordingLog() });
    server.addExport("sd0", new MemoryDisk(), OPTIONS);
    const port = Number(/^nbd:\/\/127\.0\.0\.1:(\d+)\/sd0$/.exec(server.uri("sd0"))?.[1]);
    const client = await dial({ host: "127.0.0.1", port });
    expect((await client.go("sd0")).bytes).toBe(1048576n);
    client.wire.close();
    await server.close();
    await expect(dial({ host: "127.0.0.1", port })).rejects.toThrow(/ECONNREFUSED/);
  });

  test("a port in use is an error that names it", async () => {
    const other = createServer();
    const address = await listening(other);
    const port = typeof address === "object" && address !== null ? address.port : 0;
    expect(await refused({ host: "127.0.0.1", port })).toMatchObject({
      code: "LINK_IN_USE",
      message: expect.stringContaining(`127.0.0.1 port ${port}`),
    });
    await new Promise((resolve) => other.close(resolve));
  });
});

describe("exports", () => {
  test("have URIs with everything odd escaped", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "a b?&.sock");
    const server = await listenNbd({ address: { unix: path }, log: new RecordingLog() });
    expect(server.uri("s d/0")).toBe(`nbd+unix:///s%20d%2F0?socket=${folder.path}/a%20b%3F%26.sock`);
    await server.close();
  });

  test("a name can be given once, and again after it was taken back", async () => {
    await using rig = await serving();
    expect(() => rig.server.addExport("sd0", rig.disk, OPTIONS)).toThrow(/exists already/);
    await rig.server.removeExport("sd0", "unplugged");
    rig.server.addExport("sd0", rig.disk, OPTIONS);
    await rig.server.removeExport("sd1", "never was");
  });

  test("that go away answer ESHUTDOWN to their clients, and to theirs alone", async () => {
    await using rig = await serving();
    rig.server.addExport("sd1", new MemoryDisk(), OPTIONS);
    const [client, other] = [await dial({ path: rig.path }), await dial({ path: rig.path })];
    await client.go("sd0", { structured: true });
    await other.go("sd1");
    const release = rig.disk.hold();
    client.send(request({ type: CMD.READ, length: 512 }));
    await until(() => rig.disk.inProgress === 1, "the read reaches the disk");
    let removed = false;
    const removal = rig.server.removeExport("sd0", "unplugged").then(() => {
      removed = true;
    });
    expect(await client.reply(512)).toMatchObject({ error: ESHUTDOWN, message: "unplugged" });
    expect(await client.do({ type: CMD.FLUSH })).toMatchObject({ error: ESHUTDOWN });
    client.send(request({ type: CMD.DISC }));
    await client.wire.received.untilEnd();
    expect(removed).toBe(false); // the disk still owes an answer
    release();
    await removal;
    expect((await other.do({ type: CMD.READ, length: 512 })).error).toBe(0);
    expect(rig.server.connections).toBe(1);
  });
});

describe("clients", () => {
  test("share one disk: what one wrote another reads", async () => {
    await using rig = await serving();
    const clients = await Promise.all(Array.from({ length: 8 }, () => dial({ path: rig.path })));
    await Promise.all(clients.map((client) => client.go("sd0", { structured: true })));
    const data = clients.map((_, index) => Buffer.alloc(512, index + 1));
    await Promise.all(
      clients.map((client, index) =>
        client.do({ type: CMD.WRITE, offset: 512 * index, data: data[index] ?? Buffer.alloc(0) }),
      ),
    );
    const read = await clients[0]?.do({ type: CMD.READ, length: 8 * 512 });
    expect(read?.data).toEqual(Buffer.concat(data));
  });

  test("beyond the limit are hung up on; the others do not notice", async () => {
    await using rig = await serving();
    const clients = await Promise.all(Array.from({ length: MAX_CONNECTIONS }, () => dial({ path: rig.path })));
    await Promise.all(clients.map((client) => client.greet()));
    const late = await dial({ path: rig.path });
    expect((await late.wire.received.untilEnd()).length).toBe(0);
    expect(rig.server.connections).toBe(MAX_CONNECTIONS);
    clients[0]?.wire.close();
    await until(() => rig.server.connections === MAX_CONNECTIONS - 1, "a place is free");
    expect((await (await dial({ path: rig.path })).go("sd0")).bytes).toBe(2097152n);
  });

  test("that vanish in the middle of a payload leave nothing behind", async () => {
    await using rig = await serving();
    const stay = await dial({ path: rig.path });
    await stay.go("sd0");
    for (let index = 0; index < 20; index++) {
      const client = await dial({ path: rig.path });
      await client.go("sd0");
      client.send(request({ type: CMD.WRITE, length: 65536 }));
      client.send(Buffer.alloc(1000 * index, 0xee));
      client.wire.close();
    }
    await until(() => rig.server.connections === 1, "the vanished are forgotten");
    expect(rig.disk.calls.filter(({ operation }) => operation === "write")).toEqual([]);
    expect((await stay.do({ type: CMD.READ, length: 512 })).data).toEqual(Buffer.from(rig.disk.blocks(0, 1)));
  });

  test("that reset the connection do not disturb the others", async () => {
    const server = await listenNbd({ address: { host: "127.0.0.1", port: 0 }, log: new RecordingLog() });
    server.addExport("sd0", new MemoryDisk(), OPTIONS);
    const port = Number(/:(\d+)\//.exec(server.uri("sd0"))?.[1]);
    const stay = await dial({ port, host: "127.0.0.1" });
    await stay.go("sd0");
    const rude = connect({ port, host: "127.0.0.1" });
    await new Promise((resolve) => rude.once("data", resolve));
    rude.resetAndDestroy();
    await until(() => server.connections === 1, "the rude one is forgotten");
    expect((await stay.do({ type: CMD.FLUSH })).error).toBe(0);
    stay.wire.close();
    await server.close();
  });

  test("that read slowly hold back nobody but themselves, and not much is read for them", async () => {
    await using rig = await serving(new MemoryDisk({ blockCount: 65536 }));
    const slow = connect({ path: rig.path }).pause();
    const hello = Buffer.concat([
      Buffer.from([0, 0, 0, 3, ...Buffer.from("IHAVEOPT"), 0, 0, 0, 1, 0, 0, 0, 3]),
      Buffer.from("sd0"),
    ]);
    slow.write(hello);
    const reads = 200;
    for (let index = 0; index < reads; index++) slow.write(request({ type: CMD.READ, length: 1024 * 1024 }));
    const most = MAX_ENGAGED_BYTES / (1024 * 1024);
    await until(() => rig.disk.calls.length >= most, "what may be read is read");
    const quick = await dial({ path: rig.path });
    await quick.go("sd0");
    for (let index = 0; index < 50; index++) expect((await quick.do({ type: CMD.READ, length: 4096 })).error).toBe(0);
    expect(rig.disk.calls.filter(({ blockCount }) => blockCount === 2048).length).toBeLessThanOrEqual(most + 2);
    let received = 0;
    slow.on("data", (bytes: Uint8Array) => (received += bytes.length));
    slow.resume();
    const all = 18 + 134 - 124 + reads * (16 + 1024 * 1024);
    await until(() => received === all, "everything arrives in the end");
    slow.destroy();
  });
});
