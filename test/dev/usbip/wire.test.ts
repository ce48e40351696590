import { describe, expect, test } from "vitest";
import { viewOf } from "../../../src/bytes.js";
import {
  AT,
  cmdSubmit,
  cmdUnlink,
  devidOf,
  devlistReply,
  errnoOfStatus,
  exportedDevice,
  exportedInterface,
  importRequest,
  opHeader,
  retSubmit,
  retUnlink,
  SPEED_CODES,
  STATUS_TABLE,
  speedOfCode,
  statusOfErrno,
  textOf,
  URB_HEADER_BYTES,
  zeroTerminated,
  HeaderSlab,
} from "../../../src/dev/usbip/wire.js";
import { OutgoingParts } from "../../../src/dev/usbip/outgoing.js";
import { TRANSFER_STATUSES } from "../../../src/rumpuser/rumpuser.js";

const words = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));

test("the sizes are those of the document's tables", () => {
  expect(opHeader.size).toBe(8);
  expect(importRequest.size).toBe(0x28 - 8);
  expect(devlistReply.size).toBe(4);
  expect(exportedDevice.size).toBe(0x144 - 0x0c);
  expect(exportedInterface.size).toBe(4);
  for (const header of [cmdSubmit, retSubmit, cmdUnlink, retUnlink]) expect(header.size).toBe(URB_HEADER_BYTES);
});

describe("the document's example, an interrupt transfer each way", () => {
  const submitted = words(
    "00000001 00000d05 0001000f 00000001 00000001 00000200 00000040 ffffffff 00000000 00000004 00000000 00000000",
  );
  const returned = words(
    "00000003 00000d05 00000000 00000000 00000000 00000000 00000040 ffffffff 00000000 00000000 00000000 00000000",
  );

  test("reads as what it says", () => {
    expect(cmdSubmit.decode(submitted)).toMatchObject({
      command: 1,
      seqnum: 0xd05,
      devid: devidOf(1, 15),
      direction: 1,
      ep: 1,
      transferFlags: 0x200,
      transferBufferLength: 64,
      startFrame: -1,
      numberOfPackets: 0,
      interval: 4,
    });
    expect(retSubmit.decode(returned)).toMatchObject({ command: 3, seqnum: 0xd05, status: 0, actualLength: 64 });
  });

  test("the offsets that the fast paths use are the records'", () => {
    const submit = viewOf(
      cmdSubmit.encode({
        command: 1,
        seqnum: 2,
        devid: 3,
        direction: 4,
        ep: 5,
        transferFlags: 6,
        transferBufferLength: 7,
        startFrame: 8,
        numberOfPackets: 9,
        interval: 10,
        setup: Uint8Array.of(11),
      }),
    );
    const fields = [
      AT.COMMAND,
      AT.SEQNUM,
      AT.DEVID,
      AT.DIRECTION,
      AT.ENDPOINT,
      AT.TRANSFER_FLAGS,
      AT.TRANSFER_BUFFER_LENGTH,
    ];
    expect(fields.map((at) => submit.getUint32(at))).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect([submit.getUint32(AT.NUMBER_OF_PACKETS), submit.getUint32(AT.INTERVAL)]).toEqual([9, 10]);
    expect(submit.getUint8(AT.SETUP)).toBe(11);
    const basic = { command: 0, seqnum: 0, devid: 0, direction: 0, ep: 0 };
    const reply = viewOf(
      retSubmit.encode({
        ...basic,
        status: -32,
        actualLength: 7,
        startFrame: 0,
        numberOfPackets: 0,
        errorCount: 0,
        padding: new Uint8Array(8),
      }),
    );
    expect([reply.getInt32(AT.STATUS), reply.getUint32(AT.ACTUAL_LENGTH)]).toEqual([-32, 7]);
    const unlink = viewOf(cmdUnlink.encode({ ...basic, unlinkSeqnum: 77, padding: new Uint8Array(24) }));
    expect(unlink.getUint32(AT.UNLINK_SEQNUM)).toBe(77);
  });
});

test("every status has an errno of its own and comes back from it", () => {
  const errnos = TRANSFER_STATUSES.map(errnoOfStatus);
  expect(new Set(errnos).size).toBe(TRANSFER_STATUSES.length);
  for (const status of TRANSFER_STATUSES) expect(statusOfErrno(errnoOfStatus(status))).toBe(status);
});

test.each(STATUS_TABLE.map(({ name, errno, status }) => [name, errno, status] as const))(
  "%s (%i) means %s",
  (_name, errno, status) => {
    expect(statusOfErrno(errno)).toBe(status);
  },
);

test("an errno that nobody knows is an error", () => {
  for (const errno of [1, -1, -4095, 0x7fffffff, -0x80000000]) expect(statusOfErrno(errno)).toBe("error");
});

test("speed codes are Linux's enum usb_device_speed", () => {
  expect(SPEED_CODES).toEqual({ low: 1, full: 2, high: 3, super: 5, superPlus: 6 });
  expect([0, 1, 2, 3, 4, 5, 6, 7].map(speedOfCode)).toEqual([
    undefined,
    "low",
    "full",
    "high",
    undefined,
    "super",
    "superPlus",
    undefined,
  ]);
});

test("strings are closed by a zero and must fit with it", () => {
  expect(textOf(zeroTerminated("1-1.2", 32))).toBe("1-1.2");
  expect(zeroTerminated("x".repeat(31), 32)).toHaveLength(32);
  expect(() => zeroTerminated("x".repeat(32), 32)).toThrow("does not fit 32 bytes");
  expect(() => zeroTerminated("1\0-1", 32)).toThrow(RangeError);
  expect(textOf(new Uint8Array(32).fill(0x41))).toBe("A".repeat(32));
});

test("what is to be sent: headers one behind the other in a slab are one part, in the order of everything", () => {
  const slab = new HeaderSlab();
  const out = new OutgoingParts();
  const sent: number[] = [];
  const header = (n: number): void => {
    const at = slab.cut();
    slab.bytes.fill(n, at, at + URB_HEADER_BYTES);
    out.addHeader(slab.bytes, at);
    sent.push(n);
  };
  for (let n = 1; n <= 3; n++) header(n);
  out.add(Uint8Array.of(100));
  sent.push(100);
  for (let n = 4; n <= 100; n++) header(n); // into the next slab
  const parts = out.take();
  expect(parts.map(({ length }) => length)).toEqual([3 * 48, 1, 61 * 48, 36 * 48]);
  const bytes = parts.flatMap((part) => [...part]);
  expect(bytes).toEqual(sent.flatMap((n, at) => Array.from({ length: at === 3 ? 1 : 48 }, () => n)));
  expect(out.take()).toEqual([]);
  header(7);
  expect(out.take().map((part) => [...part])).toEqual([Array.from({ length: 48 }, () => 7)]);
});

test("headers cut from a slab do not share bytes", () => {
  const slab = new HeaderSlab();
  const taken = Array.from({ length: 200 }, (_, n) => {
    const { bytes, view } = slab.take();
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    bytes.fill(n & 0xff);
    return { bytes, view };
  });
  taken.forEach(({ bytes, view }, n) => {
    expect(bytes.every((byte) => byte === (n & 0xff))).toBe(true);
    expect(view.byteLength).toBe(URB_HEADER_BYTES);
  });
});
