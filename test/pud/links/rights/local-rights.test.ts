import { closeSync, existsSync, readdirSync } from "node:fs";
import { mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { LocalRights } from "../../../../src/pud/links/rights/local-rights.js";
import { temporaryFolder } from "../nbd/rig.js";
import { linkRightsContract } from "../rights-contract.js";

linkRightsContract("the rights of this process", () => {
  const rights = new LocalRights();
  const releaseAll = (): Promise<void> => rights.releaseAll();
  return Promise.resolve({ rights, releaseAll, [Symbol.asyncDispose]: releaseAll });
});

test("no descriptor is left, whatever fails", async () => {
  await using folder = await temporaryFolder();
  const rights = new LocalRights();
  const path = join(folder.path, "s");
  await symlink("/etc/hostname", join(folder.path, "ttyU0"));
  const round = async (): Promise<number> => {
    const { fd, listener } = await rights.listen({ unix: path });
    await expect(rights.listen({ unix: path })).rejects.toMatchObject({ code: "LINK_IN_USE" });
    const { terminal, master, uses } = await rights.openTerminal();
    const place = { path: folder.path, nodeName: "ttyU0" };
    await expect(rights.nameTerminal(terminal, place)).rejects.toMatchObject({ code: "LINK_IN_USE" });
    await expect(rights.openCuse("null")).rejects.toMatchObject({ code: "LINK_IN_USE" });
    for (const one of [fd, master, uses]) closeSync(one);
    await rights.unlisten(listener);
    await rights.closeTerminal(terminal);
    return readdirSync("/proc/self/fd").length;
  };
  const before = await round();
  for (let rounds = 0; rounds < 10; rounds++) expect(await round()).toBe(before);
});

test("what cannot be taken back is told, and the rest is taken back all the same", async () => {
  await using folder = await temporaryFolder();
  const rights = new LocalRights();
  const { terminal, master, uses, device } = await rights.openTerminal();
  const inside = join(folder.path, "inside");
  await mkdir(inside);
  await rights.nameTerminal(terminal, { path: inside, nodeName: "ttyU0" });
  const { fd } = await rights.listen({ unix: join(folder.path, "s") });
  for (const one of [fd, master, uses]) closeSync(one);
  await rm(inside, { recursive: true });
  await writeFile(inside, "a file now");
  await expect(rights.releaseAll()).rejects.toThrow(/there is no directory/);
  expect([existsSync(device), await readdir(folder.path)]).toEqual([false, ["inside"]]);
  await rights.releaseAll();
});

test("what the kernel does not have is told", async () => {
  const rights = new LocalRights();
  const options = { socketPath: "/s", exportName: "sd0", blockBytes: 512 };
  for (const [device, code] of [
    ["/dev/sda", "LINK_USAGE"],
    ["/dev/nbd999", "LINK_UNAVAILABLE"],
  ] as const)
    await expect(rights.attachKernelNbd({ device, ...options })).rejects.toMatchObject({ code });
  await rights.detachKernelNbd(1);
});
