import { describe, expect, test } from "vitest";
import { DRAIN_MS, SHUTDOWN_GRACE_MS } from "../../../../src/pud/links/nbd/connection.js";
import { MAX_REQUEST_BYTES } from "../../../../src/pud/links/nbd/export.js";
import { MAX_ENGAGED_BYTES, MIN_REQUEST_BYTES, WINDOW_BYTES } from "../../../../src/pud/links/nbd/transmission.js";
import type { DeviceErrorCode } from "../../../../src/rump/devsw.js";
import { MemoryDisk } from "../../../fakes/memory-disk.js";
import type { MemoryDiskOptions } from "../../../fakes/memory-disk.js";
import { CMD, FLAG, request } from "./client.js";
import type { RequestFields } from "./client.js";
import { direct, until } from "./rig.js";
import type { DirectRig } from "./rig.js";

const ERRNO = { EPERM: 1, EIO: 5, ENOMEM: 12, EINVAL: 22, ENOSPC: 28, ENOTSUP: 95, ESHUTDOWN: 108 } as const;
const BLOCKS = 64;
const DISK_BYTES = BLOCKS * 512;
const KINDS = [false, true];

async function chosen(
  disk: MemoryDisk,
  { structured = false, readOnly = false } = {},
): Promise<DirectRig & { readonly disk: MemoryDisk }> {
  const rig = direct(disk, { readOnly });
  await rig.client.go("sd0", { structured });
  return { ...rig, disk };
}

const small = (options: MemoryDiskOptions = {}): MemoryDisk =>
  new MemoryDisk({ blockCount: BLOCKS, ...options }).fillPattern();
const bytesOf = (length: number, seed = 1): Buffer =>
  Buffer.from(Array.from({ length }, (_, at) => (at * 7 + seed) & 0xff));

