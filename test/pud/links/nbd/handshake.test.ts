import { describe, expect, test } from "vitest";
import { HANDSHAKE_MS } from "../../../../src/pud/links/nbd/connection.js";
import { makeExport } from "../../../../src/pud/links/nbd/export.js";
import { MAX_OPTIONS, MAX_OPTION_BYTES } from "../../../../src/pud/links/nbd/handshake.js";
import { MemoryDisk } from "../../../fakes/memory-disk.js";
import { CMD, OPT, infoData, option } from "./client.js";
import { direct } from "./rig.js";

const ACK = 1;
const ERR = {
  UNSUP: 0x80000001,
  INVALID: 0x80000003,
  UNKNOWN: 0x80000006,
  BLOCK_SIZE_REQD: 0x80000008,
  TOO_BIG: 0x80000009,
};
const INFO_ALL = [0, 1, 2, 3];
const small = (): MemoryDisk => new MemoryDisk({ blockCount: 64 });

describe("greeting and client flags (Newstyle negotiation)", () => {
  test("offers fixed newstyle and no zeroes", async () => {
    const { client } = direct(small());
    expect(await client.greet()).toEqual({ handshakeFlags: 3 });
  });

  for (const flags of [4, 0x8000_0000, 0xffff_ffff]) {
    test(`unknown client flags 0x${flags.toString(16)} end the connection`, async () => {
      const rig = direct(small());
      await rig.client.greet(flags);
      expect(rig.peer.destroyed).toBe(true);
      expect(rig.log.entries.join()).toContain("NBD Client flags");
    });
  }

  test("a client of the oldstyle that sends something else first is dropped", async () => {
    const rig = direct(small());
    rig.client.send(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
    expect(rig.peer.destroyed).toBe(true);
    expect(rig.closed()).toBe(true);
  });

  test("a wrong option magic ends the connection", async () => {
    const rig = direct(small());
    await rig.client.greet();
    rig.client.send(Buffer.alloc(16));
    expect(rig.peer.destroyed).toBe(true);
  });
});

describe("options (Option types)", () => {
  test("LIST names every export with its description", async () => {
    const { client, exports } = direct(small(), { description: "the first" });
    exports.set("sd1", makeExport("sd1", small(), { description: "", readOnly: false }));
    await client.greet();
    const replies = await client.ask(OPT.LIST);
    expect(replies.map(({ type }) => type)).toEqual([2, 2, ACK]);
    expect(replies[0]?.data).toEqual(Buffer.concat([Buffer.from([0, 0, 0, 3]), Buffer.from("sd0the first")]));
    expect(replies[1]?.data).toEqual(Buffer.concat([Buffer.from([0, 0, 0, 3]), Buffer.from("sd1")]));
  });

  test("INFO tells everything asked for and stays in the handshake", async () => {
    const { client } = direct(new MemoryDisk({ blockCount: 64, blockBytes: 2048 }), { description: "täst" });
    await client.greet();
    const replies = await client.ask(OPT.INFO, infoData("sd0", INFO_ALL));
    expect(replies.at(-1)?.type).toBe(ACK);
    const infos = new Map(replies.slice(0, -1).map(({ data }) => [data.readUInt16BE(0), data.subarray(2)]));
    expect(infos.get(0)?.readBigUInt64BE(0)).toBe(64n * 2048n);
    expect(infos.get(1)?.toString()).toBe("sd0");
    expect(infos.get(2)?.toString()).toBe("täst");
    expect([0, 4, 8].map((at) => infos.get(3)?.readUInt32BE(at))).toEqual([2048, 4096, 32 * 1024 * 1024]);
    expect((await client.ask(OPT.LIST)).at(-1)?.type).toBe(ACK);
  });

  test("the preferred block size is never below the minimum", async () => {
    const { client } = direct(new MemoryDisk({ blockCount: 64, blockBytes: 4096 }));
    await client.greet();
    const replies = await client.ask(OPT.INFO, infoData("sd0", [3]));
    const block = replies.find(({ type, data }) => type === 3 && data.readUInt16BE(0) === 3);
    expect([2, 6].map((at) => block?.data.readUInt32BE(at))).toEqual([4096, 4096]);
  });

  test("GO begins transmission", async () => {
    const { client } = direct(small().fillPattern());
    const { bytes, flags } = await client.go("sd0");
    expect(bytes).toBe(64n * 512n);
    expect(flags).toBe(0x96d);
    expect((await client.do({ type: CMD.READ, length: 512 })).data.length).toBe(512);
  });

  const flagRows = [
    {
      what: "everything",
      disk: {},
      readOnly: false,
      structured: true,
      flags: 0x9ed,
    },
    {
      what: "no trim, no zeroes",
      disk: { canTrim: false, canWriteZeroes: false },
      readOnly: false,
      structured: false,
      flags: 0x10d,
    },
    { what: "a write-protected disk", disk: { readOnly: true }, readOnly: false, structured: false, flags: 0x10f },
    { what: "a read-only export", disk: {}, readOnly: true, structured: true, flags: 0x18f },
  ];
  for (const { what, disk, readOnly, structured, flags } of flagRows) {
    test(`transmission flags: ${what}`, async () => {
      const { client } = direct(new MemoryDisk({ blockCount: 64, ...disk }), { readOnly });
      expect((await client.go("sd0", { structured })).flags.toString(16)).toBe(flags.toString(16));
    });
  }

  test("EXPORT_NAME answers with 124 zeroes unless they were declined", async () => {
    for (const [clientFlags, bytes] of [
      [1, 134],
      [3, 10],
    ] as const) {
      const { client } = direct(small());
      await client.greet(clientFlags);
      client.send(option(OPT.EXPORT_NAME, Buffer.from("sd0")));
      const reply = await client.wire.received.read(bytes);
      expect(reply.readBigUInt64BE(0)).toBe(64n * 512n);
      expect(reply.subarray(10).every((byte) => byte === 0)).toBe(true);
      expect((await client.do({ type: CMD.FLUSH })).error).toBe(0);
    }
  });

  test("EXPORT_NAME of an unknown export ends the connection: there is no other way to say no", async () => {
    const rig = direct(small());
    await rig.client.greet();
    rig.client.send(option(OPT.EXPORT_NAME, Buffer.from("sd9")));
    expect(rig.peer.destroyed).toBe(true);
  });

  test("the empty name is the only export there is, and nothing where there are two", async () => {
    const one = direct(small());
    expect((await one.client.go("")).bytes).toBe(64n * 512n);
    const two = direct(small());
    two.exports.set("sd1", makeExport("sd1", small(), { description: "", readOnly: false }));
    await two.client.greet();
    expect((await two.client.ask(OPT.GO, infoData("", [3]))).at(-1)?.type).toBe(ERR.UNKNOWN);
  });

  test("a client that asks for no block size gets none but 512 (NBD_REP_ERR_BLOCK_SIZE_REQD)", async () => {
    const disk = new MemoryDisk({ blockCount: 64, blockBytes: 4096 });
    const rig = direct(disk);
    await rig.client.greet();
    for (const code of [OPT.INFO, OPT.GO]) {
      const replies = await rig.client.ask(code, infoData("sd0", [0, 1]));
      expect(replies.map(({ type }) => type)).toEqual([3, ERR.BLOCK_SIZE_REQD]);
      expect(replies[0]?.data.readUInt16BE(0)).toBe(3);
    }
    rig.client.send(option(OPT.EXPORT_NAME, Buffer.from("sd0")));
    expect(rig.peer.destroyed).toBe(true);
    expect((await direct(small()).client.go("sd0", { infos: [] })).bytes).toBe(64n * 512n);
  });

  test("unless the export says that its clients know the block size anyway", async () => {
    const rig = direct(small());
    const disk = new MemoryDisk({ blockCount: 64, blockBytes: 4096 });
    rig.exports.set("sd1", makeExport("sd1", disk, { description: "", readOnly: false, blockSizeKnown: true }));
    expect((await rig.client.go("sd1", { infos: [] })).bytes).toBe(262144n);
    expect((await rig.client.do({ type: CMD.READ, length: 512 })).error).toBe(22);
    expect((await rig.client.do({ type: CMD.READ, length: 4096 })).error).toBe(0);
  });

  test("ABORT is acknowledged, then the connection ends", async () => {
    const rig = direct(small());
    await rig.client.greet();
    expect((await rig.client.ask(OPT.ABORT)).map(({ type }) => type)).toEqual([ACK]);
    expect(rig.peer.ended).toBe(true);
  });

  const refusals = [
    { what: "STARTTLS", code: OPT.STARTTLS, data: Buffer.alloc(0), type: ERR.UNSUP },
    { what: "LIST_META_CONTEXT", code: 10, data: Buffer.alloc(12), type: ERR.UNSUP },
    { what: "SET_META_CONTEXT", code: 11, data: Buffer.alloc(12), type: ERR.UNSUP },
    { what: "EXTENDED_HEADERS", code: 12, data: Buffer.alloc(0), type: ERR.UNSUP },
    { what: "an option nobody knows", code: 0xdead_beef, data: Buffer.alloc(99), type: ERR.UNSUP },
    { what: "LIST with data", code: OPT.LIST, data: Buffer.alloc(1), type: ERR.INVALID },
    { what: "STRUCTURED_REPLY with data", code: OPT.STRUCTURED_REPLY, data: Buffer.alloc(1), type: ERR.INVALID },
    { what: "GO without data", code: OPT.GO, data: Buffer.alloc(0), type: ERR.INVALID },
    {
      what: "GO with a name longer than its data",
      code: OPT.GO,
      data: Buffer.from("ffffffff0000", "hex"),
      type: ERR.INVALID,
    },
    {
      what: "GO with more requests than data",
      code: OPT.GO,
      data: Buffer.from("00000000ffff", "hex"),
      type: ERR.INVALID,
    },
    { what: "GO with bytes left over", code: OPT.GO, data: Buffer.from("00000000000000", "hex"), type: ERR.INVALID },
    {
      what: "GO with a name that is no UTF-8",
      code: OPT.GO,
      data: Buffer.from("00000001ff0000", "hex"),
      type: ERR.INVALID,
    },
    { what: "GO with a 0 in the name", code: OPT.GO, data: Buffer.from("00000001000000", "hex"), type: ERR.INVALID },
    { what: "GO with a name of 4097 bytes", code: OPT.GO, data: infoData("x".repeat(4097), []), type: ERR.INVALID },
    { what: "GO to an unknown export", code: OPT.GO, data: infoData("sd7", [3]), type: ERR.UNKNOWN },
    { what: "INFO of an unknown export", code: OPT.INFO, data: infoData("sd7", []), type: ERR.UNKNOWN },
  ];
  for (const { what, code, data, type } of refusals) {
    test(`${what} is refused and the handshake goes on`, async () => {
      const { client } = direct(small());
      await client.greet();
      const [reply] = await client.ask(code, data);
      expect(reply).toMatchObject({ option: code, type });
      expect(reply?.data.toString()).not.toBe("");
      expect((await client.ask(OPT.LIST)).at(-1)?.type).toBe(ACK);
    });
  }
});

describe("bounds", () => {
  test("a handshake byte by byte works", async () => {
    const rig = direct(small());
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 3]), option(OPT.GO, infoData("sd0", [3]))]);
    for (const byte of bytes) rig.client.send(Buffer.from([byte]));
    await rig.client.wire.received.read(18);
    expect((await rig.client.optionReply()).type).toBe(3);
    expect((await rig.client.optionReply()).type).toBe(3);
    expect((await rig.client.optionReply()).type).toBe(ACK);
  });

  test("an option length of 4 GiB costs nothing and ends the connection", async () => {
    const rig = direct(small());
    await rig.client.greet();
    const header = option(OPT.LIST);
    header.writeUInt32BE(0xffff_ffff, 12);
    rig.client.send(header);
    expect((await rig.client.optionReply()).type).toBe(ERR.TOO_BIG);
    expect(rig.peer.destroyed).toBe(true);
  });

  test(`an option of ${MAX_OPTION_BYTES} bytes is still read`, async () => {
    const { client } = direct(small());
    await client.greet();
    expect((await client.ask(99, Buffer.alloc(MAX_OPTION_BYTES)))[0]?.type).toBe(ERR.UNSUP);
  });

  test("ten thousand bogus options end after the first 256", async () => {
    const rig = direct(small());
    await rig.client.greet();
    for (let index = 0; index < 10_000; index++) rig.client.send(option(1000 + index));
    expect(rig.peer.destroyed).toBe(true);
    const replies = await rig.client.wire.received.untilEnd();
    expect(replies.length).toBeLessThan(MAX_OPTIONS * 100);
    expect(rig.log.entries.filter((entry) => entry.includes("more than 256 options"))).toHaveLength(1);
  });

  test("a client that does not choose in time is dropped; one that chose has no deadline", async () => {
    const slow = direct(small());
    await slow.client.greet();
    slow.clock.advance(HANDSHAKE_MS - 1);
    expect(slow.peer.destroyed).toBe(false);
    slow.clock.advance(1);
    expect(slow.peer.destroyed).toBe(true);
    expect(slow.closed()).toBe(true);
    const chosen = direct(small());
    await chosen.client.go("sd0");
    expect(chosen.clock.armed).toBe(0);
  });

  test("export names, descriptions and disks that cannot be are refused", () => {
    const options = { description: "", readOnly: false };
    expect(() => makeExport("x".repeat(4097), small(), options)).toThrow(/4097 bytes/);
    expect(() => makeExport("a\0b", small(), options)).toThrow(RangeError);
    expect(() => makeExport("sd0", new MemoryDisk({ blockCount: 1, maxTransferBytes: 100 }), options)).toThrow(
      /holds no block/,
    );
    const { info } = small();
    for (const wrong of [{ blockBytes: 500 }, { blockBytes: 131072 }, { blockCount: 2 ** 50 }])
      expect(() => makeExport("sd0", Object.assign(small(), { info: { ...info, ...wrong } }), options)).toThrow(
        RangeError,
      );
  });
});
