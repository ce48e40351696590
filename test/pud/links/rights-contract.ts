/** What every `LinkRights` must do (src/pud/links/link-rights.ts), in whichever process the rights are. */
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { link, lstat, mkdir, readlink, rename, stat, symlink, writeFile } from "node:fs/promises";
import { createServer, connect, type Server } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { ListenAddress } from "../../../src/pud/links/address.js";
import type { LinkSetupErrorCode } from "../../../src/pud/links/errors.js";
import type { LinkRights, OpenTerminal } from "../../../src/pud/links/link-rights.js";
import { DeviceFile, POLL_HUP, POLL_IN } from "../../../src/rumpuser/real/device-file.js";
import { temporaryFolder } from "./nbd/rig.js";
import { SerialProgram } from "./serial-program.js";

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
      ["a directory that nobody may write to", () => Promise.resolve({ unix: "/sys/kernel/s" }), "LINK_PERMISSION"],
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

  describe(`${what}: terminals`, () => {
    test("a terminal is its user's alone, has no name, and tells of its uses", async () => {
      await using rig = await inFolder(start);
      const made = await rig.rights.openTerminal();
      using held = hold(made);
      expect((await stat(made.device)).mode & 0o777).toBe(0o600);
      expect([held.master.poll() & POLL_HUP, held.uses.poll() & POLL_IN]).toEqual([POLL_HUP, 0]);
      const slave = openSlave(made.device);
      expect([held.master.poll() & POLL_HUP, held.uses.poll() & POLL_IN]).toEqual([0, POLL_IN]);
      closeSync(slave);
    });

    test("it is found under its name, in a directory under that of its node", async () => {
      await using rig = await inFolder(start);
      const [one, other] = [await rig.rights.openTerminal(), await rig.rights.openTerminal()];
      using _held = hold(one, other);
      const path = join(rig.folder, "gps");
      expect(await rig.rights.nameTerminal(one.terminal, { path, nodeName: "ttyU0" })).toEqual({ path });
      const inside = await rig.rights.nameTerminal(other.terminal, { path: rig.folder, nodeName: "ttyU1" });
      expect(inside).toEqual({ path: join(rig.folder, "ttyU1") });
      expect([await readlink(path), await readlink(inside.path)]).toEqual([one.device, other.device]);
      await rig.rights.closeTerminal(one.terminal);
      await rig.rights.closeTerminal(one.terminal);
      await expect(lstat(path)).rejects.toThrow(/ENOENT/);
    });

    test("a terminal takes over the name of the one that it replaces, which then takes nothing with it", async () => {
      await using rig = await inFolder(start);
      const [one, other] = [await rig.rights.openTerminal(), await rig.rights.openTerminal()];
      using _held = hold(one, other);
      const place = { path: rig.path, nodeName: "ttyU0" };
      await rig.rights.nameTerminal(one.terminal, place);
      await expect(rig.rights.nameTerminal(other.terminal, place)).rejects.toMatchObject({ code: "LINK_IN_USE" });
      await rig.rights.nameTerminal(other.terminal, { ...place, replaces: one.terminal });
      await rig.rights.closeTerminal(one.terminal);
      expect(await readlink(rig.path)).toBe(other.device);
    });

    test("a terminal has one name: the one before is gone", async () => {
      await using rig = await inFolder(start);
      const made = await rig.rights.openTerminal();
      using _held = hold(made);
      const name = async (nodeName: string): Promise<unknown> =>
        await rig.rights.nameTerminal(made.terminal, { path: rig.folder, nodeName });
      await name("ttyU0");
      await name("ttyU1");
      expect(await readlink(join(rig.folder, "ttyU1"))).toBe(made.device);
      await expect(lstat(join(rig.folder, "ttyU0"))).rejects.toThrow(/ENOENT/);
      await rig.rights.closeTerminal(made.terminal);
      await expect(lstat(join(rig.folder, "ttyU1"))).rejects.toThrow(/ENOENT/);
    });

    test.each<[string, (path: string) => Promise<string>, LinkSetupErrorCode]>([
      ["a file", (path) => writeFile(path, "mine").then(() => path), "LINK_IN_USE"],
      ["a link to something else", (path) => symlink("/etc/hostname", path).then(() => path), "LINK_IN_USE"],
      ["a directory that is not there", (path) => Promise.resolve(`${path}/none/ttyU0`), "LINK_USAGE"],
      ["a directory that nobody may write to", () => Promise.resolve("/sys/kernel/ttyU0"), "LINK_PERMISSION"],
    ])("%s is no name to take", async (_what, make, code) => {
      await using rig = await inFolder(start);
      const made = await rig.rights.openTerminal();
      using _held = hold(made);
      const path = await make(rig.path);
      await expect(rig.rights.nameTerminal(made.terminal, { path, nodeName: "ttyU0" })).rejects.toMatchObject({
        name: "LinkSetupError",
        code,
      });
      await rig.rights.closeTerminal(made.terminal);
      if (code === "LINK_IN_USE") await lstat(path);
    });

    test("the name that an ended process has left is replaced", async () => {
      await using rig = await inFolder(start);
      await symlink("/dev/pts/999999", rig.path);
      const made = await rig.rights.openTerminal();
      using _held = hold(made);
      await rig.rights.nameTerminal(made.terminal, { path: rig.path, nodeName: "ttyU0" });
      expect(await readlink(rig.path)).toBe(made.device);
    });

    test("others are refused until it is tidied, which takes what was not read", async () => {
      await using rig = await inFolder(start);
      const made = await rig.rights.openTerminal();
      using held = hold(made);
      await using program = new SerialProgram({ ordinary: true });
      held.master.write(Buffer.from("unread\n"));
      await rig.rights.refuseOthers(made.terminal);
      const open = `fd = open_raw(${JSON.stringify(made.device)}, os.O_NONBLOCK)`;
      await expect(program.run(open)).rejects.toThrow("EBUSY");
      const isTidy = await rig.rights.tidyTerminal(made.terminal);
      expect(isTidy).toBe(mayOpenExclusive());
      if (!isTidy) return await expect(program.run(open)).rejects.toThrow("EBUSY");
      await program.run(open);
      await expect(program.run("os.read(fd, 10)")).rejects.toThrow("EAGAIN");
    });

    test("its number is its own until it is closed, then programs get a hang-up", async () => {
      await using rig = await inFolder(start);
      const made = await rig.rights.openTerminal();
      await using program = new SerialProgram();
      await program.run(`fd = open_raw(${JSON.stringify(made.device)})`);
      hold(made)[Symbol.dispose]();
      await program.run("os.write(fd, b'nobody')");
      await rig.rights.closeTerminal(made.terminal);
      await expect(program.run("os.write(fd, b'x')")).rejects.toThrow("EIO");
      await expect(rig.rights.refuseOthers(made.terminal)).rejects.toMatchObject({ code: "LINK_USAGE" });
      await expect(rig.rights.tidyTerminal(made.terminal)).rejects.toMatchObject({ code: "LINK_USAGE" });
    });
  });

  describe(`${what}: the end`, () => {
    test("takes back what is left, and what is under way", async () => {
      await using rig = await inFolder(start);
      const { fd } = await rig.rights.listen({ unix: rig.path });
      const late = rig.rights.listen({ unix: `${rig.path}2` }).catch(() => undefined);
      const made = await rig.rights.openTerminal();
      using held = hold(made);
      const name = { path: join(rig.folder, "ttyU0"), nodeName: "ttyU0" };
      await rig.rights.nameTerminal(made.terminal, name);
      await rig.releaseAll();
      held[Symbol.dispose]();
      closeSync(fd);
      const lateFd = (await late)?.fd;
      if (lateFd !== undefined) closeSync(lateFd);
      for (const path of [rig.path, `${rig.path}2`, name.path, made.device])
        await expect(lstat(path)).rejects.toThrow(/ENOENT/);
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

interface Held extends Disposable {
  /** Of the first. */
  readonly master: DeviceFile;
  readonly uses: DeviceFile;
}

/** Owns the descriptors of terminals. */
function hold(...terminals: [OpenTerminal, ...OpenTerminal[]]): Held {
  const files = terminals.flatMap(({ master, uses }) =>
    [master, uses].map((fd) => new DeviceFile("a terminal of the test", fd, () => undefined)),
  );
  const [master, uses] = files;
  if (master === undefined || uses === undefined) throw new Error("no terminal");
  return {
    master,
    uses,
    [Symbol.dispose]: () => {
      for (const file of files) file.close();
    },
  };
}

/** CAP_SYS_ADMIN, bit 21 (capabilities(7)): what TIOCEXCL does not hold back (ioctl_tty(2)). */
function mayOpenExclusive(): boolean {
  const [, effective = "0"] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return ((BigInt(`0x${effective}`) >> 21n) & 1n) === 1n;
}

function openSlave(device: string): number {
  return openSync(device, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
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