describe.each(KINDS)("commands, structured replies %s", (structured) => {
  test("READ gives the bytes that are there", async () => {
    const { client, disk } = await chosen(small(), { structured });
    const reply = await client.do({ type: CMD.READ, offset: 1024, length: 1536, cookie: 0xfedc_ba98_7654_3210n });
    expect(reply).toMatchObject({ error: 0, cookie: 0xfedc_ba98_7654_3210n });
    expect(reply.offset).toBe(structured ? 1024n : undefined);
    expect(reply.data).toEqual(Buffer.from(disk.blocks(2, 3)));
  });

  test("WRITE changes them, and only them", async () => {
    const { client, disk } = await chosen(small(), { structured });
    const before = [disk.blocks(0, 2), disk.blocks(4, BLOCKS - 4)];
    const data = bytesOf(1024);
    expect((await client.do({ type: CMD.WRITE, offset: 1024, data })).error).toBe(0);
    expect(Buffer.from(disk.blocks(2, 2))).toEqual(data);
    expect([disk.blocks(0, 2), disk.blocks(4, BLOCKS - 4)]).toEqual(before);
  });

  test("a stream cut at any byte is the same stream", async () => {
    const { client, disk } = await chosen(small(), { structured });
    const stream: RequestFields[] = [
      { type: CMD.WRITE, cookie: 1n, data: bytesOf(512) },
      { type: CMD.READ, cookie: 2n, offset: 512, length: 512 },
      { type: CMD.WRITE, cookie: 3n, offset: 512, data: bytesOf(1024, 9) },
      { type: CMD.FLUSH, cookie: 4n },
    ];
    for (const fields of stream) {
      for (const byte of request(fields)) client.send(Buffer.from([byte]));
      const reply = await client.reply(fields.type === CMD.READ ? 512 : 0);
      expect(reply).toMatchObject({ error: 0, cookie: fields.cookie });
    }
    expect(Buffer.from(disk.blocks(0, 3))).toEqual(Buffer.concat([bytesOf(512), bytesOf(1024, 9)]));
  });

  test("FUA reaches the disk, for a TRIM as a flush after it", async () => {
    const { client, disk } = await chosen(small(), { structured });
    await client.do({ type: CMD.WRITE, flags: FLAG.FUA, data: bytesOf(512) });
    await client.do({ type: CMD.WRITE, data: bytesOf(512) });
    await client.do({ type: CMD.WRITE_ZEROES, flags: FLAG.FUA | FLAG.NO_HOLE, offset: 512, length: 512 });
    await client.do({ type: CMD.TRIM, flags: FLAG.FUA, offset: 1024, length: 512 });
    await client.do({ type: CMD.READ, flags: FLAG.FUA, length: 512 });
    await client.do({ type: CMD.FLUSH, flags: FLAG.FUA });
    expect(disk.calls.map(({ operation, forceUnitAccess }) => [operation, forceUnitAccess])).toEqual([
      ["write", true],
      ["write", false],
      ["writeZeroes", true],
      ["trim", false],
      ["flush", false],
      ["read", false],
      ["flush", false],
    ]);
  });

  test("a large request is cut at the disk's limit and answered once", async () => {
    const { client, disk } = await chosen(small({ maxTransferBytes: 1500 }), { structured });
    const data = bytesOf(5120);
    expect((await client.do({ type: CMD.WRITE, offset: 512, data, flags: FLAG.FUA })).error).toBe(0);
    const read = await client.do({
      type: CMD.READ,
      offset: 512,
      length: 5120,
      ...(structured ? { flags: FLAG.DF } : {}),
    });
    expect(read.data).toEqual(data);
    const parts = [1, 3, 5, 7, 9].map((firstBlock) => ({ firstBlock, blockCount: 2 }));
    expect(disk.calls.slice(0, 5)).toMatchObject(
      parts.map((part) => ({ ...part, operation: "write", forceUnitAccess: true })),
    );
    expect(disk.calls.slice(5)).toMatchObject(parts.map((part) => ({ ...part, operation: "read" })));
    expect(disk.maxInProgress).toBe(4);
  });

  test("one part that fails fails the request once, after the others have ended", async () => {
    const { client, disk } = await chosen(small({ maxTransferBytes: 512 }), { structured });
    disk.fail({ operation: "read", nth: 3, error: "EIO" });
    expect((await client.do({ type: CMD.READ, length: 8192 })).error).toBe(ERRNO.EIO);
    expect(disk.inProgress).toBe(0);
    expect(disk.calls.length).toBeLessThan(16);
    expect((await client.do({ type: CMD.READ, length: 8192 })).error).toBe(0);
  });

  test("answers come as requests finish, each with its own cookie", async () => {
    const { client, disk } = await chosen(small(), { structured });
    const release = disk.hold("read");
    client.send(request({ type: CMD.READ, cookie: 1n, length: 512 }));
    client.send(request({ type: CMD.FLUSH, cookie: 2n }));
    expect((await client.reply()).cookie).toBe(2n);
    release();
    expect((await client.reply(512)).cookie).toBe(1n);
  });

  const refusals: { what: string; error: keyof typeof ERRNO; request: RequestFields; disk?: MemoryDiskOptions }[] = [
    {
      what: "READ beyond the end",
      error: "EINVAL",
      request: { type: CMD.READ, offset: DISK_BYTES - 512, length: 1024 },
    },
    { what: "READ at 2^64-512", error: "EINVAL", request: { type: CMD.READ, offset: 2n ** 64n - 512n, length: 512 } },
    {
      what: "READ at 2^64-512 of 2^32-512",
      error: "EINVAL",
      request: { type: CMD.READ, offset: 2n ** 64n - 512n, length: 2 ** 32 - 512 },
    },
    { what: "READ of nothing", error: "EINVAL", request: { type: CMD.READ, length: 0 } },
    { what: "READ at byte 1", error: "EINVAL", request: { type: CMD.READ, offset: 1, length: 512 } },
    { what: "READ of 511 bytes", error: "EINVAL", request: { type: CMD.READ, length: 511 } },
    {
      what: "READ of 4 GiB",
      error: "EINVAL",
      request: { type: CMD.READ, length: 0xffff_fe00 },
      disk: { blockCount: 2 ** 23 },
    },
    { what: "READ with an unknown flag", error: "EINVAL", request: { type: CMD.READ, length: 512, flags: 0x8000 } },
    { what: "READ with NO_HOLE", error: "EINVAL", request: { type: CMD.READ, length: 512, flags: FLAG.NO_HOLE } },
    {
      what: "WRITE beyond the end",
      error: "ENOSPC",
      request: { type: CMD.WRITE, offset: DISK_BYTES, data: bytesOf(512) },
    },
    {
      what: "WRITE across the end",
      error: "ENOSPC",
      request: { type: CMD.WRITE, offset: DISK_BYTES - 512, data: bytesOf(1024) },
    },
    { what: "WRITE at byte 256", error: "EINVAL", request: { type: CMD.WRITE, offset: 256, data: bytesOf(512) } },
    { what: "WRITE of 513 bytes", error: "EINVAL", request: { type: CMD.WRITE, data: bytesOf(513) } },
    { what: "WRITE of nothing", error: "EINVAL", request: { type: CMD.WRITE, data: bytesOf(0) } },
    { what: "WRITE with DF", error: "EINVAL", request: { type: CMD.WRITE, flags: FLAG.DF, data: bytesOf(512) } },
    { what: "FLUSH with a length", error: "EINVAL", request: { type: CMD.FLUSH, length: 512 } },
    { what: "FLUSH with an offset", error: "EINVAL", request: { type: CMD.FLUSH, offset: 512 } },
    { what: "TRIM beyond the end", error: "EINVAL", request: { type: CMD.TRIM, offset: DISK_BYTES, length: 512 } },
    { what: "TRIM misaligned", error: "EINVAL", request: { type: CMD.TRIM, offset: 3, length: 512 } },
    {
      what: "TRIM that was not offered",
      error: "EINVAL",
      request: { type: CMD.TRIM, length: 512 },
      disk: { canTrim: false },
    },
    {
      what: "WRITE_ZEROES beyond the end",
      error: "ENOSPC",
      request: { type: CMD.WRITE_ZEROES, offset: DISK_BYTES, length: 512 },
    },
    {
      what: "WRITE_ZEROES that was not offered",
      error: "EINVAL",
      request: { type: CMD.WRITE_ZEROES, length: 512 },
      disk: { canWriteZeroes: false },
    },
    {
      what: "WRITE_ZEROES that must be fast",
      error: "ENOTSUP",
      request: { type: CMD.WRITE_ZEROES, length: 512, flags: FLAG.FAST_ZERO },
    },
    { what: "CACHE", error: "EINVAL", request: { type: CMD.CACHE, length: 512 } },
    { what: "BLOCK_STATUS", error: "EINVAL", request: { type: CMD.BLOCK_STATUS, length: 512 } },
    { what: "a command nobody knows", error: "EINVAL", request: { type: 0xffff, length: 512 } },
  ];
  test.each(refusals)("$what: $error (Error values)", async ({ error, request: wrong, disk: options }) => {
    // A disk that is larger than memory exists in its numbers only.
    const disk = small({ ...options, blockCount: BLOCKS });
    const numbers = Object.assign(disk, { info: { ...disk.info, blockCount: options?.blockCount ?? BLOCKS } });
    const { client, peer } = await chosen(numbers, { structured });
    client.send(request(wrong));
    const reply = await client.reply();
    expect(reply.error).toBe(ERRNO[error]);
    if (structured) expect(reply.message).not.toBe("");
    expect(disk.calls).toEqual([]);
    expect((await client.do({ type: CMD.READ, length: 512 })).error).toBe(0);
    expect(peer.destroyed).toBe(false);
  });

  test("the payload of a write beyond 32 MiB is read past, not kept", async () => {
    const { client, disk } = await chosen(small(), { structured });
    client.send(request({ type: CMD.WRITE, length: MAX_REQUEST_BYTES + 512 }));
    const piece = Buffer.alloc(1024 * 1024);
    for (let sent = 0; sent < MAX_REQUEST_BYTES; sent += piece.length) client.send(piece);
    client.send(Buffer.alloc(512));
    expect((await client.reply()).error).toBe(ERRNO.EINVAL);
    expect(disk.calls).toEqual([]);
    expect((await client.do({ type: CMD.FLUSH })).error).toBe(0);
  });

  for (const type of [CMD.WRITE, CMD.TRIM, CMD.WRITE_ZEROES])
    test(`command ${type} on a read-only export: EPERM`, async () => {
      const { client, disk } = await chosen(small(), { structured, readOnly: true });
      const reply = await client.do({ type, length: 512, ...(type === CMD.WRITE ? { data: bytesOf(512) } : {}) });
      expect(reply.error).toBe(ERRNO.EPERM);
      expect(disk.calls).toEqual([]);
    });

  const deviceErrors: [DeviceErrorCode, keyof typeof ERRNO][] = [
    ["EIO", "EIO"],
    ["EINVAL", "EINVAL"],
    ["EROFS", "EPERM"],
    ["ENOSPC", "ENOSPC"],
    ["ENOMEDIUM", "EIO"],
    ["ENODEV", "ESHUTDOWN"],
    ["ESTALE", "EIO"],
    ["EOPNOTSUPP", "EINVAL"],
    ["ECANCELED", "EIO"],
    ["ETIMEDOUT", "EIO"],
    ["EBUSY", "EIO"],
    ["ENOMEM", "ENOMEM"],
  ];
  test.each(deviceErrors)("the disk says %s: %s", async (code, error) => {
    const { client } = await chosen(small().fail({ operation: "write", error: code }), { structured });
    const reply = await client.do({ type: CMD.WRITE, data: bytesOf(512) });
    expect(reply.error).toBe(ERRNO[error]);
    if (structured) expect(reply.message).toContain(code);
  });

  test("a failure that is no DeviceError is EIO for the client and an error in the log", async () => {
    const { client, log } = await chosen(small().fail({ error: new TypeError("a secret of ours") }), { structured });
    const reply = await client.do({ type: CMD.FLUSH });
    expect(reply.error).toBe(ERRNO.EIO);
    expect(reply.message).not.toContain("secret");
    expect(log.entries.filter((entry) => entry.startsWith("error") && entry.includes("secret"))).toHaveLength(1);
  });

  test("a disk that returns too few bytes costs an EIO, not the stream", async () => {
    const disk = Object.assign(small(), { read: () => Promise.resolve(new Uint8Array(100)) });
    const { client } = await chosen(disk, { structured });
    expect((await client.do({ type: CMD.READ, length: 512 })).error).toBe(ERRNO.EIO);
    expect((await client.do({ type: CMD.FLUSH })).error).toBe(0);
  });
});

