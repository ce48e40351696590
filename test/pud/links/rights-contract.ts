/** What every `LinkRights` must do (src/pud/links/link-rights.ts), in whichever process the rights are. */
import { closeSync } from "node:fs";
import { link, lstat, mkdir, rename, stat, writeFile } from "node:fs/promises";
import { createServer, connect, type Server } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { ListenAddress } from "../../../src/pud/links/address.js";
import type { LinkSetupErrorCode } from "../../../src/pud/links/errors.js";
import type { LinkRights } from "../../../src/pud/links/link-rights.js";
import { temporaryFolder } from "./nbd/rig.js";

export interface RightsRig extends AsyncDisposable {
  readonly rights: LinkRights;
  /** The user of the rights is gone: everything is taken back. */
  releaseAll(): Promise<void>;
}

/** @param start  Rights that may make what they like under `folder`. */
export function linkRightsContract(what: string, start: (folder: string) => Promise<RightsRig>): void {
  describe(`${what}: sockets`, () => {
    test("a Unix socket is its owner's alone, and clients reach whoever accepts on it", async () => {
      await using rig = await inFolder(start);
      const { fd, listener, port } = await rig.rights.listen({ unix: rig.path });
      expect(port).toBeUndefined();
      expect((await stat(rig.path)).mode & 0o777).toBe(0o600);
      expect(await echoed(fd, { path: rig.path })).toBe("hello");
      await rig.rights.unlisten(listener);
      await rig.rights.unlisten(listener);
      await expect(lstat(rig.path)).rejects.toThrow(/ENOENT/);
    });

    test("a client that comes before anybody accepts is served when somebody does", async () => {
      await using rig = await inFolder(start);
      const { fd } = await rig.rights.listen({ unix: rig.path });
      const early = connect(rig.path);
      await new Promise((resolve) => early.once("connect", resolve));
      const accepted = await new Promise<boolean>((resolve) => {
        const server = createServer((socket) => {
          socket.destroy();
          server.close(() => resolve(true));
        }).listen({ fd });
      });
      expect(accepted).toBe(true);
      early.destroy();
    });

    test.each(["127.0.0.1", "127.0.0.2", "::1", "localhost"])(
      "TCP on %s: the port is the one that was bound",
      async (host) => {
        await using rig = await inFolder(start);
        const first = await rig.rights.listen({ host, port: 0 });
        const port = first.port ?? 0;
        expect(port).toBeGreaterThan(0);
        await expect(rig.rights.listen({ host, port })).rejects.toMatchObject({
          code: "LINK_IN_USE",
          message: expect.stringContaining(`${host} port ${port}`),
        });
        expect(await echoed(first.fd, { host, port })).toBe("hello");
        await rig.rights.unlisten(first.listener);
        const second = await rig.rights.listen({ host, port });
        expect(second.port).toBe(port);
        closeSync(second.fd);
      },
    );

    test("a socket file that nobody listens on any more is replaced", async () => {
      await using rig = await inFolder(start);
      await leaveStale(rig.path);
      const { fd } = await rig.rights.listen({ unix: rig.path });
      expect(await echoed(fd, { path: rig.path })).toBe("hello");
    });

    test("one that somebody listens on is left alone", async () => {
      await using rig = await inFolder(start);
      const other = await serving(createServer(), rig.path);
      await expect(rig.rights.listen({ unix: rig.path })).rejects.toMatchObject({ code: "LINK_IN_USE" });
      expect((await lstat(rig.path)).isSocket()).toBe(true);
      await closed(other);
    });

    test("only the file that was made is removed, never one that stands in its place", async () => {
      await using rig = await inFolder(start);
      const { fd, listener } = await rig.rights.listen({ unix: rig.path });
      closeSync(fd);
      await rename(rig.path, `${rig.path}.moved`);
      const other = await serving(createServer(), rig.path);
      await rig.rights.unlisten(listener);
      expect((await lstat(rig.path)).isSocket()).toBe(true);
      await closed(other);
    });

    test.each<[string, (path: string) => Promise<ListenAddress>, LinkSetupErrorCode]>([
      ["a file", (path) => writeFile(path, "mine").then(() => ({ unix: path })), "LINK_IN_USE"],
      ["a directory", (path) => mkdir(path).then(() => ({ unix: path })), "LINK_IN_USE"],
      ["a directory that is not there", (path) => Promise.resolve({ unix: `${path}/none/s` }), "LINK_USAGE"],
      ["a long path", (path) => Promise.resolve({ unix: `${path}${"x".repeat(100)}` }), "LINK_USAGE"],
      ["no path", () => Promise.resolve({ unix: "" }), "LINK_USAGE"],
      ["another machine's", () => Promise.resolve({ host: "192.0.2.1", port: 0 }), "LINK_USAGE"],
      ["no port", () => Promise.resolve({ host: "127.0.0.1", port: -1 }), "LINK_USAGE"],
    ])("%s is no address to listen on", async (_what, make, code) => {
      await using rig = await inFolder(start);
      const address = await make(rig.path);
      await expect(rig.rights.listen(address)).rejects.toMatchObject({ name: "LinkSetupError", code });
    });
  });

  describe(`${what}: the end`, () => {
    test("takes back what is left, and what is under way", async () => {
      await using rig = await inFolder(start);
      const { fd } = await rig.rights.listen({ unix: rig.path });
      const late = rig.rights.listen({ unix: `${rig.path}2` }).catch(() => undefined);
      await rig.releaseAll();
      closeSync(fd);
      const lateFd = (await late)?.fd;
      if (lateFd !== undefined) closeSync(lateFd);
      for (const path of [rig.path, `${rig.path}2`]) await expect(lstat(path)).rejects.toThrow(/ENOENT/);
      await expect(rig.rights.listen({ unix: rig.path })).rejects.toMatchObject({ name: "LinkSetupError" });
    });
  });
}

interface FolderRig extends RightsRig {
  /** In a folder of the test; nothing is there. */
  readonly path: string;
  readonly folder: string;
}

async function inFolder(start: (folder: string) => Promise<RightsRig>): Promise<FolderRig> {
  const folder = await temporaryFolder();
  const rig = await start(folder.path);
  return {
    rights: rig.rights,
    releaseAll: () => rig.releaseAll(),
    folder: folder.path,
    path: join(folder.path, "sd0.nbd.sock"),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** What a client gets back from a server on the descriptor, which is closed afterwards. */
async function echoed(fd: number, where: { path: string } | { host: string; port: number }): Promise<string> {
  const server = createServer((socket) => socket.pipe(socket));
  await new Promise((resolve) => server.listen({ fd }, () => resolve(undefined)));
  const client = connect(where);
  client.end("hello");
  const parts: Buffer[] = [];
  for await (const part of client) parts.push(part as Buffer);
  await closed(server);
  return String(Buffer.concat(parts));
}

async function serving(server: Server, path: string): Promise<Server> {
  await new Promise((resolve) => server.listen(path, () => resolve(undefined)));
  return server;
}

function closed(server: Server): Promise<unknown> {
  return new Promise((resolve) => server.close(resolve));
}

/** A socket file whose server has gone: it is bound, and keeps a second name when the first is removed. */
async function leaveStale(path: string): Promise<void> {
  const dead = await serving(createServer(), `${path}.dead`);
  await link(`${path}.dead`, path);
  await closed(dead);
}
