/** Six NBD clients that other people wrote. Not installed = skipped; in CI they must be there. */
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { listenNbd } from "../../../../src/pud/links/rights/listen-nbd.js";
import { MemoryDisk } from "../../../fakes/memory-disk.js";
import type { MemoryDiskOptions } from "../../../fakes/memory-disk.js";
import { requireTool, runTool } from "../../../tools.js";
import { RecordingLog, temporaryFolder } from "./rig.js";

const MIB = 1024 * 1024;

interface Rig extends AsyncDisposable {
  readonly disk: MemoryDisk;
  readonly uri: string;
  readonly folder: string;
  readonly log: RecordingLog;
}

async function serving(options: MemoryDiskOptions = {}): Promise<Rig> {
  const folder = await temporaryFolder();
  const log = new RecordingLog();
  const disk = new MemoryDisk({ blockCount: (8 * MIB) / (options.blockBytes ?? 512), ...options });
  disk.contents.set(randomBytes(disk.contents.length));
  const server = await listenNbd({ address: { unix: join(folder.path, "s") }, log });
  server.addExport("sd0", disk, { description: "eight megabytes", readOnly: false });
  return {
    disk,
    uri: server.uri("sd0"),
    folder: folder.path,
    log,
    async [Symbol.asyncDispose]() {
      await server.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Runs a client that must succeed, and must not have been complained about. */
async function succeed(rig: Rig, tool: string, args: readonly string[], timeoutMs?: number): Promise<string> {
  const { exitCode, stdout, stderr } = await runTool(tool, args, timeoutMs);
  expect({ exitCode, stderr: exitCode === 0 ? "" : `${stdout}${stderr}` }).toEqual({ exitCode: 0, stderr: "" });
  expect(rig.log.entries.filter((entry) => !entry.startsWith("debug"))).toEqual([]);
  return stdout;
}

test("nbdinfo reads size, flags, description and block sizes", async (context) => {
  const nbdinfo = requireTool("nbdinfo", context);
  await using rig = await serving({ blockBytes: 2048 });
  const info: unknown = JSON.parse(await succeed(rig, nbdinfo, ["--json", "--no-content", rig.uri]));
  expect(info).toMatchObject({
    protocol: "newstyle-fixed",
    structured: true,
    exports: [
      {
        "export-name": "sd0",
        description: "eight megabytes",
        "export-size": 8 * MIB,
        is_read_only: false,
        can_flush: true,
        can_fua: true,
        can_multi_conn: true,
        can_trim: true,
        can_zero: true,
        block_size_minimum: 2048,
        block_size_preferred: 4096,
        block_size_maximum: 32 * MIB,
      },
    ],
  });
  expect(JSON.parse(await succeed(rig, nbdinfo, ["--list", "--json", rig.uri.replace("sd0", "")]))).toMatchObject({
    exports: [{ "export-name": "sd0" }],
  });
});

describe.each([512, 4096])("blocks of %i bytes", (blockBytes) => {
  test("nbdcopy brings the bytes out and back in", async (context) => {
    const nbdcopy = requireTool("nbdcopy", context);
    await using rig = await serving({ blockBytes });
    const [out, back] = [join(rig.folder, "out.img"), join(rig.folder, "in.img")];
    await succeed(rig, nbdcopy, [rig.uri, out]);
    expect((await readFile(out)).equals(rig.disk.contents)).toBe(true);
    const image = randomBytes(8 * MIB).fill(0, 2 * MIB, 5 * MIB);
    await writeFile(back, image);
    await succeed(rig, nbdcopy, ["--flush", back, rig.uri]);
    expect(image.equals(rig.disk.durable)).toBe(true);
    expect(rig.disk.calls.some(({ operation }) => operation === "trim" || operation === "writeZeroes")).toBe(true);
  });

  test("qemu-img converts it out, in, and finds both alike", async (context) => {
    const qemuImg = requireTool("qemu-img", context);
    await using rig = await serving({ blockBytes });
    const qcow = join(rig.folder, "disk.qcow2");
    await succeed(rig, qemuImg, ["convert", "-f", "raw", "-O", "qcow2", rig.uri, qcow]);
    await succeed(rig, qemuImg, ["compare", "-f", "raw", "-F", "qcow2", rig.uri, qcow]);
    const before = Buffer.from(rig.disk.contents);
    rig.disk.contents.fill(0xaa);
    await succeed(rig, qemuImg, ["convert", "-n", "-f", "qcow2", "-O", "raw", qcow, rig.uri]);
    expect(before.equals(rig.disk.durable)).toBe(true);
  });

  test("fio finds what it wrote (verify=crc32c)", async (context) => {
    const fio = requireTool("fio", context);
    await using rig = await serving({ blockBytes, maxTransferBytes: 64 * 1024 });
    const job = [
      "--name=verify",
      "--ioengine=nbd",
      `--uri=${rig.uri}`,
      "--rw=randwrite",
      "--bsrange=4k-256k",
      "--size=8m",
    ];
    await succeed(
      rig,
      fio,
      [...job, "--iodepth=16", "--verify=crc32c", "--verify_state_save=0", "--verify_fatal=1", "--fsync=32"],
      20_000,
    );
    expect(rig.disk.calls.filter(({ operation }) => operation === "flush").length).toBeGreaterThan(0);
  });
});

test("qemu-io: writes with FUA, discards, zeroes, and refuses what is out of bounds", async (context) => {
  const qemuIo = requireTool("qemu-io", context);
  await using rig = await serving();
  const commands = [
    "write -f -P 0x5a 4096 8192",
    "read -P 0x5a 4096 8192",
    "discard 1M 64k",
    "write -z 2M 64k",
    "read -P 0 2M 64k",
    "flush",
  ];
  const said = await succeed(rig, qemuIo, ["-f", "raw", ...commands.flatMap((command) => ["-c", command]), rig.uri]);
  expect(said).not.toMatch(/error|fail/i);
  expect(rig.disk.durable.subarray(4096, 12288).every((byte) => byte === 0x5a)).toBe(true);
  const operations = new Set(rig.disk.calls.map(({ operation }) => operation));
  expect([...operations].toSorted()).toEqual(["flush", "read", "trim", "write", "writeZeroes"]);
});

const NBDSH_ERRORS = `
import nbd
h.set_strict_mode(0)
h.connect_uri(URI)
size = h.get_size()
def code(call):
    try:
        call()
        return 0
    except nbd.Error as error:
        return error.errnum
print(code(lambda: h.pread(512, size)))
print(code(lambda: h.pread(100, 0)))
print(code(lambda: h.pwrite(b"x" * 512, size)))
print(code(lambda: h.pwrite(b"x" * 512, 1)))
print(code(lambda: h.zero(512, 0, nbd.CMD_FLAG_FAST_ZERO)))
print(code(lambda: h.cache(512, 0)))
print(code(lambda: h.pread_structured(65536, 0, lambda *a: 0, nbd.CMD_FLAG_DF)))
print(code(lambda: h.pwrite(b"y" * 512, 0, nbd.CMD_FLAG_FUA)))
h.shutdown()
`;

const ERROR_NAMES = new Map([
  [0, "OK"],
  [22, "EINVAL"],
  [28, "ENOSPC"],
  [95, "ENOTSUP"],
]);

test("nbdsh, with its own checks off, gets the errors of the protocol", async (context) => {
  const nbdsh = requireTool("nbdsh", context);
  await using rig = await serving();
  const script = NBDSH_ERRORS.replace("URI", JSON.stringify(rig.uri));
  const said = await succeed(rig, nbdsh, ["-c", script]);
  const expected = ["EINVAL", "EINVAL", "ENOSPC", "EINVAL", "ENOTSUP", "EINVAL", "OK", "OK"];
  expect(
    said
      .trim()
      .split("\n")
      .map((errno) => ERROR_NAMES.get(Number(errno))),
  ).toEqual(expected);
});