test("DF is refused where it was not offered: without structured replies", async () => {
  const { client } = await chosen(small());
  expect((await client.do({ type: CMD.READ, length: 512, flags: FLAG.DF })).error).toBe(ERRNO.EINVAL);
});

describe("the end (Terminating the transmission phase)", () => {
  test("a wrong request magic drops the client", async () => {
    const { client, peer, log } = await chosen(small());
    client.send(request({ type: CMD.READ, length: 512, magic: 0x2560_9514 }));
    expect(peer.destroyed).toBe(true);
    expect(log.entries.join()).toContain("request magic 0x25609514");
  });

  test("DISC answers what is in flight, then ends; what comes after it is not looked at", async () => {
    const rig = await chosen(small());
    const release = rig.disk.hold("write");
    rig.client.send(request({ type: CMD.WRITE, cookie: 7n, data: bytesOf(512) }));
    rig.client.send(Buffer.concat([request({ type: CMD.DISC }), bytesOf(100)]));
    rig.client.send(bytesOf(100));
    expect(rig.peer.ended).toBe(false);
    release();
    expect(await rig.client.reply()).toMatchObject({ cookie: 7n, error: 0 });
    await until(() => rig.peer.ended, "our half ends");
    rig.clock.advance(DRAIN_MS);
    expect(rig.peer.destroyed).toBe(true);
    expect(rig.closed()).toBe(true);
  });

  test("a half-closed client gets its answers; a request it did not finish was never made", async () => {
    const rig = await chosen(small());
    rig.client.send(request({ type: CMD.READ, cookie: 1n, length: 512 }));
    rig.client.send(request({ type: CMD.WRITE, cookie: 2n, data: bytesOf(1024) }).subarray(0, 600));
    rig.connection.peerEnded();
    expect((await rig.client.reply(512)).cookie).toBe(1n);
    await until(() => rig.peer.ended, "our half ends");
    expect(rig.disk.calls.map(({ operation }) => operation)).toEqual(["read"]);
  });

  test("a client that vanishes with requests in flight is kept in mind until the disk has finished", async () => {
    const rig = await chosen(small());
    const release = rig.disk.hold();
    for (let index = 0; index < 5; index++) rig.client.send(request({ type: CMD.READ, length: 512 }));
    rig.client.send(request({ type: CMD.WRITE, length: 512 }));
    rig.connection.peerClosed();
    expect(rig.closed()).toBe(false);
    release();
    await until(() => rig.closed(), "the connection is closed");
    expect(rig.disk.inProgress).toBe(0);
    expect(rig.clock.armed).toBe(0);
  });

  test.each(KINDS)(
    "shutdown answers ESHUTDOWN at once and for a while, then hangs up (structured %s)",
    async (structured) => {
      const rig = await chosen(small(), { structured });
      const release = rig.disk.hold();
      rig.client.send(request({ type: CMD.FLUSH, cookie: 1n }));
      rig.client.send(request({ type: CMD.WRITE, cookie: 2n, length: 1024 }));
      rig.client.send(bytesOf(100));
      rig.connection.shutDown("unplugged");
      expect(await rig.client.reply()).toMatchObject({
        cookie: 1n,
        error: ERRNO.ESHUTDOWN,
        message: structured ? "unplugged" : "",
      });
      rig.client.send(bytesOf(924));
      expect(await rig.client.reply()).toMatchObject({ cookie: 2n, error: ERRNO.ESHUTDOWN });
      expect(await rig.client.do({ type: CMD.READ, length: 512 })).toMatchObject({ error: ERRNO.ESHUTDOWN });
      rig.clock.advance(SHUTDOWN_GRACE_MS);
      expect(rig.peer.destroyed).toBe(true);
      expect(rig.closed()).toBe(false); // the flush still runs
      release();
      await until(() => rig.closed(), "the connection is closed");
    },
  );
});

