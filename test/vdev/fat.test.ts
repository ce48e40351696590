import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { formatFat } from "../../src/vdev/fat.js";
import { FileStore, ImageError, MemoryStore } from "../../src/vdev/image.js";
import { pattern } from "./bus.js";

/** Debian keeps fsck in a folder that users do not have in their PATH. */
const env = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`, MTOOLS_SKIP_CHECK: "0" };
const has = (program: string): boolean => spawnSync(program, ["--help"], { env }).error === undefined;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "rumpusb-fat-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("a FAT file system", () => {
  const FILES = [
    { name: "README.TXT", content: Buffer.from("hello\n") },
    { name: "EMPTY", content: new Uint8Array(0) },
    { name: "BIG.BIN", content: pattern(200_000) },
  ];

  test.for<[string, number, number]>([
    ["FAT12", 1 << 20, 512],
    ["FAT12", 8 << 20, 4096],
    ["FAT16", 16 << 20, 512],
    ["FAT16", 64 << 20, 2048],
    ["FAT16", 256 << 20, 512],
    ["FAT32", 600 << 20, 512],
    ["FAT32", 2 ** 31, 4096],
    ["FAT32", 40 * 2 ** 30, 512],
  ])(
    "%s of %i bytes in sectors of %i: other tools find no fault and read the files",
    ([type, bytes, sectorBytes], { skip }) => {
      skip(!has("fsck.vfat") || !has("mcopy"), "fsck.vfat (dosfstools) and mcopy (mtools) are not installed");
      const path = join(folder, `${type}-${bytes}-${sectorBytes}.img`);
      writeFileSync(path, "");
      truncateSync(path, bytes);
      const store = new FileStore(path, { blockBytes: sectorBytes });
      formatFat(store, { sectorBytes, label: "TEST DISK", files: FILES });
      store.close();
      const fsck = spawnSync("fsck.vfat", ["-n", "-v", path], { env, encoding: "utf8" });
      expect({ status: fsck.status, output: fsck.stdout + fsck.stderr }).toMatchObject({ status: 0 });
      expect(fsck.stdout).toContain(`2 FATs, ${type.slice(3)} bit entries`);
      for (const { name, content } of FILES) {
        const copy = join(folder, name);
        execFileSync("mcopy", ["-n", "-i", path, `::${name}`, copy], { env });
        expect(Buffer.compare(readFileSync(copy), content)).toBe(0);
        rmSync(copy);
      }
      expect(execFileSync("mdir", ["-i", path], { env, encoding: "utf8" })).toContain("TEST DISK");
      rmSync(path);
    },
  );

  test("the same input gives the same bytes", () => {
    const make = (): Uint8Array => {
      const memory = new Uint8Array(1 << 20);
      formatFat(new MemoryStore(memory), { sectorBytes: 512, files: FILES });
      return memory;
    };
    expect(Buffer.compare(make(), make())).toBe(0);
  });

  test.each([
    ["a store that is too small", 16 * 512, {}, "too few for a FAT"],
    ["a long name", 1 << 20, { files: [{ name: "readme.text", content: new Uint8Array(1) }] }, "not an 8.3 name"],
    ["a name with a slash", 1 << 20, { files: [{ name: "A/B", content: new Uint8Array(1) }] }, "not an 8.3 name"],
    ["a label in small letters", 1 << 20, { label: "stick" }, 'volume label "stick"'],
    [
      "a file that does not fit",
      1 << 20,
      { files: [{ name: "BIG", content: new Uint8Array(1 << 20) }] },
      "does not fit",
    ],
    [
      "too many files",
      1 << 20,
      { files: Array.from({ length: 512 }, (_, n) => ({ name: `F${n}`, content: new Uint8Array(0) })) },
      "513 root entries; this FAT has room for 512",
    ],
  ])("%s is refused", (_name, bytes, options, message) => {
    const format = (): void => formatFat(new MemoryStore(bytes), { sectorBytes: 512, ...options });
    expect(format).toThrow(ImageError);
    expect(format).toThrow(message);
  });
});