/** Keeps count of the memory that a link has of it. */
class LendingDisk extends MemoryDisk {
  readonly out = new Set<ArrayBufferLike>();

  override async read(...args: Parameters<MemoryDisk["read"]>): Promise<Uint8Array> {
    return this.#lent(await super.read(...args));
  }

  lend(bytes: number): Uint8Array {
    return this.#lent(new Uint8Array(bytes));
  }

  recycle(data: Uint8Array): void {
    if (!this.out.delete(data.buffer)) throw new Error("given back twice, or not lent");
    data.fill(0xee); // whoever looks at it afterwards finds this
  }

  #lent(data: Uint8Array): Uint8Array {
    this.out.add(data.buffer);
    return data;
  }
}

describe.each(KINDS)("lent memory goes back once, structured replies %s", (structured) => {
  const lending = (options: MemoryDiskOptions = {}): LendingDisk =>
    new LendingDisk({ blockCount: 1024, ...options }).fillPattern();

  test("when answers have left, small ones and large ones", async () => {
    const disk = lending({ maxTransferBytes: 64 * 1024 });
    const { client } = await chosen(disk, { structured });
    for (const length of [512, 8192, 16384, 65536, 3 * 65536]) {
      const data = bytesOf(length, length);
      expect((await client.do({ type: CMD.WRITE, offset: 512, data })).error).toBe(0);
      expect((await client.do({ type: CMD.READ, offset: 512, length })).data).toEqual(data);
      await until(() => disk.out.size === 0, "all is back");
    }
  });

  test("when a part of a read fails", async () => {
    const disk = lending({ maxTransferBytes: 16 * 1024 }).fail({ operation: "read", nth: 3, error: "EIO" });
    const { client } = await chosen(disk, { structured });
    expect((await client.do({ type: CMD.READ, length: 6 * 16 * 1024 })).error).toBe(ERRNO.EIO);
    await until(() => disk.out.size === 0, "all is back");
  });

  test("when the client vanishes: with answers on their way, reads at the disk, a write half arrived", async () => {
    const rig = await chosen(lending(), { structured });
    const { disk, client, connection, peer } = rig;
    peer.deaf = true;
    for (let index = 0; index < 3; index++) client.send(request({ type: CMD.READ, length: 32768 }));
    await until(() => disk.inProgress === 0 && peer.queuedBytes > 3 * 32768, "answers that nobody fetches");
    const release = disk.hold();
    client.send(request({ type: CMD.READ, length: 32768 }));
    client.send(request({ type: CMD.WRITE, data: bytesOf(32768) }).subarray(0, 20_000));
    const out = (disk as LendingDisk).out;
    expect(out.size).toBe(4);
    connection.peerClosed();
    release();
    await until(() => rig.closed() && out.size === 0, "all is back");
  });

  test("when the export goes while the disk reads, and while a write arrives", async () => {
    const rig = await chosen(lending(), { structured });
    const { disk, client, connection } = rig;
    const release = disk.hold();
    client.send(request({ type: CMD.READ, length: 32768 }));
    client.send(request({ type: CMD.WRITE, data: bytesOf(32768) }).subarray(0, 20_000));
    connection.shutDown("unplugged");
    release();
    await until(() => (disk as LendingDisk).out.size === 0, "all is back");
  });
});

describe("bounds", () => {
  test("a client that reads no answers is not read any more, and goes on where it stopped", async () => {
    const rig = await chosen(small());
    rig.peer.deaf = true;
    const most = WINDOW_BYTES / MIN_REQUEST_BYTES;
    let sent = 0;
    while (!rig.peer.paused && sent < 2 * most)
      rig.client.send(request({ type: CMD.READ, cookie: BigInt(sent++), length: 512 }));
    expect(sent).toBe(most + 1);
    await until(() => rig.disk.inProgress === 0, "the disk is idle");
    expect(rig.disk.calls.length).toBe(MAX_ENGAGED_BYTES / MIN_REQUEST_BYTES);
    const before = rig.peer.queuedBytes;
    expect(before).toBeLessThanOrEqual(most * (16 + 512) + 200);
    rig.peer.hear();
    expect(rig.peer.paused).toBe(false);
    await until(() => rig.disk.calls.length === sent, "the last request is made");
  });

  /** Reads of 1 MiB, more than are made for one that fetches nothing. */
  async function deafReader(count: number): Promise<Awaited<ReturnType<typeof chosen>>> {
    const rig = await chosen(new MemoryDisk({ blockCount: 2048 }));
    rig.peer.deaf = true;
    for (let sent = 0; sent < count; sent++)
      rig.client.send(request({ type: CMD.READ, cookie: BigInt(sent), length: 1 << 20 }));
    await until(() => rig.disk.inProgress === 0, "the disk is idle");
    return rig;
  }
  const MOST_READS = MAX_ENGAGED_BYTES / (1 << 20);

  test("no more is read for a client than it may leave unfetched, and all of it in the end", async () => {
    const rig = await deafReader(20);
    const made = (): number => rig.disk.calls.filter(({ operation }) => operation === "read").length;
    expect(made()).toBe(MOST_READS);
    rig.client.send(request({ type: CMD.WRITE, cookie: 100n, data: new Uint8Array(512) }));
    await until(() => rig.disk.calls.some(({ operation }) => operation === "write"), "a write is made all the same");
    rig.peer.hear();
    await until(() => rig.disk.inProgress === 0 && made() === 20, "the rest is read");
    rig.connection.peerClosed();
    expect(rig.closed()).toBe(true);
  });

  test("what is not read yet is not read any more for a client that has gone", async () => {
    const rig = await deafReader(20);
    rig.connection.peerClosed();
    expect(rig.closed()).toBe(true);
    expect(rig.disk.calls.length).toBe(MOST_READS);
  });

  test("nor for one that is told that the export goes", async () => {
    const rig = await deafReader(20);
    rig.connection.shutDown("the test is over");
    rig.peer.hear();
    await until(() => rig.disk.inProgress === 0, "the disk is idle");
    expect(rig.disk.calls.length).toBe(MOST_READS);
  });

  test("a client that has ended its half and fetches nothing has its time, again for each answer that it fetches", async () => {
    const rig = await deafReader(20);
    rig.connection.peerEnded();
    rig.clock.advance(DRAIN_MS - 1);
    rig.peer.hear();
    rig.peer.deaf = true;
    await until(() => rig.disk.inProgress === 0, "the disk is idle");
    expect(rig.disk.calls.length).toBe(2 * MOST_READS);
    rig.clock.advance(DRAIN_MS - 1);
    expect(rig.peer.destroyed).toBe(false);
    rig.clock.advance(1);
    expect(rig.peer.destroyed).toBe(true);
    expect(rig.log.entries.at(-1)).toContain(`no answer fetched within ${DRAIN_MS} ms`);
  });

  test("the window counts bytes: two reads of 32 MiB are in flight, not three", async () => {
    const disk = small();
    const whole = Object.assign(disk, {
      info: { ...disk.info, blockCount: 2 ** 20, maxTransferBytes: MAX_REQUEST_BYTES },
    });
    const rig = await chosen(whole);
    disk.hold();
    const reads = [1n, 2n, 3n].map((cookie) => request({ type: CMD.READ, cookie, length: MAX_REQUEST_BYTES }));
    // Numbers only: the fake checks against its memory, so it must not be asked.
    Object.assign(disk, { read: () => new Promise<Uint8Array>(() => undefined) });
    rig.client.send(Buffer.concat(reads));
    expect(rig.peer.paused).toBe(true);
    rig.connection.peerClosed();
  });

  test("a write that only claims its length holds no memory", async () => {
    const rig = await chosen(small({ blockCount: 2 * BLOCKS }));
    const before = process.memoryUsage().arrayBuffers;
    for (let index = 0; index < 200; index++) {
      const other = await chosen(rig.disk);
      other.client.send(request({ type: CMD.WRITE, length: DISK_BYTES }));
    }
    // What is left is each connection's own buffer, not 200 payloads; the payload begins with its first byte.
    expect(rig.disk.calls).toEqual([]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(200 * (300 * 1024 + 16 * 1024));
  });
});
